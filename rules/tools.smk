# To look before one leaps. Nothing that is measured depends on these. Rules without output run whenever they are asked for; a
# benchmark file would count as output.


rule plan:
    input:
        tables_of_layers(),
    log:
        "<logs>/plan.log",
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
        results=lambda wildcards: config["results"],
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
        code=source_digest("workflow.plan"),
    script:
        "../scripts/plan.py"


# Every time it is asked for, doctor looks anew: what was found is kept under the time at which it was asked. Beside the
# results, not among them: their folder may be what is wrong.
DOCTOR = ".snakemake/doctor/{stamp}"


rule doctor:
    input:
        expand(
            f"{DOCTOR}/{{kind}}.json",
            kind=["dataset", "gpu", "cpu"],
            stamp=time.strftime("%Y%m%d-%H%M%S"),
        ),
    log:
        ".snakemake/doctor/doctor.log",
    localrule: True
    conda:
        "../envs/geometry.yaml"
    threads: 1
    resources:
        mem_mb=1000,
        runtime=5,
    params:
        code=source_digest("workflow.doctor"),
    script:
        "../scripts/doctor.py"


rule doctor_dataset:
    output:
        f"{DOCTOR}/dataset.json",
    log:
        f"{DOCTOR}/dataset.log",
    benchmark:
        f"{DOCTOR}/dataset.tsv"
    # Where the download itself would run.
    localrule: needs_network(DATASET.name)
    conda:
        "../envs/dataset.yaml"
    threads: 4
    resources:
        mem_mb=2000,
        runtime=5,
    params:
        kind="dataset",
        results=config["results"],
        project=f"{workflow.basedir}/pyproject.toml",
        urls=lambda wildcards: missing_downloads(),
        code=source_digest("workflow.doctor"),
    script:
        "../scripts/examine.py"


rule doctor_cpu:
    output:
        f"{DOCTOR}/cpu.json",
    log:
        f"{DOCTOR}/cpu.log",
    benchmark:
        f"{DOCTOR}/cpu.tsv"
    conda:
        "../envs/geometry.yaml"
    threads: 1
    resources:
        mem_mb=2000,
        runtime=5,
    params:
        kind="cpu",
        results=config["results"],
        project=f"{workflow.basedir}/pyproject.toml",
        urls=[],
        code=source_digest("workflow.doctor"),
    script:
        "../scripts/examine.py"


rule doctor_gpu:
    output:
        f"{DOCTOR}/gpu.json",
    log:
        f"{DOCTOR}/gpu.log",
    benchmark:
        f"{DOCTOR}/gpu.tsv"
    conda:
        "../envs/torch.yaml"
    threads: 8
    resources:
        mem_mb=4000,
        runtime=5,
        device=config["device"],
    params:
        kind="gpu",
        results=config["results"],
        project=f"{workflow.basedir}/pyproject.toml",
        urls=[],
        code=source_digest("workflow.doctor"),
    script:
        "../scripts/examine.py"
