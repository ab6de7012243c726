"""The selection of layers is checked against an earlier run's tables, and against networks where needed."""

import pytest

from manifold_capacity.config.schema import ConfigError
from manifold_capacity.config.select_layers import check_layers
from manifold_capacity.errors import UserError
from manifold_capacity.models.layers import Layer

TABLE = [
    Layer(0, "input", "Input", (1, 8, 8), 64),
    Layer(1, "features.0", "Conv2d", (2, 8, 8), 128),
]
STALE = TABLE[:1]


def check(resolved, tables, networks=None, **layers):
    """What `check_layers` returns, and the networks that it built."""
    config = resolved(models=[{"name": "vgg16", "label": label} for label in tables], layers=layers)
    built = []

    def find(model):
        built.append(model["label"])
        found = (networks or dict.fromkeys(tables, TABLE))[model["label"]]
        if isinstance(found, str):
            raise UserError(found)
        return found

    return check_layers(config, lambda model: tables[model["label"]], find), built


@pytest.mark.parametrize(
    ("tables", "expected"),
    [
        ({"a": TABLE, "b": TABLE}, []),
        ({"a": TABLE, "b": None}, ["b"]),
        ({"a": None, "b": None}, ["a", "b"]),
        ({"a": STALE, "b": STALE}, ["a", "b"]),
        ({"a": STALE, "b": None}, ["b"]),  # two models of one network
    ],
)
def test_networks_are_built_only_if_the_known_tables_do_not_do(resolved, tables, expected):
    found, built = check(resolved, tables, types=["Conv2d"])
    assert built == expected
    assert found == {label: TABLE if label in built else tables[label] for label in tables}


def test_pattern_that_matches_nothing(resolved):
    with pytest.raises(ConfigError, match=r"layers.names: 'conv6_1' is not in vgg16"):
        check(resolved, {"a": TABLE}, types=["Conv2d"], names=["conv6_1"])


def test_network_that_cannot_be_built(resolved):
    networks = {"a": "no network a", "b": TABLE, "c": "no network c"}
    with pytest.raises(ConfigError) as caught:
        check(resolved, {"a": None, "b": STALE, "c": None}, networks, types=["Conv2d"])
    assert caught.value.problems == ["no network a", "no network c"]
