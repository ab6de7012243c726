# Manifold capacity and geometry of every layer of a deep network.
# `snakemake -n` shows what would run; `docs/config.md` lists the keys of a configuration.
from snakemake.utils import min_version

min_version("9.12")  # pathvars

# A configuration file on the command line replaces the default one. This attribute is not documented, but the option
# --replace-workflow-config would also drop the default file for a mere `--config key=value`.
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
        rules.geometry.input,  # so that a missing table is made again even if the summary exists


onsuccess:
    logger.info(runs.closing_text(config["results"], STARTED))
