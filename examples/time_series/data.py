"""Noisy waves of four forms, of a steady or a rising frequency; each with its own frequency and phase."""

import numpy as np

FORMS = {
    "sine": lambda turns: np.sin(2 * np.pi * turns),
    "square": lambda turns: np.where(turns % 1 < 0.5, 1.0, -1.0),
    "saw": lambda turns: 2 * (turns % 1) - 1,
    "triangle": lambda turns: 4 * np.abs(turns % 1 - 0.5) - 1,
}


def load(length=128, noise=0.3, n_train=200, n_test=100, seed=0):
    """Waves (n, channel, time), of one channel; `n_train` and `n_test` are of each class."""
    return {
        "train": waves(n_train, length, noise, [seed, 0]),
        "test": waves(n_test, length, noise, [seed, 1]),
    }


def waves(n, length, noise, seed):
    """n waves of each class, and the classes' names."""
    rng = np.random.default_rng(seed)
    time = np.arange(length) / length
    inputs, labels = [], []
    for name, form in FORMS.items():
        for change in ("steady", "rising"):
            frequency, phase = rng.uniform(3, 6, (n, 1)), rng.uniform(0, 1, (n, 1))
            faster = 1 + time if change == "rising" else 1
            wave = form(frequency * time * faster + phase)
            inputs.append(wave + noise * rng.standard_normal((n, length)))
            labels += [f"{change} {name}"] * n
    return np.concatenate(inputs)[:, np.newaxis], labels
