"""Formulas as MathML, which browsers show by themselves: no script, no fonts from elsewhere."""

from typing import Any

from docutils import nodes
from docutils.utils.math import MathError
from docutils.utils.math.latex2mathml import tex2mathml
from sphinx.application import Sphinx
from sphinx.util import logging

logger = logging.getLogger(__name__)


def show_formula(writer: Any, node: nodes.Element) -> None:
    """Write a formula as MathML; what docutils doesn't know of LaTeX is a warning."""
    displayed = isinstance(node, nodes.math_block)
    try:
        formula = tex2mathml(node.astext(), as_block=displayed)
    except MathError as error:
        logger.warning("formula %r: %s", node.astext(), error, location=node)
        raise nodes.SkipNode from None
    writer.body.append(f'<div class="formula">{formula}</div>\n' if displayed else formula)
    raise nodes.SkipNode


def setup(app: Sphinx) -> dict[str, Any]:
    app.add_html_math_renderer("mathml", (show_formula, None), (show_formula, None))
    return {"parallel_read_safe": True, "parallel_write_safe": True}
