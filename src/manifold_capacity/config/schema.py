"""Check a configuration against the schema: types, allowed values, unknown keys, defaults."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from manifold_capacity.datasets.catalog import applicable_keys
from manifold_capacity.errors import UserError, nearest

__all__ = ["ConfigError", "given_keys", "load_schema"]


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


def given_keys(config: Mapping[str, Any]) -> list[str]:
    """Keys in a configuration as the user wrote it: ``["models", "models[0].name", ...]``.

    Sorted, so that the order of lines does not matter.
    """
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


def typed_values(value: Any, schema: Mapping[str, Any]) -> Any:
    """A copy in which text that spells a number or truth value becomes one, where text is not allowed."""
    if isinstance(value, Mapping):
        known = _properties(schema)
        return {key: typed_values(entry, known.get(key, {})) for key, entry in value.items()}
    if isinstance(value, list):
        return [typed_values(entry, _items(schema)) for entry in value]
    if isinstance(value, str):
        options = [schema, *schema.get("oneOf", [])]
        if not any("string" in _types(option) for option in options):
            for kind in (kind for option in options for kind in _types(option)):
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


def _constants(schema: Mapping[str, Any]) -> list[Any]:
    return [*schema.get("enum", []), *([schema["const"]] if "const" in schema else [])]


def _properties(schema: Mapping[str, Any]) -> dict[str, Any]:
    """The keys of a mapping, of whichever alternative."""
    found = dict(schema.get("properties", {}))
    for option in schema.get("oneOf", []):
        found |= option.get("properties", {})
    return found


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
                    f"{join_key(key, unknown)}: unknown key{nearest(unknown, allowed)} "
                    f"(allowed here: {', '.join(allowed)})"
                )
        elif error.validator == "required":
            for missing in sorted(set(subschema["required"]) - set(error.instance)):
                meaning = subschema["properties"][missing].get("description", "")
                instead = "" if key else " (or activations.path, for external activations)"
                yield f"{join_key(key, missing)}: missing; add it{instead}. {meaning}"
        else:
            value = json.dumps(error.instance, default=str)
            hint = ""
            if error.validator == "enum":
                hint = nearest(error.instance, subschema["enum"])
            elif _types(subschema) == ["array"] and not isinstance(error.instance, Mapping):
                hint = f"; for one entry write [{error.instance}]"
            yield f"{key or 'the configuration'}: {value} is not allowed; allowed: {allowed_text(subschema)}{hint}"


def fill_defaults(value: Any, schema: Mapping[str, Any]) -> None:
    """Add missing keys with their defaults, in place; `value` has been validated."""
    if isinstance(value, dict):
        for key, subschema in schema.get("properties", {}).items():
            if key not in value and "default" in subschema:
                value[key] = copy.deepcopy(subschema["default"])
            if key in value:
                fill_defaults(value[key], subschema)
    elif isinstance(value, list):
        for item in value:
            fill_defaults(item, schema.get("items", {}))


def in_schema_order(value: Any, schema: Mapping[str, Any]) -> Any:
    """A copy with keys in the order of the schema, whatever the order in the file.

    Snakemake runs a job again if the text of a parameter changes: moving a line must not.
    """
    if isinstance(value, Mapping):
        known = _properties(schema)
        keys = [key for key in known if key in value] + [key for key in value if key not in known]
        return {key: in_schema_order(value[key], known.get(key, {})) for key in keys}
    if isinstance(value, list):
        return [in_schema_order(entry, _items(schema)) for entry in value]
    return value


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
    "minItems": "of at least {}".format,
    "uniqueItems": lambda unique: "each once",
    "items": lambda items: f"of: {allowed_text(items)}",
    "properties": lambda properties: f"with the keys {', '.join(properties)}",
}


def allowed_text(schema: Mapping[str, Any]) -> str:
    """A phrase that says what values a subschema allows."""
    if "oneOf" in schema:
        return " or ".join(map(allowed_text, schema["oneOf"]))
    if constants := _constants(schema):
        return ", ".join(c if isinstance(c, str) else json.dumps(c) for c in constants)
    names = [_WORDS.get(name, name) for name in _types(schema) or ["anything"]]
    limits = [
        text(schema[keyword])
        for keyword, text in _LIMITS.items()
        # Of a list of mappings, the keys are listed elsewhere.
        if keyword in schema and not (keyword == "items" and "properties" in schema["items"])
    ]
    return " ".join([" or ".join(names), *([", ".join(limits)] if limits else [])])
