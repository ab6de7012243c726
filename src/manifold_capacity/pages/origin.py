"""The report's page on where results come from: configuration, data, code, packages, devices."""

from __future__ import annotations

import html
import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

from manifold_capacity.pages.page import render_page

__all__ = ["configuration_text", "origin_page"]


def origin_page(
    provenance: Mapping[str, Any],
    given: Collection[str],
    dataset: Mapping[str, Any] | None,
) -> str:
    """A page on where the numbers come from, step by step.

    It shows what `provenance.collect_provenance` returns, marks the keys of the configuration that
    were given (`config.given_keys`), and describes the dataset (``dataset.json``), if there is one.
    """
    code = provenance["code"]
    facts = {
        "Configuration": f"digest {provenance['config_digest']}, as in the tables",
        "Code": f"version {code['version']}, {code['commit'] or 'not in a git repository'}",
        "Platform": provenance["platform"],
    }
    lines = (
        html.escape(line) if ours else f"<span class=default>{html.escape(line)}</span>"
        for line, ours in configuration_text(provenance["config"], given)
    )
    parts = [
        _facts(facts),
        "<h2>Configuration</h2>",
        "<p>A line in gray is a default.</p>",
        "<pre>" + "\n".join(lines) + "</pre>",
        "<h2>Step by step</h2>",
    ]
    for step, entries in provenance["made_with"].items():
        parts.append(f"<h3>{html.escape(step.capitalize())}</h3>")
        first = _dataset_facts(dataset) if step == "dataset" and dataset else {}
        parts += [_facts(first | _entry_facts(entry)) for entry in entries]
    return render_page("Where the numbers come from", "\n".join(parts), None)


def configuration_text(
    resolved: Mapping[str, Any], given: Collection[str]
) -> list[tuple[str, bool]]:
    """A configuration with all defaults as lines of YAML, each with whether it was given."""
    return [(line, path in given) for path, line in _yaml_lines(resolved, "", "")]


def _yaml_lines(section: Mapping[str, Any], prefix: str, indent: str) -> Iterator[tuple[str, str]]:
    """The dotted key and the line of everything in a section."""
    for key, value in section.items():
        path = f"{prefix}{key}"
        if isinstance(value, Mapping) and value:
            yield path, f"{indent}{key}:"
            yield from _yaml_lines(value, f"{path}.", f"{indent}  ")
        elif isinstance(value, list) and any(isinstance(item, Mapping) for item in value):
            yield path, f"{indent}{key}:"
            for index, item in enumerate(value):
                (first, line), *rest = _yaml_lines(item, f"{path}[{index}].", f"{indent}    ")
                yield first, f"{indent}  - {line.lstrip()}"
                yield from rest
        else:
            yield path, f"{indent}{key}: {json.dumps(value, ensure_ascii=False)}"  # JSON is YAML


def _facts(facts: Mapping[str, Any]) -> str:
    rows = "".join(
        f"<tr><th scope=row>{html.escape(name)}</th><td>{html.escape(str(value))}</td></tr>"
        for name, value in facts.items()
    )
    return f"<table class=facts>{rows}</table>"


def _dataset_facts(dataset: Mapping[str, Any]) -> dict[str, str]:
    shape, classes = dataset["image_shape"], dataset["class_names"]
    facts = {
        "Name": dataset["name"],
        "Images": "×".join(map(str, shape)) + " (height, width, channels)",
        "Classes": f"{len(classes)}: {_few(classes)}",
    }
    for split, counts in dataset["counts"].items():
        facts[f"{split.capitalize()} images"] = f"{sum(counts):,}"
    source = dataset.get("source") or {}
    return facts | {
        "Source": ", ".join(f"{key.replace('_', ' ')} {value}" for key, value in source.items()),
        "Digest": dataset["digest"],
    }


def _few(names: Sequence[str], most: int = 20) -> str:
    text = ", ".join(names[:most])
    return text if len(names) <= most else f"{text}, ... and {len(names) - most} more"


def _entry_facts(entry: Mapping[str, Any]) -> dict[str, str]:
    """One record of what a step was made with."""
    facts = {}
    for name, value in entry.items():
        if name == "n_layers":
            facts["Used by"] = f"{value} layer{'s' if value != 1 else ''}"
        else:
            text = ", ".join(_flat(value)) if isinstance(value, Mapping) else str(value)
            facts[name.replace("_", " ").capitalize()] = text
    return facts


def _flat(value: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    for name, part in value.items():
        if isinstance(part, Mapping):
            yield from _flat(part, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name} {part}"
