"""Make the documentation's table of the configuration's keys from the schema."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from manifold_capacity.config.schema import allowed_text, join_key

__all__ = ["document"]

_TABLE_HEAD = ["| key | allowed | default | meaning |", "|---|---|---|---|"]


def document(schema: Mapping[str, Any]) -> str:
    """The reference of all keys as Markdown (`docs/config.md`)."""
    lines = [
        "# Configuration",
        "",
        "<!-- Generated from schemas/config.schema.yaml by `make docs`; change it there. -->",
        "",
        _text(schema),
        "",
        "**Bold** keys are required.",
        "",
        *_TABLE_HEAD,
    ]
    sections = []
    for key, subschema in schema["properties"].items():
        inner = subschema.get("items", subschema)
        linked = "properties" in inner
        lines.append(_table_row(key, subschema, key in schema["required"], linked=linked))
        if linked:
            sections += ["", f"## {key}", "", _text(subschema), "", *_TABLE_HEAD]
            sections += _table_rows("", inner)
    return "\n".join([*lines, *sections]) + "\n"


def _table_rows(prefix: str, schema: Mapping[str, Any]) -> Iterator[str]:
    for key, subschema in schema["properties"].items():
        required = key in schema.get("required", [])
        yield _table_row(join_key(prefix, key), subschema, required, linked=False)
        for option in [subschema, *subschema.get("oneOf", [])]:
            if "properties" in option:
                yield from _table_rows(join_key(prefix, key), option)


def _table_row(key: str, schema: Mapping[str, Any], required: bool, *, linked: bool) -> str:
    given = "default" in schema and schema["default"] != {}
    default = f"`{json.dumps(schema['default'])}`" if given else ""
    name = f"**`{key}`**" if required else f"`{key}`"
    allowed = (
        f"see [{key}](#{key})" if linked else allowed_text(schema).partition(" with the keys")[0]
    )
    cells = [name, allowed, default, _text(schema)]
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _text(schema: Mapping[str, Any]) -> str:
    return " ".join(schema["description"].split())
