"""Check a configuration against the schema: types, allowed values, unknown keys, defaults."""

from __future__ import annotations

import copy
import json
import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from manifold_capacity.activations.array_files import name_problem
from manifold_capacity.datasets.catalog import applicable_keys
from manifold_capacity.errors import UserError, nearest


class ConfigError(UserError):
    """The configuration cannot be run; lists every problem with key, value, what is allowed and remedy."""

    def __init__(self, problems: Sequence[str]) -> None:
        self.problems = list(problems)
        lines = "\n".join(f"  - {problem}" for problem in self.problems)
        super().__init__(f"The configuration cannot be run:\n{lines}")


def load_schema(path: Path | str) -> dict[str, Any]:
    """Read the schema from a YAML file; `dataset.name` allows the datasets of the catalog."""
    import yaml

    with open(path, encoding="utf-8") as file:
        schema: dict[str, Any] = yaml.safe_load(file)
    schema["properties"]["dataset"]["properties"]["name"]["enum"] = [*applicable_keys()]
    return schema


def with_free_name(schema: Mapping[str, Any]) -> dict[str, Any]:
    """The schema for data of `dataset.factory`, whose name can be any that a folder may have, or be left out."""
    free: dict[str, Any] = copy.deepcopy(dict(schema))
    dataset = free["properties"]["dataset"]
    dataset["required"] = []
    dataset["properties"]["name"] = free["properties"]["models"]["items"]["properties"]["label"]
    return free


def yaml_problems(path: Path | str) -> list[str]:
    """A sentence for each key that a YAML file has twice, and each number that would silently be read as octal."""
    import yaml

    if Path(path).suffix not in (".yaml", ".yml"):
        return []
    with open(path, encoding="utf-8") as file:
        root = yaml.compose(file, yaml.SafeLoader)
    problems, seen, nodes = [], set(), [] if root is None else [root]
    while nodes:
        node = nodes.pop()
        if id(node) in seen:  # an alias
            continue
        seen.add(id(node))
        if isinstance(node, yaml.MappingNode):
            lines: dict[Any, int] = {}
            for key, value in node.value:
                line = key.start_mark.line + 1
                if isinstance(key, yaml.ScalarNode) and key.value in lines:
                    first = f"on line {lines[key.value]} and on line {line}"
                    problems.append(f"{key.value}: given twice in {path}, {first}; keep one")
                if isinstance(key, yaml.ScalarNode):
                    lines[key.value] = line
                nodes += [key, value]
        elif isinstance(node, yaml.SequenceNode):
            nodes += node.value
        elif node.tag.endswith(":int") and re.fullmatch("[-+]?0[0-7]+", node.value):
            problems.append(
                f"{node.value}: YAML reads this number, on line {node.start_mark.line + 1} of {path}, as octal "
                f"({int(node.value, 8)}); write {node.value.replace('0', '', 1)}"
            )
    return problems


def given_keys(config: Mapping[str, Any]) -> list[str]:
    """Sorted keys in a configuration as the user wrote it: ``["models", "models[0].name", ...]``."""
    return sorted(_keys(config, ""))


def _keys(value: Any, name: str) -> Iterator[str]:
    if isinstance(value, Mapping):
        for key, part in value.items():
            dotted = join_key(name, str(key))
            yield dotted
            yield from _keys(part, dotted)
    elif isinstance(value, list):
        for place, part in enumerate(value):
            if name == "models" and isinstance(part, str):
                part = {"name": part}
            yield from _keys(part, join_key(name, place))


# Values of a configuration; aliases in YAML can stand for more than any memory holds.
_MOST_VALUES = 100_000
_MOST_SHOWN = 100  # characters of a value in a message


