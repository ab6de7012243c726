"""How layers are divided among stores, and that nothing that is stored depends on it."""

import numpy as np
import pytest

from manifold_capacity.activations.grid import StoreSize
from manifold_capacity.activations.parts import GIB, divide, layers_of_part
from manifold_capacity.errors import UserError
from manifold_capacity.models.layers import Layer

LAYERS = [Layer(i, f"part.{i}", "Linear", (4,), 4) for i in (0, 2, 5, 6, 9)]


def stores(gib_each, max_gib):
    """Which layers share a store, and the stores' suffixes."""
    entries = [
        (layer.label, (2, 2, 4), gib * GIB) for layer, gib in zip(LAYERS, gib_each, strict=True)
    ]
    parts = divide(LAYERS, StoreSize(tuple(entries)), max_gib)
    for part in parts:
        assert layers_of_part(LAYERS, part.suffix) == list(part.layers)
        labels = [layer.label for layer in part.layers]
        assert part.n_bytes == sum(n for label, _, n in entries if label in labels)
    assert [layer for part in parts for layer in part.layers] == LAYERS
    return [part.suffix for part in parts]


@pytest.mark.parametrize(
    ("gib_each", "max_gib", "expected"),
    [
        ([1, 2, 3, 1, 1], None, [""]),
        ([1, 2, 3, 1, 1], 8, [""]),
        ([1, 2, 3, 1, 1], 7.9, ["-layers-1-4", "-layers-5-5"]),
        ([1, 2, 3, 1, 1], 3, ["-layers-1-2", "-layers-3-3", "-layers-4-5"]),
        ([3, 1, 1, 1, 3], 3, ["-layers-1-1", "-layers-2-4", "-layers-5-5"]),
    ],
)
def test_layers_share_stores_in_their_order_while_they_fit(gib_each, max_gib, expected):
    assert stores(gib_each, max_gib) == expected


def test_a_layer_larger_than_the_limit_is_an_error():
    message = (
        r"max_gib: 2.5, but layer 5_Linear \(part.5\) alone takes 3 GiB; allowed: 3 GiB or more"
    )
    with pytest.raises(UserError, match=message):
        stores([1, 2, 3, 1, 1], 2.5)


def test_a_part_in_words():
    sizes = StoreSize(tuple((layer.label, (2, 2, 4), GIB) for layer in LAYERS))
    words = ["0_Input to 6_Linear (4 layers, 4 GiB)", "9_Linear (1 layer, 1 GiB)"]
    layers = [Layer(0, "input", "Input", (4,), 4), *LAYERS[1:]]
    assert [*map(str, divide(layers, sizes, 4))] == words


def test_what_is_stored_does_not_depend_on_the_division(store, model, layers, monkeypatch):
    """With batches that the widest layer, which is not in every part, makes smaller."""
    widest = max(layer.n_features for layer in layers)
    monkeypatch.setattr("manifold_capacity.activations.grid._MAX_ROW_BYTES", 3 * 4 * widest)
    whole = store(model, layers, name="whole")
    for suffix in ("-layers-1-3", f"-layers-4-{len(layers)}"):
        opened = store(model, layers, name=suffix, part=suffix)
        for layer in layers_of_part(layers, suffix):
            one, other = whole(layer.label), opened(layer.label)
            assert one.chunks == other.chunks
            assert one.chunks[1] == 3
            np.testing.assert_array_equal(one[...], other[...])
    assert len(list((store.folder / "-layers-1-3/activations.zarr").glob("*_*"))) == 3
