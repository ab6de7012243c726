"""Excerpts of the docstrings of Python's standard library; the class is the module that they are from."""

import ast
import importlib.util
import re
from collections import Counter
from pathlib import Path

import numpy as np

MODULES = {
    "asyncio": "asyncio",
    "decimal": "_pydecimal",
    "email": "email",
    "http": "http",
    "importlib": "importlib",
    "logging": "logging",
    "unittest": "unittest",
    "xml": "xml",
}
PADDING, UNKNOWN = 0, 1


def load(length=24, n_words=1000):
    """Tokens (n, length): a number for each of the `n_words` most frequent words, 1 for all other words."""
    excerpts = {name: [*split_up(module, length)] for name, module in MODULES.items()}
    # Every fourth docstring is for testing: no excerpt of it is in the training data.
    chosen = {
        "train": {name: [text for i, text in each if i % 4 < 3] for name, each in excerpts.items()},
        "test": {name: [text for i, text in each if i % 4 == 3] for name, each in excerpts.items()},
    }
    words = Counter(w for texts in chosen["train"].values() for text in texts for w in text)
    # Of words that are as frequent, the first in the alphabet.
    known = sorted(words, key=lambda word: (-words[word], word))[:n_words]
    number = {word: place for place, word in enumerate(known, start=2)}
    return {split: tokens(each, number, length) for split, each in chosen.items()}


def split_up(module, length):
    """(number of the docstring, excerpt as words) of a module's docstrings of at least half an excerpt."""
    origin = Path(importlib.util.find_spec(module).origin)
    files = sorted(origin.parent.rglob("*.py")) if origin.name == "__init__.py" else [origin]
    kinds = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    docstrings = [
        ast.get_docstring(node) or ""
        for file in files
        for node in ast.walk(ast.parse(file.read_bytes()))
        if isinstance(node, kinds)
    ]
    for i, docstring in enumerate(docstrings):
        words = re.findall(r"[a-z_]+|[^\sa-z_]", docstring.lower())
        for first in range(0, len(words) - length // 2, length):
            yield i, words[first : first + length]


def tokens(texts, number, length):
    """Tokens of each text, and its class."""
    inputs = np.full((sum(map(len, texts.values())), length), PADDING)
    labels = [name for name, each in texts.items() for _ in each]
    for row, text in zip(inputs, (text for each in texts.values() for text in each), strict=True):
        row[: len(text)] = [number.get(word, UNKNOWN) for word in text]
    return inputs, labels