def plain_problems(config: Mapping[str, Any]) -> list[str]:
    """Values that no key allows: numbers that are not finite or have too many digits, unprintable text."""
    problems = []
    walked = list(islice(_values(config, "", 0), _MOST_VALUES + 1))
    if len(walked) > _MOST_VALUES:
        return [
            f"the configuration: more than {_MOST_VALUES:,} values, counting aliases; shorten it"
        ]
    for key, value in walked:
        if isinstance(value, str) and value and (problem := name_problem(value)):
            problems.append(f"{key}: {shown(value)} {problem}; write it without")
        elif isinstance(value, float) and not math.isfinite(value):
            problems.append(
                f"{key}: {value} is not allowed; write a finite number, or null for none"
            )
        elif isinstance(value, int) and abs(value) >= 2**63:
            problems.append(f"{key}: an integer of more than 64 bits is not allowed")
    return problems


def _values(value: Any, name: str, depth: int) -> Iterator[tuple[str, Any]]:
    """The dotted key and the value of everything in a configuration, and its keys."""
    yield name, value
    if depth > 20:
        raise ConfigError([f"{name[:_MOST_SHOWN]}...: nested too deeply"])
    if isinstance(value, Mapping):
        for key, part in value.items():
            yield name or "the configuration", key
            part_name = shown(key) if name_problem(str(key)) else str(key)
            yield from _values(part, join_key(name, part_name), depth + 1)
    elif isinstance(value, list):
        for place, part in enumerate(value):
            yield from _values(part, join_key(name, place), depth + 1)


def shown(value: Any) -> str:
    """A value as JSON, cut if it is long."""
    try:
        text = json.dumps(value, default=str)
    except TypeError:  # a key that is no text, such as a date
        text = repr(value)
    return text if len(text) <= _MOST_SHOWN else f"{text[:_MOST_SHOWN]}..."


def typed_values(value: Any, schema: Mapping[str, Any]) -> Any:
    """A copy in which text that spells a number or truth value becomes one, where text is not allowed.

    A whole number becomes an integer where only integers are allowed. Keys are text, as in JSON.
    """
    if isinstance(value, Mapping):
        known = _properties(schema)
        keys = {key: str(key) if isinstance(key, int) else key for key in value}
        return {keys[key]: typed_values(entry, known.get(key, {})) for key, entry in value.items()}
    if isinstance(value, list):
        return [typed_values(entry, _items(schema)) for entry in value]
    kinds = [kind for option in [schema, *schema.get("oneOf", [])] for kind in _types(option)]
    if (
        isinstance(value, float)
        and value.is_integer()
        and "integer" in kinds
        and "number" not in kinds
    ):
        return int(value)
    if isinstance(value, str):
        for kind in kinds if "string" not in kinds else ():
            try:
                return _SPELLED[kind](value)
            except (KeyError, ValueError):
                continue
    return value


_SPELLED: dict[str, Callable[[str], Any]] = {
    "integer": int,
    "number": float,
    "boolean": lambda text: {"true": True, "false": False}[text.lower()],
    "null": lambda text: {"null": None, "~": None}[text],
}


def _types(schema: Mapping[str, Any]) -> list[str]:
    types = schema.get("type", [])
    return [types] if isinstance(types, str) else list(types)


def _properties(schema: Mapping[str, Any]) -> dict[str, Any]:
    """The keys of a mapping, of whichever alternative."""
    options = [schema, *schema.get("oneOf", [])]
    return {key: v for option in options for key, v in option.get("properties", {}).items()}


def _items(schema: Mapping[str, Any]) -> Mapping[str, Any]:
    """What a list holds, of whichever alternative."""
    options = [schema, *schema.get("oneOf", [])]
    return next((option["items"] for option in options if "items" in option), {})


def given_text(config: Mapping[str, Any], dotted: str) -> Any:
    """What the user wrote for a key; None if there is nothing, or a parent is not a mapping."""
    value: Any = config
    for key in dotted.split("."):
        value = value.get(key) if isinstance(value, Mapping) else None
    return value


