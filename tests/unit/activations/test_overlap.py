"""Values that a thread stores while they may change already."""

import contextlib
import threading

import numpy as np
import pytest
import torch

from manifold_capacity.activations.overlap import Overlap

DEVICES = [
    "cpu",
    pytest.param(
        "cuda",
        marks=[
            pytest.mark.gpu,
            pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA GPU here"),
        ],
    ),
]


@pytest.mark.parametrize("device", DEVICES)
def test_values_are_stored_as_they_were_and_in_their_order(device):
    """Although they change as soon as they are handed over, and the thread begins only after the last that can wait."""
    stored, may_begin = [], threading.Event()

    def store(values, too_large):
        may_begin.wait()
        stored.append((values.copy(), too_large))

    with Overlap(12, "float32", torch.device(device)) as overlap:
        for number in range(20):
            if number == 3:
                may_begin.set()
            values = torch.full((3, 2 + number % 3), float(number), device=device)
            overlap(values, store)
            values.zero_()
        overlap.finish()
    assert [too_large for _, too_large in stored] == [0] * 20
    for number, (values, _) in enumerate(stored):
        np.testing.assert_array_equal(values, np.full((3, 2 + number % 3), number, np.float32))


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([1.0, 65504.0], 0),
        ([1.0, -1e5], 1e5),
        ([float("inf"), 1.0], 0),
        ([float("nan"), 1.0], 0),
    ],
)
def test_values_that_half_precision_cannot_hold(device, values, expected):
    found = []
    with Overlap(2, "float16", torch.device(device)) as overlap:
        overlap(
            torch.tensor(values, device=device), lambda values, large: found.append((values, large))
        )
        overlap.finish()
    ((stored, too_large),) = found
    assert stored.dtype == np.float16
    assert too_large == expected
    if not expected:
        np.testing.assert_array_equal(stored, np.float16(values))


def test_an_error_is_raised_soon_and_nothing_is_stored_after_the_context():
    stored = []

    def store(values, too_large):
        stored.append(values[0])
        raise OSError("full")

    def hand_over(times):
        with Overlap(1, "float32", torch.device("cpu")) as overlap:
            for _ in range(times):
                overlap(torch.zeros(1), store)
            overlap.finish()

    for times, most in ((1, 1), (1000, 10)):
        stored.clear()
        with pytest.raises(OSError, match="full"):
            hand_over(times)
        assert 1 <= len(stored) <= most


def test_the_thread_stops_with_the_context_whatever_happens_in_it():
    before = threading.active_count()
    with contextlib.suppress(KeyError), Overlap(1, "float32", torch.device("cpu")) as overlap:
        overlap(torch.zeros(1), lambda values, too_large: None)
        assert threading.active_count() == before + 1
        raise KeyError
    assert threading.active_count() == before
