"""Fixtures: the schema, and configurations of the digits with all defaults."""

from pathlib import Path
from typing import Any

import pytest

from manifold_capacity.config.resolve import resolve
from manifold_capacity.config.schema import load_schema
from manifold_capacity.models.layers import Layer

SCHEMA = Path(__file__).parents[3] / "schemas" / "config.schema.yaml"


@pytest.fixture
def layers() -> list[Layer]:
    """The table of a network with one layer and the input."""
    return [Layer(0, "input", "Input", (1, 8, 8), 64), Layer(1, "head", "Linear", (10,), 10)]


@pytest.fixture(scope="session")
def resolved() -> Any:
    """Resolves a configuration that differs from the digits' defaults in some sections."""
    schema = load_schema(SCHEMA)

    def resolve_sections(**sections: Any) -> dict[str, Any]:
        given = {"dataset": {"name": "digits"}, "models": ["small_cnn"]}
        return resolve({**given, "manifolds": {"points_per_class": 10}, **sections}, schema)

    return resolve_sections
