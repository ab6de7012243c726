"""What a run's configuration may say: validation against the schema, defaults, checks across keys.

The schema (`schemas/config.schema.yaml`) is the one place where keys, types, defaults and descriptions stand; this module
turns it into complete configurations, error messages and `docs/config.md`.
"""

from __future__ import annotations

import copy
import json
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from manifold_capacity.datasets import describe
from manifold_capacity.errors import UserError, nearest
from manifold_capacity.layers import Layer, select_layers, unmatched
from manifold_capacity.own_activations import EXTERNAL, SPLIT, OwnActivations, default_name

__all__ = [
    "ConfigError",
    "check_layers",
    "class_indices",
    "document",
    "given_keys",
    "load_schema",
    "model_checkpoints",
    "nearest",
    "own_activations",
    "resolve",
]

# What is of no use where the activations exist already, and what is of use only there.
_ONLY_FOR_NETWORKS = (
    "dataset",
    "models",
    "training",
    "checkpoints",
    "device",
    "manifolds.splits",
    "manifolds.augment",
    "layers.input",
    "layers.types",
    "activations.keep",
    "activations.dtype",
    "activations.batch_size",
)
_ONLY_FOR_OWN_ACTIVATIONS = ("activations.labels", "activations.class_names", "activations.name")


class Classes(Protocol):
    """A source of manifolds: a `Dataset` or `OwnActivations`."""

    @property
    def name(self) -> str: ...

    @property
    def class_names(self) -> tuple[str, ...]: ...


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


def resolve(config: Mapping[str, Any], schema: Mapping[str, Any]) -> dict[str, Any]:
    """Check a configuration and fill in every default.

    Parameters
    ----------
    config : mapping
        What the user wrote. Text stands for the number or truth value it spells where nothing else
        is allowed: YAML takes ``1e-2`` for text, and Snakemake's ``--config
        training='{epochs: 1}'`` makes text of everything.
    schema : mapping
        The parsed `schemas/config.schema.yaml`.

    Returns
    -------
    dict
        A complete configuration: every key present, models as mappings with a unique `label`, checkpoints as sorted epochs.

    Raises
    ------
    ConfigError
        Listing every unknown key, wrong type, value out of range or impossible combination.
    """
    own = _given(config, "activations.path") is not None
    if own:
        schema = {**schema, "required": []}
    resolved = _typed(dict(config), schema)
    problems = list(_schema_problems(resolved, schema)) or [
        *_source_problems(resolved, own),
        *_results_problems(resolved.get("results", schema["properties"]["results"]["default"])),
    ]
    if problems:
        raise ConfigError(list(dict.fromkeys(problems)))
    if own:
        return _resolve_own_activations(resolved, schema)
    resolved["models"] = [
        {"name": entry} if isinstance(entry, str) else dict(entry) for entry in resolved["models"]
    ]
    _fill_defaults(resolved, schema)
    for model in resolved["models"]:
        suffix = "" if model["weights"] == "trained" else f"-{model['weights']}"
        model["label"] = model["label"] or model["name"] + suffix
    if resolved["layers"]["types"] == "all":
        resolved["layers"].update(types=[], names=["*"])
    epochs = resolved["training"]["epochs"]
    resolved["checkpoints"] = sorted(
        {epochs if c == "final" else c for c in resolved["checkpoints"]}
    )
    problems = list(_combination_problems(resolved))
    if problems:
        raise ConfigError(problems)
    return _in_order(resolved, schema)


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
            dotted = _join(name, str(key))
            yield dotted
            yield from _keys(part, dotted)
    elif isinstance(value, list):
        for place, part in enumerate(value):
            if name == "models" and isinstance(part, str):
                part = {"name": part}
            yield from _keys(part, f"{name}[{place}]")


def own_activations(config: Mapping[str, Any]) -> OwnActivations | None:
    """The activations that exist already, by a resolved configuration; None where a network makes them."""
    section = config["activations"]
    if section["path"] is None:
        return None
    return OwnActivations(
        section["path"], section["labels"], section["class_names"], config["layers"]["names"]
    )


