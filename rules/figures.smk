# A rule for every figure, from the package's registry.
from manifold_capacity.figures.registry import FIGURES

for figure in FIGURES.values():
    # What the report says of a figure: a text of its own, or else one that serves for any.
    caption = f"../report/figure_{figure.name}.rst"
    if not Path(workflow.basedir, "rules", caption).exists():
        caption = "../report/figure.rst"

    rule:
        name:
            f"draw_{figure.name}"
        input:
            f"<results>/summary/{figure.table}.csv",
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
        # On a cluster, with the tables in one submission (as the rules of the tables in profiles/slurm).
        group:
            "summary"
        conda:
            "../envs/report.yaml"
        threads: 1
        resources:
            mem_mb=rising(2000),
            runtime=rising(10),
        params:
            figure=figure.name,
            title=figure.title,
            code=source_digest("figures.registry", f"figures.{figure.name}"),
        script:
            "../scripts/draw_figure.py"
