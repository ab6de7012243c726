"""The columns of all tables: an entry per column with its name, type, title and meaning, in the tables' order.

`make docs` writes the tables of docs/outputs.md from these entries, and the report's pages show titles and meanings.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

# TEXT may look like a number: a digit's class is called "7". WHOLE numbers may be missing or be a mean.
TEXT, WHOLE, NUMBER, FLAG = "text", "whole number", "number", "true or false"


@dataclass(frozen=True)
class Column:
    """A column of a table, with its title on the report's pages and its meaning as Markdown."""

    name: str
    type: str
    title: str
    meaning: str
    section: str = ""  # its heading in docs/outputs.md
    optional: bool = False  # a table has all other columns, with or without values


def _section(title: str, *columns: Column, optional: bool = False) -> tuple[Column, ...]:
    return tuple(replace(c, section=title, optional=optional or c.optional) for c in columns)


def _same(*names: str) -> Iterator[Column]:
    """Columns of the table of layers that another table has too."""
    return (replace(c, section="") for name in names for c in LAYERS if c.name == name)


def _glue_columns(name: str, title: str, meaning: str) -> Iterator[Column]:
    yield Column(f"glue_{name}", NUMBER, title, meaning)
    yield Column(f"glue_{name}_low", NUMBER, f"{title}, low", "Lower end of its 95 % interval.")
    yield Column(f"glue_{name}_high", NUMBER, f"{title}, high", "Upper end of its 95 % interval.")
    yield Column(
        f"glue_{name}_gaussian_stderr",
        NUMBER,
        f"Gaussian error of {title[0].lower()}{title[1:]}",
        "Standard error of the samples of labels and Gaussian vectors alone.",
    )