def _resolve_own_activations(resolved: dict[str, Any], schema: Mapping[str, Any]) -> dict[str, Any]:
    """The rest of `resolve` where no network is run: one "model", every layer, every point."""
    all_layers = not _given(resolved, "layers.names")
    all_points = _given(resolved, "manifolds.points_per_class") is None
    _fill_defaults(resolved, schema)
    section = resolved["activations"]
    section["name"] = section["name"] or default_name(section["path"])
    resolved["dataset"] = {"name": Path(section["path"]).name}
    resolved["models"] = [{"name": section["name"], "label": section["name"], "weights": EXTERNAL}]
    resolved["layers"].update(input=False, types=[])
    if all_layers:
        resolved["layers"]["names"] = ["*"]
    resolved["manifolds"]["splits"] = [SPLIT]
    if all_points:
        resolved["manifolds"]["points_per_class"] = "all"
    problems = list(_own_activations_problems(resolved))
    if problems:
        raise ConfigError(problems)
    return _in_order(resolved, schema)


def model_checkpoints(config: Mapping[str, Any], model: Mapping[str, Any]) -> list[str]:
    """Names of the checkpoints at which a model is measured: `epoch-000`, ... or `pretrained`."""
    if model["weights"] in ("pretrained", EXTERNAL):
        return [model["weights"]]
    epochs = config["checkpoints"] if model["weights"] == "trained" else [0]
    return [f"epoch-{epoch:03d}" for epoch in epochs]


def class_indices(classes: str | int | Sequence[str | int], dataset: Classes) -> list[int]:
    """Indices of the classes that `manifolds.classes` selects, in the order asked for.

    A name goes before an index, and where names are numbers there are no indices: of the labels 1, 2
    and 3, `1` is the first, and `0` is none of them.

    Raises
    ------
    ConfigError
        For a class that the dataset does not have, or a class given twice.
    """
    names = list(dataset.class_names)
    if classes == "all":
        return list(range(len(names)))
    if isinstance(classes, int):
        if classes > len(names):
            raise ConfigError(
                [
                    f"manifolds.classes: {classes}, but {dataset.name} has {len(names)} classes; "
                    f"allowed: 2 to {len(names)}, `all`, or a list of names"
                ]
            )
        return list(range(classes))
    are_numbers = all(map(_is_number, names))
    indices: list[int] = []
    problems = []
    for entry in classes:
        if str(entry) in names:
            indices.append(names.index(str(entry)))
        elif not are_numbers and isinstance(entry, int) and 0 <= entry < len(names):
            indices.append(entry)
        else:
            if are_numbers:
                known = (
                    f"its classes are {', '.join(names[:10])}{', ...' if len(names) > 10 else ''}"
                )
            else:
                known = f"nor an index from 0 to {len(names) - 1}{nearest(entry, names)}"
            problems.append(
                f"manifolds.classes: {entry!r} is not a class of {dataset.name}, {known}"
            )
    if len(set(indices)) < len(indices):
        problems.append("manifolds.classes: a class is given twice (by name and by index?)")
    if problems:
        raise ConfigError(problems)
    return indices


def check_layers(
    config: Mapping[str, Any],
    known: Callable[[Mapping[str, Any]], Sequence[Layer] | None],
    find: Callable[[Mapping[str, Any]], Sequence[Layer]],
) -> dict[str, Sequence[Layer]]:
    """Check that `layers` selects something in every model, and every type and pattern something in one.

    Building a network takes seconds, so tables that an earlier run left are tried first; only where such a table is missing or
    the selection does not fit (it may be stale) is the network built.

    Parameters
    ----------
    config : mapping
        The resolved configuration.
    known, find : callable
        Model entry -> layers: from an earlier run (or None), and from the network itself.

    Returns
    -------
    dict
        Label of each model -> all its layers.

    Raises
    ------
    ConfigError
        Naming the pattern or type that matches nothing.
    """
    models = {model["label"]: model for model in config["models"]}
    tables = {label: known(model) for label, model in models.items()}
    complete = {label: table for label, table in tables.items() if table is not None}
    if len(complete) == len(models) and not _unfit(config, complete):
        return complete
    built: dict[str, Sequence[Layer]] = {}
    problems = []
    for label, model in models.items():
        if tables[label] is None:
            try:
                tables[label] = built[label] = find(model)
            except ValueError as error:
                problems.append(str(error))
    found = {label: table for label, table in tables.items() if table is not None}
    if not problems and not _unfit(config, found):
        return found
    for label, model in models.items():
        if label not in built and tables[label] is not None:
            tables[label] = find(model)
    found = {label: table for label, table in tables.items() if table is not None}
    problems += _unfit(config, found)
    if problems:
        raise ConfigError(list(dict.fromkeys(problems)))
    return found