def schema_problems(config: Mapping[str, Any], schema: Mapping[str, Any]) -> Iterator[str]:
    """Unknown and missing keys, wrong types and values that are not allowed."""
    from jsonschema import Draft202012Validator

    errors = Draft202012Validator(schema).iter_errors(config)
    for error in sorted(errors, key=lambda error: [str(part) for part in error.absolute_path]):
        key = join_key("", *error.absolute_path)
        subschema = error.schema
        assert isinstance(subschema, Mapping)
        if error.validator == "additionalProperties":
            allowed = sorted(subschema.get("properties", {}))
            for unknown in sorted(set(map(str, error.instance)) - set(allowed)):
                yield (
                    f"{join_key(key, unknown[:_MOST_SHOWN])}: unknown key{nearest(unknown, allowed)} "
                    f"(allowed here: {', '.join(allowed)})"
                )
        elif error.validator == "required":
            for missing in sorted(set(subschema["required"]) - set(error.instance)):
                meaning = subschema["properties"][missing].get("description", "")
                instead = "" if key else " (or activations.path, for external activations)"
                yield f"{join_key(key, missing)}: missing; add it{instead}. {meaning}"
        else:
            value = shown(error.instance)
            hint = ""
            if error.validator == "enum":
                hint = nearest(error.instance, subschema["enum"])
            elif _types(subschema) == ["array"] and not isinstance(error.instance, Mapping):
                hint = f"; for one entry write [{str(error.instance)[:_MOST_SHOWN]}]"
            yield f"{key or 'the configuration'}: {value} is not allowed; allowed: {allowed_text(subschema)}{hint}"


def fill_defaults(value: Any, schema: Mapping[str, Any]) -> None:
    """Add missing keys with their defaults, in place; `value` has been validated.

    Keys are in the order of the schema afterwards, whatever their order in the file: Snakemake runs a
    job again if the text of a parameter changes.
    """
    if isinstance(value, dict):
        for key, subschema in _properties(schema).items():
            if key in value or "default" in subschema:
                value[key] = value.pop(key, copy.deepcopy(subschema.get("default")))
                fill_defaults(value[key], subschema)
    elif isinstance(value, list):
        for item in value:
            fill_defaults(item, _items(schema))


def join_key(key: str, *parts: str | int) -> str:
    """``join_key("models", 0, "name")`` is ``"models[0].name"``."""
    for part in parts:
        key += f"[{part}]" if isinstance(part, int) else f".{part}" if key else part
    return key


_WORDS = {"string": "text", "object": "mapping", "array": "list", "boolean": "true or false"}
# What limits a value, in the order in which it is said.
_LIMITS: dict[str, Callable[[Any], str]] = {
    "minimum": "≥ {}".format,
    "exclusiveMinimum": "> {}".format,
    "maximum": "≤ {}".format,
    "exclusiveMaximum": "< {}".format,
    "pattern": "matching {}".format,
    "minLength": lambda length: "not empty",
    "maxLength": "of at most {} characters".format,
    "minItems": "of at least {}".format,
    "uniqueItems": lambda unique: "each once",
    "items": lambda items: f"of: {allowed_text(items)}",
    "properties": lambda properties: f"with the keys {', '.join(properties)}",
}


def allowed_text(schema: Mapping[str, Any]) -> str:
    """A phrase that says what values a subschema allows."""
    if "oneOf" in schema:
        return " or ".join(map(allowed_text, schema["oneOf"]))
    if constants := schema.get("enum", [schema["const"]] if "const" in schema else []):
        return ", ".join(c if isinstance(c, str) else json.dumps(c) for c in constants)
    names = [_WORDS.get(name, name) for name in _types(schema) or ["anything"]]
    limits = [
        text(schema[keyword])
        for keyword, text in _LIMITS.items()
        # Of a list of mappings, the keys are listed elsewhere.
        if keyword in schema and not (keyword == "items" and "properties" in schema["items"])
    ]
    return " ".join([" or ".join(names), *([", ".join(limits)] if limits else [])])
