"""The report's page of where results come from: configuration, code, packages, devices."""

from __future__ import annotations

import html
import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from manifold_capacity.pages.page import render_page
from manifold_capacity.summary.text import checkpoint_title, split_title

__all__ = ["configuration_text", "origin_page"]


def origin_page(
    provenance: Mapping[str, Any],
    given: Collection[str],
    dataset: Mapping[str, Any] | None,
) -> str:
    """A page of where the numbers come from: configuration, dataset, code, packages and devices, step by step.

    Parameters
    ----------
    provenance : mapping
        As `provenance.collect_provenance` returns it, with the step ``summary``.
    given : collection of str
        Keys that the configuration gave itself, as `config.given_keys` names them.
    dataset : mapping or None
        What ``dataset.json`` says; None of activations from elsewhere.

    Returns
    -------
    str
        HTML.
    """
    code = provenance["code"]
    commit = code["commit"] or "not in a git repository"
    facts = {
        "Configuration": f"digest {provenance['config_digest']}, as in the tables",
        "Code": f"version {code['version']}, {commit}",
        "Platform": provenance["platform"],
    }
    parts = [_facts(facts), "<h2>Configuration</h2>", "<p>A line in gray is a default.</p>"]
    lines = configuration_text(provenance["config"], given)
    shown = (
        html.escape(line) if ours else f"<span class=default>{html.escape(line)}</span>"
        for line, ours in lines
    )
    parts.append("<pre>" + "\n".join(shown) + "</pre>")
    parts.append("<h2>Step by step</h2>")
    for step, entries in provenance["made_with"].items():
        parts.append(f"<h3>{html.escape(step.capitalize())}</h3>")
        first = _dataset_facts(dataset) if step == "dataset" and dataset else {}
        parts += [_facts(first | _entry_facts(entry)) for entry in entries]
    return render_page("Where the numbers come from", "\n".join(parts), None)


def configuration_text(
    resolved: Mapping[str, Any], given: Collection[str]
) -> list[tuple[str, bool]]:
    """A configuration as lines of YAML, and whether each was given or is a default.

    Parameters
    ----------
    resolved : mapping
        With all defaults.
    given : collection of str
        As of `origin_page`.

    Returns
    -------
    list of (str, bool)
    """
    return [*_yaml_lines(resolved, set(given), "", "")]


def _yaml_lines(
    section: Mapping[str, Any], given: set[str], name: str, indent: str
) -> Iterable[tuple[str, bool]]:
    for key, value in section.items():
        dotted = f"{name}.{key}" if name else key
        ours = dotted in given
        if isinstance(value, Mapping) and value:
            yield f"{indent}{key}:", ours
            yield from _yaml_lines(value, given, dotted, indent + "  ")
        elif isinstance(value, list) and any(isinstance(item, Mapping) for item in value):
            yield f"{indent}{key}:", ours
            for place, item in enumerate(value):
                lines = _yaml_lines(item, given, f"{dotted}[{place}]", indent + "    ")
                for number, (line, own) in enumerate(lines):
                    start = f"{indent}  - " if number == 0 else ""
                    yield start + line[len(start) :], own
        else:
            # JSON is YAML.
            yield f"{indent}{key}: {json.dumps(value, ensure_ascii=False)}", ours


def describe_module(row: Mapping[Any, Any]) -> str:
    where = f"{row['dataset']}: {row['model']}, seed {row['seed']}, {checkpoint_title(row)}"
    which = f"{where}, {split_title(row['split'])}, {row['labels']} labels."
    what = f"output {row['output_shape']}, {row['n_features']} features"
    return f"{which} Module {row['layer_name']}, {what}."


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
    """What one kind of file of a step was made with."""
    facts = {}
    for name, value in entry.items():
        if name == "n_layers":
            facts["Used by"] = f"{value} layer{'s' if value != 1 else ''}"
        else:
            text = ", ".join(_flat(value)) if isinstance(value, Mapping) else str(value)
            facts[name.replace("_", " ").capitalize()] = text
    return facts


def _flat(value: Mapping[str, Any], prefix: str = "") -> Iterable[str]:
    for name, part in value.items():
        if isinstance(part, Mapping):
            yield from _flat(part, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name} {part}"
