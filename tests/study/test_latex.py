"""LaTeX as a table needs it: every line as wide as its first, every group closed."""

import re

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from homoreg.study.document import Column, Section, Table, number, view
from homoreg.study.latex import latex_table, latex_text


def structure(latex: str) -> tuple[int, list[int]]:
    """Columns that a tabular declares, and how many each of its lines fills."""
    [declared] = re.findall(r"\\begin\{tabular\}\{([lr]+)\}", latex)
    assert latex.count(r"\begin{tabular}") == latex.count(r"\end{tabular}") == 1
    for rule in (r"\toprule", r"\midrule", r"\bottomrule"):
        assert latex.count(rule) == 1
    widths = []
    for line in latex.splitlines():
        if line.endswith(r"\\"):
            cells = re.split(r"(?<!\\)&", line)
            spans = [re.match(r"\s*\\multicolumn\{(\d+)\}", cell) for cell in cells]
            widths.append(sum(int(span[1]) if span else 1 for span in spans))
    return len(declared), widths


def balanced(latex: str) -> bool:
    depth = 0
    for brace in re.findall(r"(?<!\\)[{}]", latex):
        depth += 1 if brace == "{" else -1
        if depth < 0:
            return False
    return depth == 0 and len(re.findall(r"(?<!\\)\$", latex)) % 2 == 0


def test_all_tables_of_a_report_are_whole(sections: list[Section]):
    seen = 0
    for section in sections:
        for part in section.parts:
            if not isinstance(part, Table):
                continue
            latex = latex_table(part.view, part.caption)
            columns, widths = structure(latex)
            assert set(widths) == {columns}, part.name
            body = latex.partition(r"\begin")[2]
            assert balanced(body), part.name
            assert body.isascii(), sorted({c for c in body if not c.isascii()})
            seen += 1
    assert seen > 8


@given(st.text(st.characters(codec="ascii", categories=("L", "N", "P", "S", "Zs"))))
def test_nothing_that_a_run_is_called_breaks_a_table(name: str):
    table = pd.DataFrame({"arm": [name], "value": [1.5]})
    shown = view(table, [Column("arm", "arm"), Column("value", "value", number(1))])
    latex = latex_table(shown, "caption")
    columns, widths = structure(latex)
    assert set(widths) == {columns} == {2}
    assert balanced(latex.partition(r"\begin")[2])


@pytest.mark.parametrize(
    ("text", "latex"),
    [
        ("50 %", r"50 \%"),
        ("a_b", r"a\_b"),
        ("−1.2·10⁻³", r"$-$1.2$\cdot$10$^{-3}$"),
        ("σ₁/σ₈", r"$\sigma$$_{1}$/$\sigma$$_{8}$"),
    ],
)
def test_text_by_hand(text: str, latex: str):
    assert latex_text(text) == latex
