"""The report's page on where results come from: configuration, data, code, packages, devices."""

from __future__ import annotations

import html
import json
from collections.abc import Collection, Iterator, Mapping
from typing import Any

from manifold_capacity.pages import page


def origin_page(
    provenance: Mapping[str, Any], given: Collection[str], dataset: Mapping[str, Any] | None
) -> str:
    """What `provenance.collect_provenance` returns, step by step, and a description of the dataset.

    The keys of the configuration that were `given` (dotted, `config.schema.given_keys`) are marked;
    `dataset` is the content of ``dataset.json``, if there is a dataset.
    """
    code = provenance["code"]
    facts = {
        "Configuration": f"digest {provenance['config_digest']}, as in the tables",
        "Code": f"version {code['version']}, {code['commit'] or 'not in a git repository'}",
        "Platform": provenance["platform"],
    }
    lines = [
        html.escape(line) if path in given else f"<span class=default>{html.escape(line)}</span>"
        for path, line in yaml_lines(provenance["config"])
    ]
    parts = [_facts(facts), "<h2>Configuration</h2>", "<p>A line in gray is a default.</p>"]
    parts += ["<pre>" + "\n".join(lines) + "</pre>", "<h2>Step by step</h2>"]
    for step, entries in provenance["made_with"].items():
        parts.append(f"<h3>{html.escape(step.capitalize())}</h3>")
        first = _dataset_facts(dataset) if step == "dataset" and dataset else {}
        parts += [_facts(first | _entry_facts(entry)) for entry in entries]
    return page.render("Where the numbers come from", "\n".join(parts), None)


def yaml_lines(
    section: Mapping[str, Any], prefix: str = "", indent: str = ""
) -> Iterator[tuple[str, str]]:
    """The dotted key and the line of everything in a section of a configuration."""
    for key, value in section.items():
        path = f"{prefix}{key}"
        if isinstance(value, Mapping) and value:
            yield path, f"{indent}{key}:"
            yield from yaml_lines(value, f"{path}.", f"{indent}  ")
        elif value and isinstance(value, list) and all(isinstance(v, Mapping) for v in value):
            yield path, f"{indent}{key}:"
            for index, item in enumerate(value):
                (first, line), *rest = yaml_lines(item, f"{path}[{index}].", f"{indent}    ")
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
    classes, is_images = dataset["class_names"], "image_shape" in dataset
    shape = dataset["image_shape" if is_images else "input_shape"]
    more = f", ... and {len(classes) - 20} more" if len(classes) > 20 else ""
    facts = {
        "Name": dataset["name"],
        "Images" if is_images else "Inputs": "×".join(map(str, shape))
        + (" (height, width, channels)" if is_images else f" of {dataset['input_dtype']}"),
        "Classes": f"{len(classes)}: {', '.join(classes[:20])}{more}",
    }
    for split, counts in dataset["counts"].items():
        facts[f"{split.capitalize()} {'images' if is_images else 'inputs'}"] = f"{sum(counts):,}"
    source = dataset.get("source") or {}
    return facts | {
        "Source": ", ".join(f"{key.replace('_', ' ')} {value}" for key, value in source.items()),
        "Digest": dataset["digest"],
    }


def _entry_facts(entry: Mapping[str, Any]) -> dict[str, str]:
    """One record of what a step was made with."""
    facts = {}
    for name, value in entry.items():
        if name == "n_layers":  # the record of the summary, which is of all layers, has none
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
