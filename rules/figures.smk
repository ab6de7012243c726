# A rule for every figure, from the package's registry.
from manifold_capacity.figures.registry import FIGURES

# On a cluster, a figure is submitted together with the rules of its table (profiles/slurm).
FIGURE_GROUPS = {
    f"draw_{figure.name}": "training" if figure.table == "training" else "summary"
    for figure in FIGURES.values()
}

for figure in FIGURES.values():
    # The figure's caption in the report: its own, or else the general one.
    caption = f"../report/figure_{figure.name}.rst"
    if not Path(workflow.basedir, "rules", caption).exists():
        caption = "../report/figure.rst"

    rule:
        name:
            f"draw_{figure.name}"
        input:
            table=f"<results>/summary/{figure.table}.csv",
            stamp=STAMPS[figure.table],
        output:
            report(
                f"<results>/figures/{figure.name}.svg",
                caption=caption,
                category=figure.category,
                labels={"item": f"Figure: {figure.title}"},
            ),
            f"<results>/figures/{figure.name}.png",
            values=f"<results>/figures/{figure.name}.csv",
        log:
            f"<logs>/draw_{figure.name}.log",
        benchmark:
            f"<benchmarks>/draw_{figure.name}.tsv"
        group:
            FIGURE_GROUPS[f"draw_{figure.name}"]
        conda:
            "../envs/report.yaml"
        threads: 1
        resources:
            mem_mb=rising(2000),
            runtime=rising(10),
        params:
            step=lambda wildcards, name=figure.name: STEPS.figure(name),
        script:
            "../scripts/draw_figure.py"
