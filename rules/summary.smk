rule summarize:
    input:
        layers=lambda wildcards: for_each_layer("geometry", "json"),
        manifolds=lambda wildcards: for_each_layer("geometry", "csv"),
        centers=lambda wildcards: for_each_layer("geometry", "centers.csv"),
    output:
        layers=report(
            "<results>/summary/layers.csv",
            caption="../report/layers.rst",
            category="Geometry",
            labels={"item": "Values: layers.csv"},
        ),
        manifolds=report(
            "<results>/summary/manifolds.csv",
            caption="../report/manifolds.rst",
            category="Geometry",
            labels={"item": "Values: manifolds.csv"},
        ),
        layers_parquet="<results>/summary/layers.parquet",
        manifolds_parquet="<results>/summary/manifolds.parquet",
        centers="<results>/summary/centers.csv",
        table="<results>/summary/layers.txt",
        provenance=report(
            "<results>/provenance.json",
            caption="../report/provenance.rst",
            category="Where it comes from",
            labels={"item": "Values: provenance.json"},
        ),
    log:
        "<logs>/summarize.log",
    benchmark:
        "<benchmarks>/summarize.tsv"
    conda:
        "../envs/report.yaml"
    threads: 1
    resources:
        mem_mb=rising(2000),
        runtime=rising(10),
    params:
        config=config,  # the tables say which configuration they are of
        code=source_digest("summary", "provenance"),
    script:
        "../scripts/summarize.py"


rule compare:
    input:
        "<results>/summary/layers.csv",
        "<results>/summary/manifolds.csv",
    output:
        report(
            "<results>/summary/comparisons.csv",
            caption="../report/comparisons.rst",
            category="Geometry",
            labels={"item": "Values: comparisons.csv"},
        ),
    log:
        "<logs>/compare.log",
    benchmark:
        "<benchmarks>/compare.tsv"
    conda:
        "../envs/report.yaml"
    threads: 1
    resources:
        mem_mb=rising(1000),
        runtime=rising(10),
    params:
        code=source_digest("comparisons"),
    script:
        "../scripts/compare.py"


rule summarize_training:
    input:
        [
            f"<results>/training/{NETWORK.format(**training)}/metrics.csv"
            for training in trainings()
        ],
    output:
        report(
            "<results>/summary/training.csv",
            caption="../report/training.rst",
            category="Training",
            labels={"item": "Values: training.csv"},
        ),
    log:
        "<logs>/summarize_training.log",
    benchmark:
        "<benchmarks>/summarize_training.tsv"
    conda:
        "../envs/report.yaml"
    threads: 1
    resources:
        mem_mb=rising(1000),
        runtime=rising(10),
    params:
        trainings=trainings(),
        config_digest=config_digest(config),
        code=source_digest("summary"),
    script:
        "../scripts/summarize_training.py"


rule write_pages:
    input:
        layers=["<results>/summary/layers.csv"],
        manifolds=["<results>/summary/manifolds.csv"],
        comparisons=["<results>/summary/comparisons.csv"],
        provenance=["<results>/provenance.json"],
        dataset=[] if OWN else ["<dataset>/dataset.json"],
    output:
        layers=report(
            "<results>/pages/layers.html",
            caption="../report/layers_page.rst",
            category="Geometry",
            labels={"item": "Table: layers, classes and logs"},
        ),
        comparisons=report(
            "<results>/pages/comparisons.html",
            caption="../report/comparisons.rst",
            category="Geometry",
            labels={"item": "Table: what differs"},
        ),
        origin=report(
            "<results>/pages/origin.html",
            caption="../report/origin.rst",
            category="Where it comes from",
            labels={"item": "Configuration and provenance"},
        ),
    log:
        "<logs>/write_pages.log",
    benchmark:
        "<benchmarks>/write_pages.tsv"
    conda:
        "../envs/report.yaml"
    threads: 1
    resources:
        mem_mb=rising(2000),
        runtime=rising(10),
    params:
        given=given_keys(CONFIG_AS_GIVEN),
        code=source_digest("pages"),
    script:
        "../scripts/write_pages.py"


