# To look before one leaps. Nothing that is measured depends on these.


rule plan:
    input:
        tables_of_layers(),
    log:
        "<logs>/plan.log",
    benchmark:
        "<benchmarks>/plan.tsv"
    localrule: True
    conda:
        "../envs/dataset.yaml"
    threads: 1
    resources:
        mem_mb=2000,
        runtime=30,
    params:
        snakefile=workflow.main_snakefile,
        python=sys.executable,
        groups=groups_of_profile(Path(workflow.basedir, "profiles/slurm/config.yaml")),
        config=CONFIG_AS_GIVEN,
        results=config["results"],
        layers_per_run=lambda wildcards: [
            len(measured_layers(run["model"])) for run in runs()
        ],
        store_bytes=[STORE_BYTES[run["model"]] for run in runs() if STORE_BYTES],
        keep=config["activations"]["keep"],
        at_once=STORES_AT_ONCE,
        local_rules=lambda wildcards: [
            rule.name
            for rule in workflow.rules
            if rule.norun or rule.name in workflow._localrules
        ],
        code=source_digest("plan"),
    script:
        "../scripts/plan.py"
