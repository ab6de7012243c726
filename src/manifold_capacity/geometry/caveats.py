"""Caveats: where a layer's numbers say less than they seem to, because of the points or of the theory's assumptions.

A certificate speaks for the solver, an interval for the choice of classes or points; a caveat for the rest.
"""

from __future__ import annotations

# Code, what is meant (in a few words, for a table's foot), and the whole story as Markdown (docs/outputs.md).
CAVEATS = {
    "centers": (
        "centers differ by little against their sampling error; more points per class are needed",
        "The mean squared distance between centers is less than twice what as few points per class give by chance if all "
        "classes are the same. Radius and capacity then measure the sample, not the classes: use more points per class. With "
        "shuffled labels it is as it should be.",
    ),
    "correlation": (
        "centers stay correlated, which the theory assumes they are not; compare with the exact capacity",
        "The mean absolute cosine between the centers that remain after projection is above 0.3, and more than 80 % of "
        "that before. The theory takes them as unrelated; with few classes, or centers that lie along a line, they cannot "
        "be made so. Of 3 and 4 clouds, capacity was 3 to 15 % below the simulated one: compare with the exact capacity (`glue`).",
    ),
    "outlier": (
        "a single sample dominates its class; is it damaged, or a missing value's code?",
        "One sample holds more than 90 % of the variance of its class (of 20 samples or more), or lies so far from the others that the sums of "
        "squares, in float64, lose digits that the certificate promises. The text names the sample, and the feature in the "
        "second case; beyond a loss of three digits the layer is refused.",
    ),
    "floor": (
        "capacity is near 2/m, which m points per class give whatever their geometry; use more points per class",
        "Capacity is less than 1.2 times 2/m. Points in general position with random labels have a capacity of 2 each, and "
        "so classes of m such points one of 2/m: near it, capacity says little of the geometry. More points per class are "
        "needed, not more classes. (Stated for margin 0.)",
    ),
    "features": (
        "so few features that the labels may not be separable in the layer itself",
        "The layer has fewer features than points, and fewer than twice P / α, the number at which random labels become "
        "separable. In the layer itself they may not be separable at all, and its capacity, which is about wide layers, can "
        "be too high by tens of percents.",
    ),
    "unequal": (
        "classes have unequal numbers of points, on which capacity depends",
        "The more points a class has, the lower its capacity: 20 clouds of 10 and of 70 points from one distribution have "
        "0.46 and 0.22. Compare layers only at the same numbers; `points_per_class: equal` draws the smallest from each.",
    ),
    "rank_bound": (
        "centers may share more directions than this number of classes lets one remove; use more classes",
        "The search for the number K of shared directions ended at the largest that it may try, and chose that. With few classes there is no room for more "
        "directions; else the centers' correlation would go on falling, and the numbers with it.",
    ),
    "rank_choice": (
        "with another number of shared directions removed, numbers would be outside the interval",
        "Several numbers K of shared directions leave nearly the same correlation (within 1 / P of the least, and at least "
        "1 %), and over these, capacity, radius or dimension range beyond the interval (`capacity_rank_low` to "
        "`capacity_rank_high`, ...). Which K is chosen may depend on a single point.",
    ),
    "glue_floor": (
        "exact capacity is near that of points without structure; use more points per class",
        "Exact capacity is less than 1.2 times `glue_capacity_floor`, that of as many points in general position: as `floor`, "
        "for the exact capacity.",
    ),
    "glue_labels": (
        "some labels cannot be separated in the layer itself, with all its directions",
        "`glue_separable_fraction` is below 1. Such labels count as needing all directions that the points span, though these "
        "are not enough: exact capacity is an upper limit. If no labels can be separated, it is left out, as it is "
        "P / rank whatever the geometry.",
    ),
    "glue_anchors": (
        "few samples have unique anchor points, so GLUE's radius, dimension, utility and alignments are uncertain",
        "Fewer than 95 % of the samples have unique anchors. GLUE's other quantities are from those alone; with fewer than "
        "half, there are none.",
    ),
    "glue_programs": (
        "quadratic programs of the exact capacity did not converge",
        "`glue_worst_gap` exceeds 1e-9.",
    ),
    "few_seeds": (
        "of networks trained once or twice: another training may differ",
        "In `comparisons.csv`: the networks that differ have fewer than three seeds, so that the interval is over classes, "
        "for these very networks. Two random networks of one kind, a seed each, differed so in center correlation in 17 % of trials with 20 "
        "classes of images ([validation](validation.md#intervals)). Say nothing of kinds of networks or of training without three seeds or more.",
    ),
    "programs": (
        "quadratic programs did not converge; the numbers are not exact",
        "The duality gap of `n_unconverged` quadratic programs exceeds 1e-9.",
    ),
    "fit": (
        "the fit of the centers' shared directions did not converge",
        "The fit at the chosen rank K did not reach its tolerance.",
    ),
}
