"""Noisy waves of four forms, each with its own frequency and phase."""

import numpy as np

FORMS = {
    "sine": lambda turns: np.sin(2 * np.pi * turns),
    "square": lambda turns: np.where(turns % 1 < 0.5, 1.0, -1.0),
    "saw": lambda turns: 2 * (turns % 1) - 1,
    "triangle": lambda turns: 4 * np.abs(turns % 1 - 0.5) - 1,
}


def load(length=128, noise=0.3, n_train=300, n_test=60, seed=0):
    """Waves (n, channel, time), of one channel; `n_train` and `n_test` are of each form."""
    return {
        "train": waves(n_train, length, noise, [seed, 0]),
        "test": waves(n_test, length, noise, [seed, 1]),
        "class_names": list(FORMS),
    }


def waves(n, length, noise, seed):
    """n waves of each form, and the forms' names."""
    rng = np.random.default_rng(seed)
    time = np.arange(length) / length
    inputs, labels = [], []
    for name, form in FORMS.items():
        frequency = rng.uniform(3, 6, (n, 1))
        phase = rng.uniform(0, 1, (n, 1))
        inputs.append(form(frequency * time + phase) + noise * rng.standard_normal((n, length)))
        labels += [name] * n
    return np.concatenate(inputs)[:, np.newaxis], labels
