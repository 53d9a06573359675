"""Sections → files: the page, the same as Markdown, CSV and LaTeX tables, and the figures."""

import base64
import io
import re
from collections.abc import Sequence
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape
from matplotlib.figure import Figure
from PIL import Image

from homoreg.files import atomic_path, write_text
from homoreg.plotting import plot_style
from homoreg.study.document import Cell, Picture, Plate, Section, Table, View
from homoreg.study.latex import latex_table

FIGURE_DPI = 150
PICTURE_WIDTH = 1200  # pixels of an embedded picture; the runs' files keep theirs


def write_sections(
    folder: Path, title: str, lead: str, notes: Sequence[str], sections: Sequence[Section]
) -> Path:
    """Write ``index.html``, ``report.md``, ``tables/`` and ``figures/``; returns the page's path.

    Args:
        folder: files of an earlier report are replaced.
        lead: a sentence or two under the title.
        notes: what a reader must know before comparing anything.
    """
    images: dict[str, str] = {}
    for section in sections:
        for name, frame in section.frames.items():
            with atomic_path(folder / "tables" / f"{name}.csv") as path:
                frame.to_csv(path, index=False)
        for part in section.parts:
            if isinstance(part, Table):
                latex = latex_table(part.view, part.caption)
                write_text(folder / "tables" / f"{part.name}.tex", latex)
            elif isinstance(part, Plate):
                images[part.name] = _save_figure(part.draw(), folder, part.name)
            elif isinstance(part, Picture):
                images[part.name] = _save_picture(part.path, folder, part.name)
    for template, name in [("report.html.j2", "index.html"), ("report.md.j2", "report.md")]:
        text = _environment(escape_html=name.endswith("html")).get_template(template)
        content = {"title": title, "lead": lead, "notes": notes, "sections": sections}
        write_text(folder / name, text.render(**content, images=images))
    return folder / "index.html"


def _environment(escape_html: bool) -> Environment:
    environment = Environment(
        loader=PackageLoader("homoreg.study"),
        autoescape=escape_html,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["typed"] = _typed
    environment.filters["pipes"] = markdown_table
    return environment


def _typed(text: str) -> Markup:
    """Text whose backticks become code."""
    return Markup(re.sub(r"`([^`]+)`", r"<code>\1</code>", str(escape(text))))


def markdown_table(view: View) -> str:
    """A table with pipes; an interval shares its number's cell, a group has a line in bold."""
    headings = [cell for cell, _ in view.headings]
    lines = [_pipes([cell.text for cell in headings])]
    lines.append(_pipes([":--" if cell.kind == "text" else "--:" for cell in headings]))
    for heading, rows in view.groups:
        if heading:
            lines.append(_pipes([f"**{heading}**", *[""] * (len(headings) - 1)]))
        lines += [_pipes(_joined(row)) for row in rows]
    return "\n".join(lines)


def _joined(row: list[Cell]) -> list[str]:
    cells: list[str] = []
    for cell in row:
        if cell.kind != "range":
            cells.append(cell.text)
        elif cell.text:
            cells[-1] += f" ({cell.text})"
    return cells


def _pipes(cells: list[str]) -> str:
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"


def _save_figure(figure: Figure, folder: Path, name: str) -> str:
    """Save as PNG and SVG; return the SVG as a data address."""
    with atomic_path(folder / "figures" / f"{name}.png") as path:
        figure.savefig(path, dpi=FIGURE_DPI)
    figure.set_layout_engine("none")  # it is laid out, which took most of the time
    with atomic_path(folder / "figures" / f"{name}.svg") as path, plot_style():
        figure.savefig(path, dpi=FIGURE_DPI, metadata={"Date": None})
        return _data_address("image/svg+xml", path.read_bytes())


def _save_picture(source: Path, folder: Path, name: str) -> str:
    """Save a picture at a page's width as JPEG; return it as a data address."""
    with Image.open(source) as image:
        small = image.convert("RGB")
    small.thumbnail((PICTURE_WIDTH, 4 * PICTURE_WIDTH))
    buffer = io.BytesIO()
    small.save(buffer, "JPEG", quality=85)
    with atomic_path(folder / "figures" / f"{name}.jpg") as path:
        path.write_bytes(buffer.getvalue())
    return _data_address("image/jpeg", buffer.getvalue())


def _data_address(media_type: str, content: bytes) -> str:
    return f"data:{media_type};base64,{base64.b64encode(content).decode()}"
