"""The schema, and a small configuration with changes to it."""

import copy
from pathlib import Path

import pytest

from manifold_capacity.config.resolve import resolve
from manifold_capacity.config.schema import ConfigError, load_schema

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="session")
def schema():
    return load_schema(ROOT / "schemas" / "config.schema.yaml")


@pytest.fixture
def resolved(schema):
    """A function: the resolved configuration of a small network on digits, with changes by dotted key."""

    def resolved(changes=(), **sections):
        config = {"dataset": {"name": "digits"}, "models": ["small_cnn"]}
        if "activations" in sections:
            config = {}
        config |= sections
        for dotted, value in dict(changes).items():
            *parents, key = dotted.split(".")
            target = config
            for part in parents:
                target = target.setdefault(part, {})
            target[key] = value
        given = copy.deepcopy(config)
        try:
            return resolve(config, schema)
        finally:
            assert config == given  # it is left alone

    return resolved


@pytest.fixture
def problems(resolved):
    """A function: what is wrong with such a configuration."""

    def problems(changes=(), **sections):
        with pytest.raises(ConfigError) as caught:
            resolved(changes, **sections)
        return caught.value.problems

    return problems
