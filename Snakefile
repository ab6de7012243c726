# Manifold capacity and geometry of every layer of a deep network.
# `snakemake -n` shows what would run; `docs/config.md` lists the keys of a configuration.
from snakemake.utils import min_version

min_version("9.12")  # pathvars


# A configuration given on the command line is complete: it replaces the default one and is not merged into it.
if not workflow.overwrite_configfiles:

    configfile: f"{workflow.basedir}/config.yaml"


report: "report/workflow.rst"


include: "rules/common.smk"


for step in ["external"] if EXTERNAL else ["dataset", "training", "activations"]:

    include: f"rules/{step}.smk"


include: "rules/geometry.smk"
include: "rules/summary.smk"
include: "rules/figures.smk"
include: "rules/targets.smk"
include: "rules/tools.smk"


rule all:
    default_target: True
    input:
        rules.summary.input,
        rules.geometry.input,  # a missing table is made again although the summary is there


onsuccess:
    logger.info(runs.closing_text(config["results"], STARTED))
