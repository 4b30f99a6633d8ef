"""The site: python -m sphinx -W -b html docs docs/_build/html (see CONTRIBUTING.md)."""

import sys
import warnings
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE)]
sys.path.append(str(HERE.parent))  # for who has built the package in place

import family_pages
import sbpfast
from matplotlib.figure import Figure
from sphinx_gallery.scrapers import figure_rst

project = "sbpfast"
author = "the sbpfast developers"
copyright = "the sbpfast developers, BSD-3-Clause"
version = release = sbpfast.__version__

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.mathjax",
    "sphinx.ext.viewcode",
    "numpydoc",
    "sphinx_copybutton",
    "sphinx_gallery.gen_gallery",
]
exclude_patterns = [
    "_build",
    "examples/*",
    "gallery/**/*.ipynb",
    "gallery/sg_execution_times.rst",
    "sg_execution_times.rst",
]
myst_enable_extensions = ["dollarmath", "colon_fence", "deflist"]
myst_heading_anchors = 3
default_role = "code"
nitpicky = True
nitpick_ignore_regex = [("py:.*", ".*")]  # docstrings name types in words: links are checked for pages and labels

autosummary_generate = ["api.rst"]
autodoc_member_order = "groupwise"
autodoc_typehints = "none"
numpydoc_show_class_members = False
numpydoc_xref_param_type = False

html_theme = "furo"
html_title = f"sbpfast {version}"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_show_sourcelink = False
copybutton_prompt_text = r">>> |\.\.\. |\$ "
copybutton_prompt_is_regexp = True
suppress_warnings = ["config.cache"]


def pages_of_fits(block, block_vars, gallery_conf):
    """The figures that `fit.plot` and its like return, which pyplot does not know."""
    made = [v for v in block_vars["example_globals"].values() if isinstance(v, Figure) and not hasattr(v, "number")]
    paths = []
    for figure in made:
        paths.append(next(block_vars["image_path_iterator"]))
        figure.savefig(paths[-1], dpi=80)
    return figure_rst(paths, gallery_conf["src_dir"])


sphinx_gallery_conf = {
    "examples_dirs": "examples",
    "gallery_dirs": "gallery",
    "filename_pattern": "/plot_",
    "image_scrapers": ("matplotlib", pages_of_fits),
    "matplotlib_animations": False,
    "abort_on_example_error": True,
    "download_all_examples": False,
    "show_memory": False,
    "show_signature": False,
    "remove_config_comments": True,
    "within_subsection_order": "FileNameSortKey",
    "capture_repr": (),
}
warnings.filterwarnings("ignore", message=".*FigureCanvasAgg is non-interactive.*")


def setup(app):
    app.connect("builder-inited", lambda app: family_pages.write(HERE / "families"))
