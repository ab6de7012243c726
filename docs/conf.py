"""The documentation site: `make site` builds it from this folder, from docstrings and from the notebooks.

Nothing is fetched, neither while it is built nor while it is read.
"""

import sys
from pathlib import Path

import manifold_capacity

sys.path.insert(0, str(Path(__file__).parent / "_extensions"))

project = "manifold-capacity"
author = "the authors of manifold-capacity"
project_copyright = author
version = release = manifold_capacity.__version__
language = "en"

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.napoleon",
    "sphinx_copybutton",
    "mathml",
    "habits",
]
exclude_patterns = ["figures", "performance", "**/.ipynb_checkpoints"]
highlight_language = "none"

# Markdown, as GitHub reads it.
myst_enable_extensions = ["attrs_block", "dollarmath"]
myst_heading_anchors = 4

# The notebooks are run, from their folder, on what `make demo` left behind.
nb_execution_mode = "force"
nb_execution_raise_on_error = True
nb_execution_show_tb = True
nb_execution_timeout = 300
nb_ipywidgets_js = {}  # would be fetched
nb_merge_streams = True

# Docstrings: types stand in their text, so signatures are left without; `name` is a link where it leads somewhere.
autodoc_typehints = "none"
autodoc_member_order = "bysource"
autodoc_preserve_defaults = True
autosummary_generate = False
napoleon_google_docstring = False
napoleon_custom_sections = [("Attributes", "params_style")]  # several names before one type
napoleon_use_rtype = False
default_role = "py:obj"
# Under -n a reference that leads nowhere is an error. Other libraries' names lead nowhere offline; names that are not
# spelled out (parameters, say) need not.
nitpick_ignore_regex = [(r"py:.*", r"(?!manifold_capacity\.).*")]

html_title = "manifold-capacity"
html_theme = "pydata_sphinx_theme"
html_context = {"default_mode": "auto"}
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_math_renderer = "mathml"
html_copy_source = False
html_show_sourcelink = False
html_show_search_summary = False  # fetches pages, which browsers refuse without a server
html_show_copyright = False
html_sidebars = {page: [] for page in ("index", "quickstart", "concepts", "faq")}
html_theme_options = {
    "header_links_before_dropdown": 7,
    "navbar_persistent": ["search-button"],
    "show_toc_level": 2,
    "pygments_light_style": "github-light",
    "pygments_dark_style": "github-dark",
    "navigation_with_keys": False,
    "secondary_sidebar_items": ["page-toc"],
    "footer_start": ["sphinx-version"],
    "footer_end": ["theme-version"],
}
copybutton_selector = "div.highlight-console pre, div.highlight-python pre, div.highlight-yaml pre"