use rule write_pages as write_training_page with:
    input:
        training=["<results>/summary/training.csv"],
    output:
        training=report(
            "<results>/pages/training.html",
            caption="../report/training.rst",
            category="Training",
            labels={"item": "Table: epoch by epoch"},
        ),
    log:
        "<logs>/write_training_page.log",
    benchmark:
        "<benchmarks>/write_training_page.tsv"
    params:
        code=source_digest("pages"),


rule draw_layers:
    input:
        "<results>/summary/layers.csv",
    output:
        report(
            "<results>/figures/layers.svg",
            caption="../report/figure_layers.rst",
            category="Geometry",
            labels={"item": "Figure: along the layers"},
        ),
        "<results>/figures/layers.png",
        values="<results>/figures/layers.csv",
    log:
        "<logs>/draw_layers.log",
    benchmark:
        "<benchmarks>/draw_layers.tsv"
    conda:
        "../envs/report.yaml"
    threads: 1
    resources:
        mem_mb=rising(2000),
        runtime=rising(10),
    params:
        figure="plot_layers",
        code=source_digest("figures"),
    script:
        "../scripts/draw_figure.py"


use rule draw_layers as draw_manifolds with:
    input:
        "<results>/summary/manifolds.csv",
    output:
        report(
            "<results>/figures/manifolds.svg",
            caption="../report/figure_manifolds.rst",
            category="Geometry",
            labels={"item": "Figure: class by class"},
        ),
        "<results>/figures/manifolds.png",
        values="<results>/figures/manifolds.csv",
    log:
        "<logs>/draw_manifolds.log",
    benchmark:
        "<benchmarks>/draw_manifolds.tsv"
    params:
        figure="plot_manifolds",
        code=source_digest("figures"),


use rule draw_layers as draw_dynamics with:
    output:
        report(
            "<results>/figures/dynamics.svg",
            caption="../report/figure_dynamics.rst",
            category="Geometry",
            labels={"item": "Figure: over training"},
        ),
        "<results>/figures/dynamics.png",
        values="<results>/figures/dynamics.csv",
    log:
        "<logs>/draw_dynamics.log",
    benchmark:
        "<benchmarks>/draw_dynamics.tsv"
    params:
        figure="plot_dynamics",
        code=source_digest("figures"),


use rule draw_layers as draw_training with:
    input:
        "<results>/summary/training.csv",
    output:
        report(
            "<results>/figures/training.svg",
            caption="../report/figure_training.rst",
            category="Training",
            labels={"item": "Figure: loss and accuracy"},
        ),
        "<results>/figures/training.png",
        values="<results>/figures/training.csv",
    log:
        "<logs>/draw_training.log",
    benchmark:
        "<benchmarks>/draw_training.tsv"
    params:
        figure="plot_training",
        code=source_digest("figures"),


use rule draw_layers as draw_radius_dimension with:
    output:
        report(
            "<results>/figures/radius_dimension.svg",
            caption="../report/figure_radius_dimension.rst",
            category="Geometry",
            labels={"item": "Figure: radius and dimension"},
        ),
        "<results>/figures/radius_dimension.png",
        values="<results>/figures/radius_dimension.csv",
    log:
        "<logs>/draw_radius_dimension.log",
    benchmark:
        "<benchmarks>/draw_radius_dimension.tsv"
    params:
        figure="plot_radius_dimension",
        code=source_digest("figures"),


use rule draw_layers as draw_centers with:
    input:
        "<results>/summary/centers.csv",
    output:
        report(
            "<results>/figures/centers.svg",
            caption="../report/figure_centers.rst",
            category="Geometry",
            labels={"item": "Figure: spectrum of the centers"},
        ),
        "<results>/figures/centers.png",
        values="<results>/figures/centers.csv",
    log:
        "<logs>/draw_centers.log",
    benchmark:
        "<benchmarks>/draw_centers.tsv"
    params:
        figure="plot_centers",
        code=source_digest("figures"),


use rule draw_layers as draw_controls with:
    output:
        report(
            "<results>/figures/controls.svg",
            caption="../report/figure_controls.rst",
            category="Geometry",
            labels={"item": "Figure: controls"},
        ),
        "<results>/figures/controls.png",
        values="<results>/figures/controls.csv",
    log:
        "<logs>/draw_controls.log",
    benchmark:
        "<benchmarks>/draw_controls.tsv"
    params:
        figure="plot_controls",
        code=source_digest("figures"),
