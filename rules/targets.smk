# What can be asked for by name.


rule training:
    input:
        # The weights by name: Snakemake does not ask whether a job's parameters have changed if one of its files is new.
        [
            f"<results>/training/{NETWORK.format(**training)}/{name}"
            for training in trainings()
            for name in (
                *(f"epoch-{epoch:03d}.safetensors" for epoch in trained_epochs()),
                "metrics.csv",
            )
        ],


rule activations:
    input:
        [f"<results>/activations/{RUN.format(**run)}" for run in runs() if not OWN],


rule geometry:
    input:
        tables_of_layers(),
        lambda wildcards: for_each_layer("geometry", "json"),
        lambda wildcards: for_each_layer("geometry", "csv"),
        lambda wildcards: for_each_layer("geometry", "centers.csv"),


rule summary:
    input:
        rules.summarize.output,
        rules.compare.output,
        rules.write_pages.output,
        rules.write_training_page.output if trainings() else [],
        [
            getattr(rules, f"draw_{figure.name}").output
            for figure in FIGURES.values()
            if figure.drawn(config)
        ],


# Snakemake refuses a benchmark file of a rule whose output may come from a cache, where it took no time.
for cached in workflow.rules:
    if cached.cache.output:
        cached._benchmark = None
