"""The columns of the tables: their names, order, types and titles."""

from __future__ import annotations

from manifold_capacity.summary.rows import (
    CENTERS_IDENTITY,
    CENTERS_NUMBERS,
    LAYER_IDENTITY,
    MANIFOLD_IDENTITY,
)

# The numbers that every table has, measured or not; whatever else the geometry reports becomes a
# column after these.
LAYER_NUMBERS = (
    "n_manifolds",
    "n_points",
    "margin",
    "n_gaussians",
    "n_repeats",
    "solver",
    "capacity",
    "capacity_stderr",
    "radius",
    "radius_stderr",
    "dimension",
    "dimension_stderr",
    "center_correlation",
    "residual_correlation",
    "center_rank",
    "worst_gap",
    "n_unconverged",
)


MANIFOLD_NUMBERS = (
    "n_points",
    "capacity",
    "capacity_stderr",
    "radius",
    "radius_stderr",
    "dimension",
    "dimension_stderr",
)


LAYER_COLUMNS = (*LAYER_IDENTITY, "status", *LAYER_NUMBERS)


MANIFOLD_COLUMNS = (*MANIFOLD_IDENTITY, *MANIFOLD_NUMBERS)


# Words that may look like numbers: a digit's class is called "7".
WORDS = (
    "dataset",
    "model",
    "weights",
    "checkpoint",
    "split",
    "labels",
    "layer",
    "layer_name",
    "layer_type",
    "output_shape",
    "status",
    "solver",
    "class_name",
    "config_digest",
)


# Whole numbers that may be missing (pretrained weights have no epoch, a dead layer has no rank):
# pandas would make them floats, and the tables would say "15.0".
WHOLE = (
    "seed",
    "epoch",
    "layer_index",
    "n_features",
    "class_index",
    "n_manifolds",
    "n_points",
    "n_gaussians",
    "n_repeats",
    "component",
    "center_rank",
    "n_unconverged",
)


# Columns of the tables that stand in the pages under another name, with what they mean.
TITLES = {
    "dataset": ("Dataset", ""),
    "model": ("Model", ""),
    "weights": ("Weights", "Where the weights come from"),
    "seed": ("Seed", ""),
    "checkpoint": ("Checkpoint", ""),
    "split": ("Split", "Whose images make up the manifolds"),
    "labels": ("Labels", "original: manifolds are the classes; shuffled: the control"),
    "layer": ("Layer", "Index and type"),
    "layer_name": ("Module", "Qualified name of the module"),
    "output_shape": ("Output", "Shape of the output for one image"),
    "n_features": ("Features N", "Number of features"),
    "status": ("Status", "Why a layer has no geometry"),
    "n_manifolds": ("Manifolds P", "Number of manifolds"),
    "n_points": ("Points", "Number of points"),
    "margin": ("Margin κ", "Margin of the readout, in units of a center's norm"),
    "n_gaussians": ("Gaussian samples", "per manifold"),
    "n_repeats": ("Draws", "Draws of points and Gaussian samples"),
    "solver": ("Solver", ""),
    "capacity": ("Capacity α", "Manifolds per feature that a linear readout can separate, ± standard error"),
    "radius": ("Radius R", "In units of the norm of a manifold's center, ± standard error"),
    "dimension": ("Dimension D", "Number of directions in which a manifold has that radius, ± standard error"),
    "center_correlation": ("Center correlation ρ", "Mean absolute cosine between centers"),
    "residual_correlation": ("Residual correlation", "The same once the shared structure is taken out"),
    "center_rank": ("Directions out", "Number K of directions of the centers that were taken out"),
    "worst_gap": ("Largest gap", "Largest relative duality gap of the quadratic programs"),
    "n_unconverged": ("Unconverged", "Quadratic programs whose gap exceeds 1e-9"),
    "participation_ratio": ("Participation ratio", "In how many directions a manifold varies"),
    "signal_to_noise": ("Signal to noise", "Norm of a manifold's center over the spread of its points"),
    "simulated_capacity": ("Simulated capacity", "Found by separating random labels, ± standard error"),
    "class_name": ("Class", ""),
    "center_norm": ("Center norm", "In the units of the activations"),
    "projected_center_norm": ("Projected center norm", "Without the shared structure: the radius' unit"),
    "spread": ("Spread", "Root mean square distance of points from their center"),
    "comparison": ("Compared", "What differs"),
    "reference": ("With", "The checkpoint, split, labels or model compared with"),
    "quantity": ("Quantity", ""),
    "difference": ("Difference [95 % interval]", "Value minus reference; bounds of its 95 % interval"),
    "value": ("Value", ""),
    "reference_value": ("Reference value", ""),
    "interval_over": ("Interval over", ""),
    "n": ("n", "Number of seeds or classes"),
    "epoch": ("Epoch", "0 is the network before training"),
    "train_loss": ("Training loss", "Mean cross-entropy in nats, as the images were seen"),
    "test_loss": ("Test loss", "Mean cross-entropy in nats, after the epoch"),
    "train_accuracy": ("Training accuracy", "Share of right answers, as the images were seen"),
    "test_accuracy": ("Test accuracy", "Share of right answers, after the epoch"),
    "learning_rate": ("Learning rate", "Of the epoch's last step"),
}  # fmt: skip


# What a table is recognized by: the columns that its figures are drawn from.
NEEDED_COLUMNS = {
    "layers": {*LAYER_IDENTITY, "status", *LAYER_NUMBERS},
    "manifolds": {*MANIFOLD_IDENTITY, *MANIFOLD_NUMBERS},
    "centers": {*CENTERS_IDENTITY, *CENTERS_NUMBERS},
    "training": {
        *("model", "seed", "epoch"),
        *(f"{split}_{part}" for split in ("train", "test") for part in ("loss", "accuracy")),
    },
}
