"""Check a configuration against the schema: types, allowed values, unknown keys, defaults."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from manifold_capacity.errors import UserError, nearest

__all__ = ["ConfigError", "given_keys", "load_schema"]


class ConfigError(UserError):
    """The configuration cannot be run; the message lists every problem with key, value, what is allowed and the remedy."""

    def __init__(self, problems: Sequence[str]) -> None:
        self.problems = list(problems)
        lines = "\n".join(f"  - {problem}" for problem in self.problems)
        super().__init__(f"The configuration cannot be run:\n{lines}")


def load_schema(path: Path | str) -> dict[str, Any]:
    """Read the schema from a YAML file."""
    import yaml

    with open(path, encoding="utf-8") as file:
        schema: dict[str, Any] = yaml.safe_load(file)
    return schema


def given_keys(config: Mapping[str, Any]) -> list[str]:
    """Keys that a configuration gives itself, without those that have their default.

    Parameters
    ----------
    config : mapping
        As the user wrote it; a model may be its name alone.

    Returns
    -------
    list of str
        Sorted, so that the order of lines does not count: ``["models", "models[0].name", ...]``.
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
            yield from _keys(part, f"{name}[{place}]")


def typed_values(value: Any, schema: Mapping[str, Any]) -> Any:
    """A copy in which text that spells a number or truth value is one, where text is not allowed."""
    if isinstance(value, Mapping):
        known = _properties(schema)
        return {key: typed_values(entry, known.get(key, {})) for key, entry in value.items()}
    if isinstance(value, list):
        return [typed_values(entry, _items(schema)) for entry in value]
    if isinstance(value, str):
        options = [schema, *schema.get("oneOf", [])]
        if not any("string" in _types(o) or value in _constants(o) for o in options):
            for kind in (kind for option in options for kind in _types(option)):
                try:
                    return _SPELLED[kind](value)
                except (KeyError, ValueError):
                    continue
    return value


def _truth(text: str) -> bool:
    try:
        return {"true": True, "false": False}[text.lower()]
    except KeyError:
        raise UserError(text) from None


def _nothing(text: str) -> None:
    if text not in ("null", "~"):
        raise UserError(text)


_SPELLED: dict[str, Callable[[str], Any]] = {
    "integer": int,
    "number": float,
    "boolean": _truth,
    "null": _nothing,
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
    for option in [schema, *schema.get("oneOf", [])]:
        if isinstance(option.get("items"), Mapping):
            found: Mapping[str, Any] = option["items"]
            return found
    return {}


def is_number(name: str) -> bool:
    try:
        float(name)
    except ValueError:
        return False
    return True


def given_text(config: Mapping[str, Any], dotted: str) -> Any:
    """What the user wrote for a key; None if nothing, or something that isn't a mapping, is there."""
    value: Any = config
    for key in dotted.split("."):
        value = value.get(key) if isinstance(value, Mapping) else None
    return value


def schema_problems(config: Mapping[str, Any], schema: Mapping[str, Any]) -> Iterator[str]:
    from jsonschema import Draft202012Validator

    validator = Draft202012Validator(schema)
    for error in sorted(
        validator.iter_errors(config), key=lambda e: [str(p) for p in e.absolute_path]
    ):
        key = _dotted(error.absolute_path)
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
                instead = (
                    "" if key else " (or activations.path, for activations that exist already)"
                )
                yield f"{join_key(key, missing)}: missing; add it{instead}. {meaning}"
        else:
            value = json.dumps(error.instance, default=str)
            near = ""
            if error.validator == "enum":
                near = nearest(error.instance, subschema["enum"])
            elif _types(subschema) == ["array"] and not isinstance(error.instance, Mapping):
                near = f"; for one entry write [{error.instance}]"
            yield f"{key or 'the configuration'}: {value} is not allowed; allowed: {allowed_text(subschema)}{near}"


def fill_defaults(value: Any, schema: Mapping[str, Any]) -> None:
    """Add missing keys with their defaults, in place; `value` has been validated."""
    if isinstance(value, dict):
        for key, subschema in schema.get("properties", {}).items():
            if key not in value and "default" in subschema:
                value[key] = copy.deepcopy(subschema["default"])
            if key in value:
                fill_defaults(value[key], subschema)
    elif isinstance(value, list) and isinstance(schema.get("items"), Mapping):
        for item in value:
            fill_defaults(item, schema["items"])


def in_schema_order(value: Any, schema: Mapping[str, Any]) -> Any:
    """A copy with keys in the order of the schema, whatever the order in the file.

    Snakemake runs a job again if the text of a parameter changes: moving a line must not.
    """
    if isinstance(value, Mapping):
        known = _properties(schema)
        keys = [
            *(key for key in known if key in value),
            *(key for key in value if key not in known),
        ]
        return {key: in_schema_order(value[key], known.get(key, {})) for key in keys}
    if isinstance(value, list):
        return [in_schema_order(entry, _items(schema)) for entry in value]
    return value


def _dotted(path: Sequence[str | int] | Any) -> str:
    text = ""
    for part in path:
        text = f"{text}[{part}]" if isinstance(part, int) else join_key(text, part)
    return text


def join_key(key: str, part: str) -> str:
    return f"{key}.{part}" if key else part


def allowed_text(schema: Mapping[str, Any]) -> str:
    """A phrase that says what values a subschema takes."""
    if "enum" in schema:
        return ", ".join(_literal(value) for value in schema["enum"])
    if "const" in schema:
        return _literal(schema["const"])
    if "oneOf" in schema:
        return " or ".join(allowed_text(option) for option in schema["oneOf"])
    types = schema.get("type", "anything")
    names = [types] if isinstance(types, str) else list(types)
    words = {"string": "text", "object": "mapping", "array": "list", "boolean": "true or false"}
    phrase = " or ".join(words.get(name, name) for name in names)
    limits = []
    for keyword, sign in (
        ("minimum", "≥"),
        ("exclusiveMinimum", ">"),
        ("maximum", "≤"),
        ("exclusiveMaximum", "<"),
    ):
        if keyword in schema:
            limits.append(f"{sign} {schema[keyword]}")
    if "pattern" in schema:
        limits.append(f"matching {schema['pattern']}")
    if schema.get("minLength") or schema.get("minItems"):
        least = schema.get("minItems", 1)
        limits.append(f"of at least {least}" if "minItems" in schema else "not empty")
    if schema.get("uniqueItems"):
        limits.append("each once")
    if isinstance(schema.get("items"), Mapping) and "properties" not in schema["items"]:
        limits.append(f"of: {allowed_text(schema['items'])}")
    if "object" in names and "properties" in schema:
        limits.append(f"with the keys {', '.join(schema['properties'])}")
    return " ".join([phrase, *([", ".join(limits)] if limits else [])])


def _literal(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value)