def _unfit(config: Mapping[str, Any], tables: Mapping[str, Sequence[Layer] | None]) -> list[str]:
    """What is wrong with the selection of layers, given the models' tables."""
    names = {model["label"]: model["name"] for model in config["models"]}
    found = {names[label]: table or [] for label, table in tables.items()}
    problems = unmatched(found, config["layers"]) if found else []
    for name, table in found.items():
        try:
            select_layers(table, config["layers"], model=name)
        except ValueError as error:
            problems.append(str(error))
    return problems


def _typed(value: Any, schema: Mapping[str, Any]) -> Any:
    """A copy in which text that spells a number or truth value is one, where text is not allowed."""
    if isinstance(value, Mapping):
        known = _properties(schema)
        return {key: _typed(entry, known.get(key, {})) for key, entry in value.items()}
    if isinstance(value, list):
        return [_typed(entry, _items(schema)) for entry in value]
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


def _is_number(name: str) -> bool:
    try:
        float(name)
    except ValueError:
        return False
    return True


def _given(config: Mapping[str, Any], dotted: str) -> Any:
    """What the user wrote for a key; None if nothing, or something that isn't a mapping, is there."""
    value: Any = config
    for key in dotted.split("."):
        value = value.get(key) if isinstance(value, Mapping) else None
    return value


def _source_problems(config: Mapping[str, Any], own: bool) -> Iterator[str]:
    """Keys that are of no use with the source of the activations."""
    unused = _ONLY_FOR_NETWORKS if own else _ONLY_FOR_OWN_ACTIVATIONS
    given = [key for key in unused if _given(config, key) is not None]
    if own and given:
        path = _given(config, "activations.path")
        yield (
            f"activations.path: {path!r} says that the activations exist already, so that "
            f"{', '.join(given)} can't be followed: remove {'them' if len(given) > 1 else 'it'}, or "
            "activations.path to have a network make them"
        )
    elif given:
        values = ", ".join(f"{key}: {json.dumps(_given(config, key))}" for key in given)
        yield f"{values}: only with activations.path; add it, or remove {', '.join(given)}"
    if not own and _given(config, "manifolds.points_per_class") == "all":
        yield (
            "manifolds.points_per_class: all, but only with activations.path; of a dataset say how many "
            "images: integer ≥ 1"
        )


def _schema_problems(config: Mapping[str, Any], schema: Mapping[str, Any]) -> Iterator[str]:
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
                    f"{_join(key, unknown)}: unknown key{nearest(unknown, allowed)} "
                    f"(allowed here: {', '.join(allowed)})"
                )
        elif error.validator == "required":
            for missing in sorted(set(subschema["required"]) - set(error.instance)):
                meaning = subschema["properties"][missing].get("description", "")
                instead = (
                    "" if key else " (or activations.path, for activations that exist already)"
                )
                yield f"{_join(key, missing)}: missing; add it{instead}. {meaning}"
        else:
            value = json.dumps(error.instance, default=str)
            near = ""
            if error.validator == "enum":
                near = nearest(error.instance, subschema["enum"])
            elif _types(subschema) == ["array"] and not isinstance(error.instance, Mapping):
                near = f"; for one entry write [{error.instance}]"
            yield f"{key or 'the configuration'}: {value} is not allowed; allowed: {_allowed(subschema)}{near}"


def _results_problems(results: str) -> Iterator[str]:
    """Whether the folder of the results can be made and written to, as far as can be seen from here."""
    folder = Path(results).absolute()
    there = next(path for path in (folder, *folder.parents) if path.exists())
    if not there.is_dir():
        yield f"results: {results!r} leads through {there}, which is a file; name a folder"
    elif not os.access(there, os.W_OK | os.X_OK):
        yield (
            f"results: {results!r} cannot be written to: {there} is read-only for you; name a folder that is not"
        )