# fmt: off
_GLUE = (
    ("capacity", "Exact capacity", "Capacity with all correlations between manifolds (GLUE): the same number as the simulated capacity, without its noise."),
    ("capacity_published", "Exact capacity, as published", "The papers' estimate of the same number, with a larger error."),
    ("radius", "GLUE radius", "Effective radius of the anchor points around their centers, with correlations."),
    ("dimension", "GLUE dimension", "Effective dimension of the manifolds, with correlations."),
    ("utility", "Utility ψ", "Share of the capacity's directions that the geometry of centers and axes leaves to be of use: capacity is ψ (1 + R⁻²) / D."),
    ("center_alignment", "Center alignment", "Mean absolute cosine between different manifolds' anchor centers."),
    ("axis_alignment", "Axis alignment", "The same between their axes, in which anchors deviate from their center."),
    ("center_axis_alignment", "Center-axis alignment", "The same between centers and axes."),
    ("center_alignment_raw", "Center alignment, raw", "Mean absolute inner product, as the papers have it, in squared units of the activations."),
    ("axis_alignment_raw", "Axis alignment, raw", "The same between axes."),
    ("center_axis_alignment_raw", "Center-axis alignment, raw", "The same between centers and axes."),
)
_IDENTITY = _section("Which layer",
    Column("dataset", TEXT, "Dataset", "Name of the dataset; for external activations, of their file or folder."),
    Column("model", TEXT, "Model", "Label of the model in the configuration; for external activations, `activations.name`."),
    Column("weights", TEXT, "Weights", "Where the weights come from: `trained`, `random` or `pretrained`; `external` for external activations."),
    Column("seed", WHOLE, "Seed", "Seed of the run: of the initial weights, the training, the sampled images and the Gaussian samples."),
    Column("checkpoint", TEXT, "Checkpoint", "`epoch-015`: after that many epochs; `pretrained`: published weights; `external`: external activations."),
    Column("epoch", WHOLE, "Epoch", "The checkpoint's epoch as a number; 0 is the network before training. Empty for `pretrained` and `external`."),
    Column("split", TEXT, "Split", "Whose images make up the manifolds: `train` or `test`; `all` for external activations."),
    Column("labels", TEXT, "Labels", "`original`: manifolds are the classes; `shuffled`: the control of `manifolds.shuffle_labels`, the same points with permuted labels."),
    Column("layer", TEXT, "Layer", "Index and type of the layer, `1_Conv2d`."),
    Column("layer_index", WHOLE, "Layer index",
           "Position of the layer's module among all leaf modules of the network, in module order from 1; 0 is the input. "
           "For external activations, its position in `layers.names`, from 1."),
    Column("layer_name", TEXT, "Module", "Qualified name of the module, `features.0`; `input` for the input; the array's name for external activations."),
    Column("layer_type", TEXT, "Layer type",
           "Class of the module, `Conv2d`; `Input` for the input; for external activations the array's name again, with `_` for all but letters and digits."),
    Column("output_shape", TEXT, "Output", "Shape of the layer's output for one image, `64x32x32`, or of one sample in the array."),
    Column("n_features", WHOLE, "Features N", "Number of features N: the product of `output_shape`."),
)
_CONFIG_DIGEST = _section("Where it comes from",
    Column("config_digest", TEXT, "Configuration digest",
           "Digest of the configuration with all its defaults, except the folder `results`; also in `provenance.json`, which has the rest."),
    optional=True,
)
LAYERS = (
    *_IDENTITY,
    *_section("Which layer",
        Column("status", TEXT, "Status", "`ok`, or why the layer has no geometry (such as: all its activations are zero); then only `n_manifolds` of the columns below has a value."),
    ),
    *_section("How it was measured",
        Column("n_manifolds", WHOLE, "Manifolds P", "Number of manifolds P: of classes."),
        Column("n_points", WHOLE, "Points", "Number of points in one draw; for a layer, of all manifolds together."),
        Column("projected_features", WHOLE, "Projected features", "Number of features after the random projection of `activations.projection`; empty for a layer that was not projected.", optional=True),
        Column("margin", NUMBER, "Margin κ", "Margin κ of the linear readout, in units of a center's norm."),
        Column("n_gaussians", WHOLE, "Gaussian samples", "Number of Gaussian samples per manifold."),
        Column("n_repeats", WHOLE, "Draws", "Draws of points and of Gaussian samples: `geometry.repeats`."),
        Column("solver", TEXT, "Solver", "Solver of the quadratic programs: `active_set` or `cvxopt`."),
    ),
    *_section("The geometry",
        Column("capacity", NUMBER, "Capacity α", "Capacity α_M: manifolds per feature that a linear readout can separate; higher is easier to read. For a layer, the harmonic mean over manifolds."),
        Column("capacity_low", NUMBER, "Capacity, low", "Lower end of its 95 % interval."),
        Column("capacity_high", NUMBER, "Capacity, high", "Upper end of its 95 % interval."),
        Column("capacity_gaussian_stderr", NUMBER, "Gaussian error of capacity", "Standard error of the Gaussian samples alone. It says nothing of other images or classes: for that there is the interval."),
        Column("radius", NUMBER, "Radius R", "Radius R_M, in units of the norm of the manifold's center once the centers' shared structure is projected out. For a layer, the mean over manifolds."),
        Column("radius_low", NUMBER, "Radius, low", "Lower end of its 95 % interval."),
        Column("radius_high", NUMBER, "Radius, high", "Upper end of its 95 % interval."),
        Column("radius_gaussian_stderr", NUMBER, "Gaussian error of radius", "Standard error of the Gaussian samples alone. It says nothing of other images or classes: for that there is the interval."),
        Column("dimension", NUMBER, "Dimension D", "Dimension D_M: number of directions in which the manifold has that radius, as a readout sees it. For a layer, the mean over manifolds."),
        Column("dimension_low", NUMBER, "Dimension, low", "Lower end of its 95 % interval."),
        Column("dimension_high", NUMBER, "Dimension, high", "Upper end of its 95 % interval."),
        Column("dimension_gaussian_stderr", NUMBER, "Gaussian error of dimension", "Standard error of the Gaussian samples alone. It says nothing of other images or classes: for that there is the interval."),
        Column("center_correlation", NUMBER, "Center correlation ρ", "Mean absolute cosine between the centers of different manifolds, relative to the mean of all centers. For a manifold, that of its center with the others."),
        Column("center_correlation_low", NUMBER, "Center correlation, low", "Lower end of its 95 % interval."),
        Column("center_correlation_high", NUMBER, "Center correlation, high", "Upper end of its 95 % interval."),
        Column("interval_over", TEXT, "Interval over",
               "What the intervals are over: `draws` of points (from three disjoint `geometry.repeats` on), else `classes`."),
        Column("residual_correlation", NUMBER, "Residual correlation", "Center correlation once the centers' shared structure is projected out."),
        Column("center_rank", WHOLE, "Rank K", "Number K of directions in which the centers are correlated. They are fitted, and projected out of every point before capacity, radius and dimension are computed."),
    ),
    *_section("The geometry",
        Column("center_rank_low", WHOLE, "Least near-tied K", "Least K whose residual correlation is within 1 / P (and at least 1 %) of the least."),
        Column("center_rank_high", WHOLE, "Largest near-tied K", "Largest such K. Which of them has the least correlation may depend on a single point."),
        *(Column(f"{q}_rank_{end}", NUMBER, f"{word} {q} over near-tied K", f"{word} {q} over these K.")
          for q in ("capacity", "radius", "dimension") for end, word in (("low", "Least"), ("high", "Largest"))),
    ),
    *_section("Whether to trust it",
        Column("caveats", TEXT, "Caveats", "Codes of what keeps the numbers from meaning what they seem to, [explained below](#caveats); empty when all is well."),
        Column("caveats_text", TEXT, "Caveats in words", "The same in sentences, with their numbers."),
        Column("worst_gap", NUMBER, "Largest gap", "Largest relative duality gap of the quadratic programs: how far from optimal the worst of them can be."),
        Column("n_unconverged", WHOLE, "Unconverged", "Number of quadratic programs whose gap exceeds 1e-9. If it is not 0, the row's numbers are not exact."),
    ),
    *_section("Simpler measures of the same layer",
        Column("participation_ratio", NUMBER, "Participation ratio", "(sum λ)² / sum λ² of a manifold's covariance eigenvalues λ: in how many directions it varies. For a layer, the mean over manifolds."),
        Column("signal_to_noise", NUMBER, "Signal to noise", "Norm of a manifold's center over the spread of its points around it (root mean square). For a layer, the harmonic mean over manifolds."),
        Column("centers_participation_ratio", NUMBER, "Centers participation ratio", "Participation ratio of the centers."),
        Column("centers_dimension_90", NUMBER, "Centers dimension 90", "Number of directions that explain 90 % of the centers' variance."),
        optional=True,
    ),
    *_section("Whether to trust it",
        Column("centers_objective", NUMBER, "Centers objective", "Least value found of half the sum of squared correlations between residual centers."),
        Column("centers_least_residual_ratio", NUMBER, "Centers least residual ratio",
               "Smallest share of its norm that a center keeps when the shared structure is projected out. If it is near 0, that manifold's radius is unreliable."),
        Column("centers_stopped", TEXT, "Centers stopped",
               "Why the search for the rank K ended: `variance` (10 more than explain 95 % of the centers' variance), `rises` (the correlation rose three times in a row), "
               "`rank` (no more directions)."),
        Column("centers_converged", FLAG, "Centers converged", "Whether the fit at the chosen rank reached its tolerance: `True` or `False`."),
        optional=True,
    ),
    *_section("Exact capacity",
        *(c for name, title, meaning in _GLUE for c in _glue_columns(name, title, meaning)),
        Column("glue_interval_over", TEXT, "Exact capacity's interval over", "What its intervals are over: `draws` of points, or `classes` (then only capacity and dimension have one)."),
        Column("glue_capacity_floor", NUMBER, "Exact capacity's floor", "Capacity of as many points in general position: near it, the exact capacity says little of the geometry."),
        Column("glue_separable_fraction", NUMBER, "Separable labels", "Share of the sampled labels that can be separated in the layer itself."),
        Column("glue_unique_fraction", NUMBER, "Unique anchors", "Share of the samples with unique anchors, from which all but the capacity are."),
        Column("glue_active_fraction", NUMBER, "Active manifolds", "Mean share of the manifolds with an active point in a sample."),
        Column("glue_n_samples", WHOLE, "Exact capacity's samples", "Samples of labels and Gaussian vectors."),
        Column("glue_worst_gap", NUMBER, "Exact capacity's largest gap", "Largest relative duality gap of its quadratic programs."),
        Column("layer_participation_ratio", NUMBER, "Layer's participation ratio", "(sum λ)² / sum λ² of the covariance eigenvalues λ of all points of the layer together."),
        Column("layer_dimension_90", WHOLE, "Layer's dimension 90", "Number of directions that explain 90 % of the variance of all points; for more than 2,000 only with `geometry.glue.dimension_90`."),
        optional=True,
    ),
    *_section("Simulated capacity",
        Column("simulated_capacity", NUMBER, "Simulated capacity", "Capacity found by separating random labels in random projections."),
        Column("simulated_capacity_stderr", NUMBER, "Standard error of simulated capacity", "Its standard error over 40 repetitions."),
        optional=True,
    ),
    *_CONFIG_DIGEST,
)
_CLASS = (
    Column("class_index", WHOLE, "Class index",
           "Index of the class in the dataset; with shuffled labels the manifold's number; for external activations, its position among the sorted labels, from 0."),
    Column("class_name", TEXT, "Class", "Its name; with shuffled labels, `shuffled 3` and the like."),
)
_COMPONENT = (
    Column("component", WHOLE, "Component", "Number of the component, from 1, the largest first; there is one fewer than manifolds."),
)
TABLES: dict[str, tuple[Column, ...]] = {
    "layers": LAYERS,
    "manifolds": (
        *_IDENTITY,
        *_CLASS,
        *_same("n_points", *(q + suffix for q in ("capacity", "radius", "dimension") for suffix in ("", "_gaussian_stderr"))),
        *(replace(c, optional=True) for c in _same(*(f"{q}_{end}" for q in ("capacity", "radius", "dimension") for end in ("low", "high")))),
        *_section("",
            Column("center_norm", NUMBER, "Center norm", "Distance of the manifold's center from the mean of all points, in the units of the activations."),
            Column("projected_center_norm", NUMBER, "Projected center norm", "The same once the centers' shared structure is projected out: the unit of the radius."),
            Column("spread", NUMBER, "Spread", "Root mean square distance of the points from their center, in the units of the activations."),
            *_same("signal_to_noise", "center_correlation", "participation_ratio", "worst_gap", "n_unconverged", "glue_capacity", "glue_dimension"),
            optional=True,
        ),
        *_CONFIG_DIGEST,
    ),
    "separability": (
        *_IDENTITY,
        Column("n_directions", WHOLE, "Directions n", "Number of random directions that a linear readout sees."),
        Column("probability", NUMBER, "Probability", "Probability that it can separate random labels of the manifolds."),
        *_CONFIG_DIGEST,
    ),
    "comparisons": (
        *_same("dataset"),
        Column("comparison", TEXT, "Compared", "What differs: `checkpoint`, `split`, `labels` or `model`."),
        *_same("model", "checkpoint", "split", "labels"),
        Column("reference", TEXT, "With", "The other checkpoint, split, labels or model. All else is the same, except the last checkpoint of another model."),
        *_same("layer", "layer_index", "layer_name"),
        Column("quantity", TEXT, "Quantity", "`capacity`, `radius`, `dimension` or `center_correlation`; with exact capacity also those of `glue_*` (over classes only its capacity and dimension)."),
        Column("value", NUMBER, "Value", "The layer's number, the mean over seeds."),
        Column("reference_value", NUMBER, "Reference value", "That of the reference."),
        Column("difference", NUMBER, "Difference [95 % interval]", "`value` minus `reference_value`."),
        Column("difference_low", NUMBER, "Low", "Lower end of its 95 % interval."),
        Column("difference_high", NUMBER, "High", "Upper end of its 95 % interval."),
        Column("simultaneous_low", NUMBER, "Simultaneous low", "Lower end of its simultaneous 95 % interval: those of all layers and quantities of the comparison hold together in 95 of 100 runs."),
        Column("simultaneous_high", NUMBER, "Simultaneous high", "Upper end of that."),
        Column("interval_over", TEXT, "Interval over",
               "What the intervals are over: `seeds` from three seeds on (for other trainings), else `classes` (for other classes like these and their images, by these very networks)."),
        Column("n", WHOLE, "n", "Number of seeds or classes."),
        Column("caveats", TEXT, "Caveats", "Codes of the caveats of either layer, and `few_seeds`, [explained here](#caveats)."),
        *_CONFIG_DIGEST,
    ),
    "centers": (
        *_IDENTITY,
        *_COMPONENT,
        Column("variance_share", NUMBER, "Variance share", "Eigenvalue of the centers' covariance, as a share of their sum; the mean over draws."),
        *_same("center_rank"),
        *_CONFIG_DIGEST,
    ),
    "training": (
        *_same("model", "seed", "epoch"),
        Column("train_loss", NUMBER, "Training loss",
               "Mean cross-entropy in nats over the epoch, of the images as they were seen: augmented, while the weights changed. Empty at epoch 0."),
        Column("train_accuracy", NUMBER, "Training accuracy", "Share of correct answers, of the same images. Empty at epoch 0."),
        Column("test_loss", NUMBER, "Test loss", "Mean cross-entropy in nats of the test split after the epoch."),
        Column("test_accuracy", NUMBER, "Test accuracy", "Share of correct answers on the test split after the epoch."),
        Column("learning_rate", NUMBER, "Learning rate", "Learning rate of the epoch's last step. Empty at epoch 0.", optional=True),
        *_CONFIG_DIGEST,
    ),
}
# fmt: on


def _names(columns: Iterable[Column]) -> tuple[str, ...]:
    return tuple(column.name for column in columns)


LAYER_IDENTITY = _names(_IDENTITY)
MANIFOLD_IDENTITY = _names((*_IDENTITY, *_CLASS))
CENTERS_IDENTITY = _names((*_IDENTITY, *_COMPONENT))
REQUIRED = {
    table: _names(column for column in columns if not column.optional)
    for table, columns in TABLES.items()
}
# The numbers that a measured layer has in any case.
LAYER_NUMBERS = tuple(n for n in REQUIRED["layers"] if n not in (*LAYER_IDENTITY, "status"))
# A table is recognized by them.
NEEDED_COLUMNS = {table: {*names} for table, names in REQUIRED.items()}

_ALL = [column for columns in TABLES.values() for column in columns]
WORDS = tuple({column.name for column in _ALL if column.type == TEXT})
WHOLE_NUMBERS = tuple({column.name for column in _ALL if column.type == WHOLE})
# The pages write an interval behind its value.
TITLES = {
    column.name: (
        column.title,
        column.meaning.replace("`", "").removesuffix(".")
        + (" [95 % interval]" if f"{column.name}_low" in _names(_ALL) else ""),
    )
    for column in _ALL
}
