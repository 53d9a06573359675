"""A table as LaTeX, for ``\\input`` between one's own caption and label; needs booktabs."""

import re
from collections.abc import Mapping

from homoreg.study.document import Cell, View

SPECIAL = {character: f"\\{character}" for character in "&%$#_{}"}
SPECIAL |= {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
SPECIAL |= {"<": "$<$", ">": "$>$", "|": "$|$"}
SYMBOLS = {
    "−": "$-$",
    "–": "--",
    "·": r"$\cdot$",
    "∞": r"$\infty$",
    "±": r"$\pm$",
    "×": r"$\times$",
    "≤": r"$\leq$",
    "≥": r"$\geq$",
    "κ": r"$\kappa$",
    "λ": r"$\lambda$",
    "ρ": r"$\rho$",
    "σ": r"$\sigma$",
    "δ": r"$\delta$",
    "→": r"$\to$",
}
RAISED = dict(zip("⁰¹²³⁴⁵⁶⁷⁸⁹⁻", "0123456789-", strict=True))
LOWERED = dict(zip("₀₁₂₃₄₅₆₇₈₉", "0123456789", strict=True))


def latex_text(text: str) -> str:
    """Text with what LaTeX takes for commands, and what old fonts lack, written out.

    >>> latex_text("log₁₀ κ of 5_x: −1.2·10⁻³ & 4 %")
    'log$_{10}$ $\\\\kappa$ of 5\\\\_x: $-$1.2$\\\\cdot$10$^{-3}$ \\\\& 4 \\\\%'
    """
    escaped = "".join(SPECIAL.get(c, SYMBOLS.get(c, c)) for c in text)
    return _set_off(_set_off(escaped, RAISED, "^"), LOWERED, "_")


def _set_off(text: str, digits: Mapping[str, str], mark: str) -> str:
    """Runs of raised or lowered digits as LaTeX writes them: ``$^{12}$``."""

    def written(run: re.Match[str]) -> str:
        return f"${mark}{{{''.join(digits[c] for c in run.group())}}}$"

    return re.sub(f"[{''.join(digits)}]+", written, text)


def latex_table(view: View, caption: str) -> str:
    """A ``tabular`` with booktabs' rules; intervals stand in columns of their own.

    Args:
        caption: goes into a comment at the top.
    """
    aligned = [
        ("l" if heading.kind == "text" else "r") + "l" * (span - 1)
        for heading, span in view.headings
    ]
    width = sum(span for _, span in view.headings)
    lines = [f"% {' '.join(caption.split())}", r"% \usepackage{booktabs}"]
    lines += [rf"\begin{{tabular}}{{{''.join(aligned)}}}", r"\toprule"]
    headings = [
        latex_text(cell.text)
        if span == 1
        else rf"\multicolumn{{{span}}}{{c}}{{{latex_text(cell.text)}}}"
        for cell, span in view.headings
    ]
    lines += [_line(headings), r"\midrule"]
    for number, (heading, rows) in enumerate(view.groups):
        if heading:
            if number:
                lines.append(r"\addlinespace")
            lines.append(
                _line([rf"\multicolumn{{{width}}}{{l}}{{\emph{{{latex_text(heading)}}}}}"])
            )
        lines += [_line([_cell(cell) for cell in row]) for row in rows]
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}", ""])


def _cell(cell: Cell) -> str:
    return latex_text(cell.text)


def _line(cells: list[str]) -> str:
    return f"{' & '.join(cells)} \\\\"