def _combination_problems(config: Mapping[str, Any]) -> Iterator[str]:
    labels = [model["label"] for model in config["models"]]
    for label in sorted({label for label in labels if labels.count(label) > 1}):
        yield (
            f"models: {label!r} stands in the list {labels.count(label)} times; give each its own `label`, "
            "or use `seeds` to repeat a model"
        )
    for model in config["models"]:
        if model["weights_file"] is not None and model["weights"] != "pretrained":
            yield (
                f"models: {model['label']}: weights_file: {model['weights_file']!r} goes with "
                f"`weights: pretrained`, not with `weights: {model['weights']}`"
            )
    for section in ("training", "activations"):
        if config["device"] == "cpu" and config[section]["precision"] == "tf32":
            yield (
                f"{section}.precision: tf32 is arithmetic of GPUs, but device is cpu; "
                "set it to float32 or bfloat16, or device to auto or cuda"
            )
    if config["activations"]["keep"] and config["activations"]["max_gib"] is not None:
        yield (
            f"activations.max_gib: {config['activations']['max_gib']}, but activations.keep is true and every store "
            "stays; set keep to false, or max_gib to null"
        )
    epochs = config["training"]["epochs"]
    for checkpoint in config["checkpoints"]:
        if checkpoint > epochs:
            yield (
                f"checkpoints: {checkpoint}, but training.epochs is {epochs}; allowed: 0 to {epochs}, or `final`"
            )
    dataset, indices, problems = _with_classes(config, lambda: describe(config["dataset"]))
    yield from problems
    if dataset is None:
        return
    channels = dataset.image_shape[2]
    normalize = config["dataset"]["normalize"]
    if isinstance(normalize, Mapping):
        for key in ("mean", "std"):
            if len(normalize[key]) != channels:
                yield (
                    f"dataset.normalize.{key}: {len(normalize[key])} values, but images of {dataset.name} "
                    f"have {channels} channel{'s' if channels > 1 else ''}; give one value per channel"
                )
    wanted = config["manifolds"]["points_per_class"]
    for split in config["manifolds"]["splits"]:
        counts = dataset.counts[split]
        scarce = min(indices, key=lambda index: counts[index], default=None)
        if scarce is not None and wanted > counts[scarce]:
            yield (
                f"manifolds.points_per_class: {wanted}, but {dataset.name} has only {counts[scarce]} {split} images of "
                f"class {dataset.class_names[scarce]!r}; allowed: 1 to {counts[scarce]}"
            )
        elif scarce is not None:
            have = f"{counts[scarce]} {split} images of class {dataset.class_names[scarce]!r}"
            yield from _repeats_problems(config, f"{dataset.name} has only {have}", counts[scarce])


def _own_activations_problems(config: Mapping[str, Any]) -> Iterator[str]:
    own, indices, problems = _with_classes(config, lambda: own_activations(config))
    yield from problems
    if own is None or problems:
        return
    wanted = config["manifolds"]["points_per_class"]
    counts = own.counts[SPLIT]
    scarce = min(indices, key=lambda index: counts[index])
    if wanted == "all" and counts[scarce] < 2:
        yield (
            f"manifolds.classes: class {own.class_names[scarce]!r} of {own.name} has a single sample, which is no "
            "manifold; list the classes to measure without it, or set manifolds.points_per_class: 1 to measure "
            "single points"
        )
    elif wanted != "all" and wanted > counts[scarce]:
        yield (
            f"manifolds.points_per_class: {wanted}, but {own.name} has only {counts[scarce]} samples of class "
            f"{own.class_names[scarce]!r}; allowed: 1 to {counts[scarce]}, or all"
        )
    else:
        have = f"{counts[scarce]} samples of class {own.class_names[scarce]!r}"
        yield from _repeats_problems(config, f"{own.name} has only {have}", counts[scarce])


def _with_classes(
    config: Mapping[str, Any], find: Callable[[], Any]
) -> tuple[Any, list[int], list[str]]:
    """What `find` finds (None if it can't), the classes of it that are measured, and what is wrong with either."""
    try:
        found = find()
        indices = class_indices(config["manifolds"]["classes"], found)
    except ConfigError as error:
        return None, [], error.problems
    except (ValueError, OSError) as error:
        return None, [], [str(error)]
    problems = []
    if len(indices) < 2:
        problems.append(
            f"manifolds.classes: {found.name} has only {len(indices)} class; capacity needs at least two manifolds"
        )
    return found, indices, problems


def _repeats_problems(config: Mapping[str, Any], have: str, count: int) -> Iterator[str]:
    """Draws that the smallest class, of `count` points, is too small for."""
    repeats, wanted = config["geometry"]["repeats"], config["manifolds"]["points_per_class"]
    if repeats > 1 and wanted == "all":
        yield (
            f"geometry.repeats: {repeats}, but manifolds.points_per_class: all leaves no point for a second "
            f"draw; set manifolds.points_per_class to {count // repeats} or less, or geometry.repeats to 1"
        )
    elif repeats > 1 and repeats * wanted > count:
        yield (
            f"geometry.repeats: {repeats} draws of {wanted} points need {repeats * wanted} of each class, but "
            f"{have}; allowed: {'1' if count < 2 * wanted else f'1 to {count // wanted}'}, or fewer "
            f"manifolds.points_per_class: 1 to {count // repeats}"
        )


