"""Markdown, HTML and LaTeX of one table, whatever its cells are called."""

import re

import pandas as pd
from hypothesis import given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from homoreg.study.document import Column, Section, Table
from homoreg.study.render import latex_table, markdown_table


def widths(latex: str) -> set[int]:
    """Columns of a tabular as declared and as filled by each of its lines."""
    [declared] = re.findall(r"\\begin\{tabular\}\{([lr]+)\}", latex)
    for rule in (r"\toprule", r"\midrule", r"\bottomrule", r"\end{tabular}"):
        assert latex.count(rule) == 1
    lines = [line for line in latex.splitlines() if line.endswith(r"\\")]
    return {len(declared), *(len(re.split(r"(?<!\\)&", line)) for line in lines)}


def balanced(latex: str) -> bool:
    depth = 0
    for brace in re.findall(r"(?<!\\)[{}]", latex):
        depth += 1 if brace == "{" else -1
        if depth < 0:
            return False
    return depth == 0 and len(re.findall(r"(?<!\\)\$", latex)) % 2 == 0


def test_all_tables_of_a_report_are_whole(sections: list[Section]):
    seen = 0
    for part in (part for section in sections for part in section.parts):
        if isinstance(part, Table):
            latex = latex_table(part)
            assert widths(latex) == {part.cells.shape[1]}, part.name
            body = latex.partition(r"\begin")[2]
            assert balanced(body), part.name
            assert body.isascii(), sorted({c for c in body if not c.isascii()})
            seen += 1
    assert seen > 8


@settings(deadline=None)  # the first table of a process takes a third of a second
@given(st.text(st.characters(codec="ascii", categories=("L", "N", "P", "S"))))
def test_no_name_breaks_a_table(name: str):
    table = pd.DataFrame({"arm": [name], "value": [1.5]})
    shown = Table("t", "caption", "csv", table, [Column("arm", "arm"), Column("value", "value", 1)])
    latex = latex_table(shown)
    assert widths(latex) == {2}
    assert balanced(latex.partition(r"\begin")[2])
    tokens = MarkdownIt("commonmark").enable("table").parse(markdown_table(shown))
    cells = [token for token in tokens if token.type == "inline"]
    texts = ["".join(child.content for child in cell.children or []) for cell in cells]
    assert texts == ["arm", "value", name or "–", "1.5"]


def test_repeated_groups_are_blank():
    table = pd.DataFrame({"estimator": ["dlt"] * 2 + ["magsac"], "arm": ["a", "b", "b"], "n": 1})
    cells = Table("t", "", "csv", table, [Column("n", "n")], by=["estimator", "arm"]).cells
    assert cells.to_numpy().tolist() == [["dlt", "a", "1"], ["", "b", "1"], ["magsac", "b", "1"]]
