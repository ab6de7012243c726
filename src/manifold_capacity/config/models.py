"""The entries of `models`: their names and labels, and checks of the files that they name."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from manifold_capacity import own_code
from manifold_capacity.config.schema import ConfigError, shown
from manifold_capacity.errors import UserError
from manifold_capacity.summary.rows import EXTERNAL, SPLIT


def name_problems(config: Mapping[str, Any]) -> Iterator[str]:
    """Entries that do not say which network they are of."""
    for place, entry in enumerate(config["models"]):
        if not isinstance(entry, str) and not entry.get("name") and not entry.get("factory"):
            yield (
                f"models[{place}].name: missing; add the name of a network, such as small_cnn, or for a network "
                f"of your own models[{place}].factory: file.py:function"
            )


def named(entry: Mapping[str, Any]) -> dict[str, Any]:
    """The entry with a name: of a user's network, by default that of the function that makes it."""
    return {"name": entry.get("name") or entry["factory"].rpartition(":")[2], **entry}


def default_label(model: Mapping[str, Any]) -> str:
    """The name, with what paths may hold, and the origin of the weights."""
    suffix = "" if model["weights"] == "trained" else f"-{model['weights']}"
    return (path_name(model["name"]) or "model") + suffix


def path_name(name: str) -> str:
    """The name with `-` for what paths cannot hold; perhaps empty."""
    return re.sub(r"[^A-Za-z0-9_.+-]+", "-", name)[:80].lstrip("_.+-")


def of_groups(name: str, groups: Sequence[str]) -> list[dict[str, Any]]:
    """An entry for each group of external activations, or one for all samples; ConfigError without names for paths."""
    if groups == [SPLIT]:
        return [{"name": name, "label": name, "weights": EXTERNAL, "group": None}]
    labels = {group: path_name(group) for group in groups}
    for group, label in labels.items():
        twins = [other for other in groups if labels[other].lower() == label.lower()]
        if not label or len(twins) > 1:
            cause = (
                f"{' and '.join(map(repr, twins))} are the same"
                if label
                else f"{group!r} has no characters"
            )
            raise ConfigError(
                [
                    f"activations.groups: {cause} in paths, which hold A-Z, a-z, 0-9 and _.+- only; rename the group"
                ]
            )
    return [
        {"name": name, "label": label, "weights": EXTERNAL, "group": group}
        for group, label in labels.items()
    ]


def in_order(files: Mapping[str, str]) -> dict[str, str]:
    """The files by their epochs, the final one last."""
    return dict(sorted(files.items(), key=lambda item: (item[0] == "final", item[0].zfill(20))))


def file_problems(config: Mapping[str, Any]) -> Iterator[str]:
    """Files that an entry must not have, or lacks, or that cannot be read."""
    for model in config["models"]:
        where, weights = f"models: {model['label']}", model["weights"]
        if model["arguments"] and not model["factory"] and not model["name"].startswith("timm/"):
            yield (
                f"{where}: arguments: {shown(model['arguments'])}, but {model['name']} takes none; add "
                "factory, or remove arguments"
            )
        for key, needed in (("weights_file", "pretrained"), ("weights_files", "files")):
            if model[key] is not None and weights != needed:
                needs = f"needs `weights: {needed}`, but `weights` is {weights}"
                yield f"{where}: {key}: {_shown(model[key])} {needs}"
        if weights == "files" and model["weights_files"] is None:
            yield (
                f"{where}: weights: files, but weights_files is missing; add it: the file of each epoch, "
                "such as {0: init.pt, final: last.pt}"
            )
        epochs = [key.lstrip("0") or "0" for key in model["weights_files"] or ()]
        for epoch in sorted({epoch for epoch in epochs if epochs.count(epoch) > 1}):
            yield f"{where}: weights_files: epoch {epoch} is given twice; keep one"
        if weights in ("pretrained", "files"):
            files = {"weights_file": model["weights_file"]} if model["weights_file"] else {}
            files |= {
                f"weights_files.{c}": path for c, path in (model["weights_files"] or {}).items()
            }
            for key, path in files.items():
                if problem := _unreadable(Path(path)):
                    yield f"{where}: {key}: {problem}"
        if model["factory"]:
            try:
                own_code.check(model["factory"], f"{where}: factory")
            except UserError as error:
                yield str(error)


def _shown(value: Any) -> str:
    return repr(value) if isinstance(value, str) else shown(value)


def _unreadable(path: Path) -> str | None:
    try:
        if not path.is_file():
            return f"there is no file {path.absolute()}; correct the path"
        if not os.access(path, os.R_OK):
            return (
                f"you have no permission to read {path.absolute()}; allow it, or name another file"
            )
    except OSError as error:
        return f"{path} cannot be a file: {error.strerror}; correct the path"
    return None