def _fill_defaults(value: Any, schema: Mapping[str, Any]) -> None:
    """Add missing keys with their defaults, in place; `value` has been validated."""
    if isinstance(value, dict):
        for key, subschema in schema.get("properties", {}).items():
            if key not in value and "default" in subschema:
                value[key] = copy.deepcopy(subschema["default"])
            if key in value:
                _fill_defaults(value[key], subschema)
    elif isinstance(value, list) and isinstance(schema.get("items"), Mapping):
        for item in value:
            _fill_defaults(item, schema["items"])


def _in_order(value: Any, schema: Mapping[str, Any]) -> Any:
    """A copy with keys in the order of the schema, whatever the order in the file.

    Snakemake runs a job again if the text of a parameter changes: moving a line must not.
    """
    if isinstance(value, Mapping):
        known = _properties(schema)
        keys = [
            *(key for key in known if key in value),
            *(key for key in value if key not in known),
        ]
        return {key: _in_order(value[key], known.get(key, {})) for key in keys}
    if isinstance(value, list):
        return [_in_order(entry, _items(schema)) for entry in value]
    return value


def _dotted(path: Sequence[str | int] | Any) -> str:
    text = ""
    for part in path:
        text = f"{text}[{part}]" if isinstance(part, int) else _join(text, part)
    return text


def _join(key: str, part: str) -> str:
    return f"{key}.{part}" if key else part


def _allowed(schema: Mapping[str, Any]) -> str:
    """A phrase that says what values a subschema takes."""
    if "enum" in schema:
        return ", ".join(_literal(value) for value in schema["enum"])
    if "const" in schema:
        return _literal(schema["const"])
    if "oneOf" in schema:
        return " or ".join(_allowed(option) for option in schema["oneOf"])
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
        limits.append(f"of: {_allowed(schema['items'])}")
    if "object" in names and "properties" in schema:
        limits.append(f"with the keys {', '.join(schema['properties'])}")
    return " ".join([phrase, *([", ".join(limits)] if limits else [])])


def _literal(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def document(schema: Mapping[str, Any]) -> str:
    """The reference of all keys as Markdown (`docs/config.md`)."""
    lines = [
        "# Configuration",
        "",
        "<!-- Made from schemas/config.schema.yaml by `make docs`; change it there. -->",
        "",
        _text(schema),
        "",
        "**Bold** keys have to be given.",
        "",
        *_TABLE_HEAD,
    ]
    sections = []
    for key, subschema in schema["properties"].items():
        inner = subschema.get("items", subschema)
        lines.append(
            _table_row(key, subschema, key in schema["required"], linked="properties" in inner)
        )
        if "properties" in inner:
            sections += ["", f"## {key}", "", _text(subschema), "", *_TABLE_HEAD]
            sections += list(_table_rows("", inner))
    return "\n".join([*lines, *sections]) + "\n"


_TABLE_HEAD = ["| key | allowed | default | meaning |", "|---|---|---|---|"]


def _table_rows(prefix: str, schema: Mapping[str, Any]) -> Iterator[str]:
    for key, subschema in schema["properties"].items():
        required = key in schema.get("required", [])
        yield _table_row(_join(prefix, key), subschema, required, linked=False)
        for option in [subschema, *subschema.get("oneOf", [])]:
            if "properties" in option:
                yield from _table_rows(_join(prefix, key), option)


def _table_row(key: str, schema: Mapping[str, Any], required: bool, *, linked: bool) -> str:
    given = "default" in schema and schema["default"] != {}
    default = f"`{json.dumps(schema['default'])}`" if given else ""
    name = f"**`{key}`**" if required else f"`{key}`"
    allowed = f"see [{key}](#{key})" if linked else _allowed(schema).partition(" with the keys")[0]
    cells = [name, allowed, default, _text(schema)]
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _text(schema: Mapping[str, Any]) -> str:
    return " ".join(schema["description"].split())


if __name__ == "__main__":
    sys.stdout.write(document(load_schema(sys.argv[1])))
