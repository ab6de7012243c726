# Targets that can be asked for by name, and what a run checks before it starts.


onstart:
    # Nothing documented tells whether jobs are submitted to a cluster.
    runs.handle_sigterm(submits=not workflow.local_exec)
    if text := runs.opening_text(config["results"]):
        logger.info(text)
    if not {"plan", "doctor"} & {*sys.argv}:  # these may run beside a run
        LOCKS.append(user_errors(runs.lock_results)(config["results"]))


rule training:
    input:
        # All weights by name: Snakemake does not check for changed parameters if one of a job's output files is new.
        [
            f"<results>/training/{network}/{name}"
            for network in TRAINED
            for name in (
                *(
                    f"epoch-{epoch:03d}.safetensors"
                    for epoch in trained_epochs(config)
                ),
                "metrics.csv",
            )
        ],


rule activations:
    input:
        [f"<results>/activations/{path}" for path in STORES],


rule geometry:
    input:
        LAYER_TABLES,
        lambda wildcards: results_of_layers("json"),
        lambda wildcards: results_of_layers("csv"),
        lambda wildcards: results_of_layers("centers.csv"),


rule summary:
    input:
        # No file: an error instead of tables of another configuration.
        lambda wildcards: user_errors(runs.check_tables)(
            workflow, rules.summarize, config["results"], STEPS.summary()["keys"]
        ),
        rules.summarize.output,
        rules.compare.output,
        rules.write_pages.output,
        rules.summarize_training.output if TRAINED else [],
        rules.write_training_page.output if TRAINED else [],
        [
            getattr(rules, f"draw_{figure.name}").output
            for figure in FIGURES.values()
            if figure.drawn(config)
        ],


# Snakemake refuses a benchmark file for a rule whose output may come from the cache. A benchmark can't be declared on a
# condition, nor unset by a documented way, hence the private attribute.
for cached in workflow.rules:
    if cached.cache.output:
        cached._benchmark = None
