"""Exact capacity of one layer (GLUE), from the inner products of its points."""

from pathlib import Path
from types import SimpleNamespace

from manifold_capacity import logs, provenance
from manifold_capacity.geometry.draws import draw_seed
from manifold_capacity.geometry.glue import glue_from_gram
from manifold_capacity.geometry.glue_table import combine_glue, separability_curve
from manifold_capacity.geometry.gram import Gram
from manifold_capacity.geometry.manifolds import DegenerateManifoldsError
from manifold_capacity.geometry.variance import variance_of_gram

with logs.log_to(snakemake.log[0]) as log:
    step, draws, found = SimpleNamespace(**snakemake.params.step), [], {"row": {}}
    all_eigenvalues = step.glue.pop("dimension_90")
    step.glue["dichotomies"] = step.glue.pop("labels")
    try:
        for draw, file in enumerate(snakemake.input):
            gram = Gram.load(Path(file))
            provenance.check_keys(file, gram.provenance, step.keys, "gram")
            if draw == 0:
                found = {"row": variance_of_gram(gram, all_eigenvalues)}
            gram = gram.shuffled(step.shuffles[draw]) if step.shuffles else gram
            options = step.glue | {"seed": draw_seed(step.seed, draw), "threads": snakemake.threads}
            draws.append(glue_from_gram(gram, **options))
        row, manifolds = combine_glue(draws, disjoint=step.disjoint)
        found = {"row": found["row"] | row, "manifolds": manifolds}
        found["curve"] = separability_curve(draws)
        log.info("exact capacity %.4g, radius %.4g", row["glue_capacity"], row["glue_radius"])
    except DegenerateManifoldsError as error:
        log.warning("%s has no exact capacity: %s", snakemake.wildcards.layer, error)
    provenance.write_stamp(snakemake.output[0], [], step.keys, **found)
