"""`console` blocks hold commands without a prompt, as everywhere in this repository: colored as shell."""

from typing import Any

from pygments.lexers.shell import BashLexer
from sphinx.application import Sphinx


def setup(app: Sphinx) -> dict[str, Any]:
    app.add_lexer("console", BashLexer)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
