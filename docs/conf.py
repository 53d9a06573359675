"""Sphinx configuration: ``make docs`` builds the site into docs/_build/html."""

import numpy.typing


class ArrayLike:
    """The name alone in signatures, instead of the union that NumPy defines."""


class NDArray(ArrayLike):
    def __class_getitem__(cls, _dtype):
        return cls


numpy.typing.ArrayLike, numpy.typing.NDArray = ArrayLike, NDArray

from homoreg import __version__  # noqa: E402

project = "homoreg"
author = "homoreg authors"
copyright = "2026, homoreg authors"
version = release = __version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
exclude_patterns = ["_build"]

html_theme = "furo"
html_title = f"homoreg {release}"
html_show_sphinx = False
html_static_path = ["_static"]
html_css_files = ["site.css"]

myst_heading_anchors = 3

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
python_use_unqualified_type_names = True
autodoc_inherit_docstrings = False
add_module_names = False
napoleon_numpy_docstring = False
napoleon_use_ivar = True
napoleon_use_rtype = False
python_maximum_signature_line_length = 88
