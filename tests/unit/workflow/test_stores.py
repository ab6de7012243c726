"""The stores of a configuration's models."""

from manifold_capacity.activations.grid import store_size
from manifold_capacity.activations.parts import GIB, Part
from manifold_capacity.workflow.stores import parts_of_models, stores_at_once, suffix_of

SECTIONS = {
    "manifolds": {"classes": 4, "points_per_class": 12},
    "activations": {"dtype": "float16", "batch_size": 5, "keep": False},
    "geometry": {"repeats": 2},
}


def test_a_store_has_its_computed_size(resolved, layers):
    config = resolved(layers={"input": False}, **SECTIONS)
    expected = store_size(layers[1:], 4, 24, "float16", batch_size=5).total
    parts = (Part("", tuple(layers[1:]), expected),)
    assert parts_of_models(config, {"small_cnn": layers}) == {"small_cnn": parts}
    assert expected > 4 * 24 * 10 * 2
    assert suffix_of(parts, "1_Linear") == ""


def test_layers_that_do_not_fit_together_have_stores_of_their_own(resolved, layers):
    each = [store_size([layer], 4, 24, "float16", batch_size=5).total for layer in layers]
    config = resolved(**SECTIONS)
    config["activations"]["max_gib"] = max(each) / GIB
    (parts,) = parts_of_models(config, {"small_cnn": layers}).values()
    assert [part.n_bytes for part in parts] == each
    assert [suffix_of(parts, layer.label) for layer in layers] == ["-layers-1-1", "-layers-2-2"]


def test_the_largest_store_decides_how_many_fit_at_once():
    parts = {"small": [Part("", (), GIB)], "large": [Part("-layers-1-2", (), 3 * GIB)]}
    assert stores_at_once(None, parts) is None
    assert stores_at_once(10, {}) is None
    assert stores_at_once(10, parts) == 3
    assert stores_at_once(3, parts) == 1
