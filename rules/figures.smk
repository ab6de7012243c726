# A rule for every figure that this run draws, from the registry of the package.

for figure in FIGURES.values():

    rule:
        name:
            f"draw_{figure.name}"
        input:
            f"<results>/summary/{figure.table}.csv",
        output:
            report(
                f"<results>/figures/{figure.name}.svg",
                caption=figure_caption(figure.name),
                category=figure.category,
                labels={"item": f"Figure: {figure.title}"},
            ),
            f"<results>/figures/{figure.name}.png",
            values=f"<results>/figures/{figure.name}.csv",
        log:
            f"<logs>/draw_{figure.name}.log",
        benchmark:
            f"<benchmarks>/draw_{figure.name}.tsv"
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
