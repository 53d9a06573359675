"""Writes a report: Markdown, the same as one HTML page, CSV and LaTeX tables, and figures."""

import base64
import gzip
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from urllib.parse import unquote

import matplotlib.figure
from jinja2 import Environment, PackageLoader, StrictUndefined
from markdown_it import MarkdownIt
from PIL import Image

from homoreg.files import write_bytes, write_text
from homoreg.plotting import STYLE, save_figure, save_image
from homoreg.study.document import Figure, Part, Picture, Section, Table, escape

FIGURE_DPI = 150
PICTURE_WIDTH_PX = 1200  # of an embedded picture; the run's own file keeps its size
TEXT_CELL = {"style": "text-align:left"}
UNBROKEN = 24  # characters of a text that is never broken into lines in a table
COMPRESSED = {"evaluation"}  # frames with a row per pair, which are megabytes of text


def write_sections(
    folder: Path, title: str, lead: str, notes: Sequence[str], sections: Sequence[Section]
) -> Path:
    """Write ``index.html``, ``report.md``, ``tables/`` and ``figures/``; returns the page's path.

    Args:
        folder: files of an earlier report are replaced.
        title: of the page.
        lead: Markdown under the title.
        notes: warnings that apply to every comparison.
        sections: in the order of the page.
    """
    images: dict[str, str] = {}
    sections = [
        replace(section, parts=[part for part in section.parts if not _is_empty(part)])
        for section in sections
    ]
    for section in sections:
        for name, frame in section.frames.items():
            text = frame.to_csv(index=False).encode()
            # Without a time, so that the same rows give the same file.
            content = gzip.compress(text, mtime=0) if name in COMPRESSED else text
            write_bytes(folder / csv_path(name), content)
        for part in section.parts:
            if isinstance(part, Table):
                latex = latex_table(part)
                write_text(folder / "tables" / f"{part.name}.tex", latex)
            elif isinstance(part, Figure):
                images |= _save_figure(part.draw(), folder, part.name)
            elif isinstance(part, Picture):
                images |= _save_picture(part.path, folder, part.name)
    blocks = [f"# {escape(title)}", lead]
    if notes:
        blocks.append("\n".join(f"> - {note}" for note in notes))
    for section in sections:
        heading = f'## <a id="{section.id}"></a>{section.title}'
        parts = [_markdown(part) for part in section.parts]
        if not section.open:
            # Links into a folded section open it where the anchor is inside.
            heading = f"<details>\n<summary>{section.title}</summary>\n\n{heading}"
            parts.append("</details>")
        blocks += [heading, *parts]
    markdown = "\n\n".join(blocks) + "\n"
    write_text(folder / "report.md", markdown)
    environment = Environment(
        loader=PackageLoader("homoreg.study"), autoescape=True, undefined=StrictUndefined
    )
    page = environment.get_template("report.html.j2").render(
        title=title, sections=sections, body=_html(markdown, images)
    )
    write_text(folder / "index.html", page)
    return folder / "index.html"


def _is_empty(part: Part) -> bool:
    return isinstance(part, Table) and not len(part.frame)


def csv_path(frame: str) -> str:
    """Where the report keeps the numbers of a frame.

    >>> csv_path("arms"), csv_path("evaluation")
    ('tables/arms.csv', 'tables/evaluation.csv.gz')
    """
    return f"tables/{frame}.csv{'.gz' * (frame in COMPRESSED)}"


def _markdown(part: Part) -> str:
    if isinstance(part, str):
        return part
    if isinstance(part, Picture):
        caption = escape(part.caption)
        return f"{_image(caption, f'{part.name}.jpg')}\n\n*{caption}*"
    files, shown = [csv_path(part.csv)], _image(part.name.replace("_", " "), f"{part.name}.png")
    if isinstance(part, Table):
        files.append(f"tables/{part.name}.tex")
        shown = markdown_table(part)
    links = ", ".join(f"[{file}]({file})" for file in files)
    return f"{shown}\n\n*{part.caption.strip()}* {links}"


def _image(text: str, name: str) -> str:
    """An image that opens its own file, at full size."""
    return f"[![{text}](<figures/{name}>)](<figures/{name}>)"


def markdown_table(table: Table) -> str:
    """A table with pipes, text aligned left and numbers right."""
    lines = [list(map(str, table.cells)), [":--" if text else "--:" for text in table.is_text]]
    lines += [[escape(cell) for cell in row] for row in table.cells.to_numpy().tolist()]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _html(markdown: str, images: dict[str, str]) -> str:
    """Markdown as HTML, with its images in it."""
    parser = MarkdownIt("commonmark").enable("table")
    tokens = parser.parse(markdown)
    for before, token in pairwise(tokens):
        for child in token.children or []:
            if child.type == "image":
                child.attrs["src"] = images[unquote(str(child.attrs["src"]))]
            elif before.attrs == TEXT_CELL and len(child.content) <= UNBROKEN:
                child.content = child.content.replace(" ", "\u00a0")
    return str(parser.renderer.render(tokens, parser.options, {}))


SIGNS = r"- \cdot \infty \pm \times \leq \geq < > | \to \kappa \lambda \rho \sigma \delta"
LATEX = str.maketrans(
    {sign: f"${name}$" for sign, name in zip("−·∞±×≤≥<>|→κλρσδ", SIGNS.split(), strict=True)}
    | {
        sign: rf"\textsuperscript{{{n}}}"
        for n, sign in zip("0123456789-", "⁰¹²³⁴⁵⁶⁷⁸⁹⁻", strict=True)
    }
    | {sign: rf"\textsubscript{{{n}}}" for n, sign in enumerate("₀₁₂₃₄₅₆₇₈₉")}
    | {"–": "--", "…": r"\ldots{}"}
)


def latex_table(table: Table) -> str:
    """A ``tabular`` for ``\\input`` in a table environment, captioned; needs booktabs."""
    styler = table.cells.style.hide(axis="index").format(escape="latex")
    styler = styler.format_index(escape="latex", axis=1)
    latex = styler.to_latex(
        hrules=True, column_format="".join("l" if text else "r" for text in table.is_text)
    )
    return f"% {' '.join(table.caption.split())}\n{latex.translate(LATEX)}"


def _save_figure(figure: matplotlib.figure.Figure, folder: Path, name: str) -> dict[str, str]:
    """Save as PNG and SVG; returns the SVG as a data address, by the PNG's name on the page."""
    png, svg = (folder / "figures" / f"{name}.{kind}" for kind in ("png", "svg"))
    save_figure(figure, png, dpi=FIGURE_DPI)
    figure.set_layout_engine("none")  # keeps the layout and saves most of the time
    with matplotlib.rc_context(STYLE):
        save_figure(figure, svg, dpi=FIGURE_DPI, metadata={"Date": None})
    return {f"figures/{name}.png": _data_address("image/svg+xml", svg.read_bytes())}


def _save_picture(source: Path, folder: Path, name: str) -> dict[str, str]:
    """Save as JPEG of the page's width; returns it as a data address."""
    with Image.open(source) as image:
        small = image.convert("RGB")
    small.thumbnail((PICTURE_WIDTH_PX, 4 * PICTURE_WIDTH_PX))
    file = folder / "figures" / f"{name}.jpg"
    save_image(small, file, quality=85)
    return {f"figures/{name}.jpg": _data_address("image/jpeg", file.read_bytes())}


def _data_address(media_type: str, content: bytes) -> str:
    return f"data:{media_type};base64,{base64.b64encode(content).decode()}"
