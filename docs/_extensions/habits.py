"""This repository's habits, which Sphinx would show in another way."""

import dataclasses
import re
from typing import Any

from docutils import nodes
from pygments.lexers.shell import BashLexer
from sphinx.addnodes import pending_xref
from sphinx.application import Sphinx
from sphinx.domains.python import PyObject


def without_fields(
    app: Sphinx, what: str, name: str, found: Any, options: Any, signature: str, returns: str
) -> tuple[str, None] | None:
    """Leave out the signature of a dataclass: users get one and don't make it, and its attributes are listed."""
    return ("", None) if what == "class" and dataclasses.is_dataclass(found) else None


def titles_for_files(app: Sphinx, document: nodes.document) -> None:
    """Show the title of a page where the text names its file, which is what helps readers of the repository."""
    for link in document.findall(pending_xref):
        if link.get("refdomain") == "doc" and re.fullmatch(r"(docs/)?\w+\.md", link.astext()):
            link["refexplicit"] = False


def setup(app: Sphinx) -> dict[str, Any]:
    # `console` blocks hold commands without a prompt.
    app.add_lexer("console", BashLexer)
    app.connect("doctree-read", titles_for_files)
    app.connect("autodoc-process-signature", without_fields)
    # As NumPy's docstrings call them.
    for field in PyObject.doc_field_types:
        if field.name == "variable":
            field.label = "Attributes"
    return {"parallel_read_safe": True, "parallel_write_safe": True}
