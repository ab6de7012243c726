"""How many values of a layer are NaN or infinite, and what would be left without the worst feature."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


class NotFinite:
    """Counts of values that are NaN or infinite, from blocks of features of the same points.

    A feature that has many (a neuron lost during a recording) may be all that is wrong with most points.
    """

    def __init__(self, n_points: int, n_features: int) -> None:
        self.of_points = np.zeros(n_points, dtype=np.int64)
        self._n_features = n_features
        self._n_bad_features = 0
        self._worst = -1
        self._in_worst = np.zeros(n_points, dtype=bool)

    def add(self, first_feature: int, wrong: NDArray[np.bool_]) -> None:
        """Count a block (n_points, width) that begins with `first_feature`."""
        of_features = wrong.sum(axis=0)
        self.of_points += wrong.sum(axis=1)
        self._n_bad_features += int(np.count_nonzero(of_features))
        place = int(of_features.argmax())
        if of_features[place] > self._in_worst.sum():
            self._worst, self._in_worst = first_feature + place, wrong[:, place].copy()

    def text(self, point: str = "point") -> str:
        """
        >>> found = NotFinite(4, 9)
        >>> found.add(0, np.array([[1, 0], [1, 0], [1, 1], [0, 0]], dtype=bool))
        >>> found.text()
        'in 2 of 9 features, 3 of the 4 values in feature 0 (without it, 1 point has some)'
        """
        text = f"in {self._n_bad_features} of {self._n_features} features"
        n_worst = int(self._in_worst.sum())
        if n_worst < 2 or self._n_bad_features == 1:
            return text
        left = int(np.count_nonzero(self.of_points - self._in_worst))
        some = f"1 {point} has" if left == 1 else f"{left} {point}s have"
        return (
            f"{text}, {n_worst} of the {self.of_points.sum()} values in feature {self._worst} "
            f"(without it, {some} some)"
        )
