"""Whatever a configuration says, it is resolved, or each problem is one line."""

import copy
import datetime
import json
import math
import string
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from manifold_capacity.config.resolve import resolve
from manifold_capacity.config.schema import ConfigError, yaml_problems

fuzz = settings(settings.get_profile("fuzz"))

ODD_TEXTS = [
    "",
    "<b>",
    "=1+1",
    "a\nb",
    "\0",
    "nan",
    "inf",
    "1e999",
    "9" * 5000,
    "a" * 300,
    "\udcff",
]
ODD_TEXTS += ["../..", "/", "~", "{x}", "*", "[", "all", "final", "null", "true", "1_0", "٣", " "]
SCALARS = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.dates() | st.binary(max_size=3)
)
SCALARS |= st.sampled_from([10**400, -(2**63), 5.0, 1e300]) | st.sampled_from(ODD_TEXTS)
SCALARS |= st.text(max_size=5)
KEYS = st.sampled_from(
    ["name", "path", "x", "mean", 5, None, True, "a\nb", datetime.date(2020, 1, 1)]
)
ANYTHING = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3)
)


def paths_of(schema, path=()):
    """The keys of all settings, as paths."""
    for option in [schema, *schema.get("oneOf", [])]:
        for key, subschema in option.get("properties", {}).items():
            yield (*path, key)
            yield from paths_of(subschema, (*path, key))
        if "items" in option:
            yield (*path, 0)
            yield from paths_of(option["items"], (*path, 0))


def allowed(schema):
    """Values that a subschema allows by itself, though perhaps not beside others."""
    options = [schema, *schema.get("oneOf", [])]
    constants = [
        c for o in options for c in [*o.get("enum", []), *([o["const"]] if "const" in o else [])]
    ]
    kinds = [
        kind
        for o in options
        for kind in ([o.get("type")] if isinstance(o.get("type"), str) else o.get("type", []))
    ]
    values = st.sampled_from([*constants, schema.get("default")])
    if "integer" in kinds or "number" in kinds:
        values |= st.integers(0, 9)
    if "string" in kinds:
        values |= st.text(string.ascii_letters, min_size=1, max_size=3)
    return values


def subschema_of(schema, path):
    for key in path:
        options = [schema, *schema.get("oneOf", [])]
        inner = [o["items"] for o in options if key == 0 and "items" in o]
        inner += [o["properties"][key] for o in options if key in o.get("properties", {})]
        schema = inner[0]
    return schema


def put(config, path, value):
    for key, following in pairwise(path):
        if isinstance(config, list):
            config.extend([{}] * (not config))
            key = 0
        elif not isinstance(config, dict):
            return
        if key == 0 and isinstance(config, dict):
            return
        if not isinstance(
            config[key] if isinstance(config, list) else config.get(key), dict | list
        ):
            config[key] = [] if following == 0 else {}
        config = config[key]
    if isinstance(config, list):
        config[:1] = [value]
    elif path[-1] != 0:
        config[path[-1]] = value


def assert_lines(problems):
    for problem in problems:
        assert len(problem.splitlines()) == 1, problem
        assert len(problem) < 2000


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("fuzz")


@fuzz
@given(data=st.data())
def test_any_configuration_is_resolved_or_each_problem_is_a_line(data, schema, folder, monkeypatch):
    monkeypatch.chdir(folder)
    config = {"dataset": {"name": "digits"}, "models": ["small_cnn"]}
    paths = [*paths_of(schema)]
    for _ in range(data.draw(st.integers(1, 4))):
        path = data.draw(st.sampled_from(paths))
        values = allowed(subschema_of(schema, path)) | ANYTHING
        put(config, path, copy.deepcopy(data.draw(values)))  # it may be the schema's own default
    if data.draw(st.integers(0, 9)) == 0:
        config = data.draw(ANYTHING.filter(lambda value: isinstance(value, dict)))
    given_config = copy.deepcopy(config)
    try:
        resolved = resolve(config, schema)
    except ConfigError as error:
        assert_lines(error.problems)
    else:
        json.dumps(resolved, allow_nan=False)
        for model in resolved["models"]:
            assert model["label"].isprintable()
    assert str(config) == str(given_config)


@fuzz
@given(st.text("a:[]{},&* \n-?'\"#!1", max_size=40))
def test_keys_given_twice_are_looked_for_in_any_yaml(folder, text):
    import yaml

    (folder / "any.yaml").write_text(text)
    try:
        yaml.safe_load(text)
    except (yaml.YAMLError, ValueError):
        return
    assert_lines(yaml_problems(folder / "any.yaml"))


def test_values_that_are_allowed_are_among_those_that_are_tried(schema):
    paths = [*paths_of(schema)]
    assert ("geometry", "margin") in paths
    assert ("models", 0, "label") in paths
    config = {"models": ["small_cnn"]}
    put(config, ("models", 0, "label"), "x")
    put(config, ("geometry", "margin"), math.inf)
    assert config == {"models": [{"label": "x"}], "geometry": {"margin": math.inf}}
