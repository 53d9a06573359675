"""The tables of docs/results/README.md against the CSVs that they were written from.

Each reader turns a table of the page into cells with the numbers that they are to show. Labels are
matched by their words, so that the page's wording is free.
"""

import re
from collections.abc import Callable, Iterable, Iterator

import numpy as np
import pandas as pd
import pytest
from tests.study.test_published import RESULTS, read

Cell = tuple[str, str, list[float]]  # where it stands, its text, the numbers in it
Rows = list[list[str]]
PROTOCOLS = {"cosine": "corrected", "strong": "corrected_strong"}
METRICS = {"recall 0.1": "precision_at_recall_10", "precision": "precision_3px"}
METRICS |= {"error": "log10_corner_error", "matches": "match_count", "κ": "log10_kappa"}
MARKS = {"higher": r"\*", "lower": r"\*", "equivalent": "="}


def csv(name: str, folder: str = "tables") -> pd.DataFrame:
    return read(RESULTS / folder / f"{name}.csv")


def tables() -> list[Rows]:
    """The page's tables, each with its head first."""
    page = (RESULTS / "README.md").read_text("utf-8")
    blocks = re.findall(r"(?:^\|.*\n)+", page, re.MULTILINE)
    return [
        [
            [cell.strip() for cell in re.split(r"(?<!\\)\|", line.strip()[1:-1])]
            for line in block.splitlines()
            if not re.fullmatch(r"[|: -]+", line)
        ]
        for block in blocks
    ]


def fits(text: str, numbers: Iterable[float]) -> bool:
    """Whether a text shows these numbers and no others, each rounded to the digits that it has."""
    shown = [number.replace("−", "-") for number in re.findall(r"[−+]?\d+(?:\.\d+)?", text)]
    close = [0.5 * 10.0 ** -len(number.partition(".")[2]) + 1e-9 for number in shown]
    expected = list(numbers)
    return len(shown) == len(expected) and bool(
        (np.abs(np.array(shown, float) - expected) <= close).all()
    )


def words(text: str) -> list[str]:
    """The words of a label in lower case, powers of ten as a config writes them."""
    digits = str.maketrans("⁻⁰¹²³⁴⁵⁶⁷⁸⁹", "-0123456789")
    powers = re.sub(
        "10([⁻⁰¹²³⁴⁵⁶⁷⁸⁹]+)", lambda m: f"{10.0 ** int(m[1].translate(digits)):g}", text
    )
    return re.split(r"[^\w.=-]+", powers.lower())


def arm(label: str, arms: Iterable[str]) -> str:
    """The arm of a label: its first word, and of its settings the most that the label names."""
    named = words(label)
    found = [
        name
        for name in dict.fromkeys(arms)
        if name.split(" ")[0] == named[0]
        and set(re.split("[ _]", " ".join(re.findall(r"=(\S+)", name)))) - {""} <= {*named}
    ]
    assert found, f"no arm is called {label}"
    return max(found, key=len)


def protocol(label: str) -> str:
    return next(PROTOCOLS[recipe] for recipe in PROTOCOLS if recipe in label)


def interval(row: pd.Series) -> list[float]:
    """A difference with its interval; of log10 errors the ratio."""
    ends = [row["difference"], row["low"], row["high"]]
    return [10.0**end for end in ends] if row["metric"] == "log10_corner_error" else ends


def comparison(table: pd.DataFrame, protocol: str, estimator: str, metric: str) -> pd.DataFrame:
    own = table[(table["protocol"] == protocol) & (table["metric"] == metric)]
    return own[own["estimator"] == estimator].set_index("arm")


def level_cells(head: list[str], rows: Rows) -> Iterator[Cell]:
    levels = csv("levels").query("estimator == 'magsac' and protocol == @protocol(@head[0])")
    levels = levels.set_index("arm")
    for label, *cells in rows:
        own = levels.loc[arm(label, levels.index)]
        aucs = [own[f"auc_{threshold}px_mean"] for threshold in (1, 3, 5)]
        expected = [[own["seeds"]], [10 ** own["log10_corner_error_mean"]], aucs]
        expected.append([100 * own["failure_rate_mean"]])
        cells[0] = cells[0].replace("–", "0")
        for heading, cell, numbers in zip(head[1:], cells, expected, strict=True):
            yield f"{head[0]}, {label}, {heading}", cell, numbers


def difference_cells(head: list[str], rows: Rows) -> Iterator[Cell]:
    table = csv("comparisons")
    for label, *cells in rows:
        estimator = "dlt" if "DLT" in label else "magsac"
        metric = next(METRICS[word] for word in METRICS if word in label)
        own = comparison(table, protocol(label), estimator, metric)
        for of_arm, cell in zip(head[1:], cells, strict=True):
            if not cell:  # not run under this recipe
                assert words(of_arm)[0] not in {name.split(" ")[0] for name in own.index}
                continue
            row = own.loc[arm(of_arm, own.index)]
            assert cell.partition(") ")[2] == MARKS.get(row["verdict"], ""), (label, of_arm)
            yield f"{label}, {of_arm}", cell, interval(row)


def dose_cells(head: list[str], rows: Rows) -> Iterator[Cell]:
    table, regularizer = csv("comparisons", "screening/tables"), ""
    for label, dose, *cells in rows:
        regularizer = words(label)[0] or regularizer
        for recipe, cell in zip(head[2:], cells, strict=True):
            own = comparison(table, protocol(recipe), "magsac", "log10_corner_error")
            row = own.loc[arm(f"{regularizer} {dose}", own.index)]
            yield f"{regularizer} {dose}, {recipe}", cell, interval(row)


def photo_cells(head: list[str], rows: Rows) -> Iterator[Cell]:
    table = csv("comparisons", "screening/tables")
    for label, *cells in rows:
        own = comparison(table, protocol(label), "magsac", "log10_corner_error")
        regularizer = words(label)[-1]
        fewer = own.index[own.index.str.match(rf"{regularizer}\b.* data\.train_photos=")]
        of_all = fewer[0].partition(" data.train_photos=")[0]
        for heading, cell in zip(head[1:], cells, strict=True):
            name = f"{of_all} data.train_photos={words(heading)[0]}"
            name = name if name in fewer else of_all
            numbers = interval(own.loc[name]) if name in own.index else [1.0]  # none itself
            yield f"{label}, {heading}", cell, numbers


def notebook_cells(head: list[str], rows: Rows) -> Iterator[Cell]:
    arms = csv("arms").query("protocol == 'notebook'").set_index(["estimator", "arm"])
    losses = csv("training_arms").query("protocol == 'notebook'").set_index("arm")
    # The words of a row's label, and the means of which estimator it shows.
    shown = {
        "matches": ("dlt_raw", "match_count_median"),
        "precision": ("dlt_raw", "precision_3px_median", "recall_3px_median"),
        "RMSE": ("dlt_raw", "rmse_notebook_gray_median"),
        "κ": ("dlt_raw", "kappa_notebook_median"),
        "raw pixels": ("dlt_raw", "failed_percent"),
        "normalized": ("dlt", "failed_percent"),
        "MAGSAC": ("magsac", "auc_5px", "failed_percent"),
    }
    for label, *cells in rows:
        if "the original's" in label:  # numbers of its notebook
            continue
        for of_arm, cell in zip(head[1:], cells, strict=True):
            name = arm(of_arm, arms.index.get_level_values("arm"))
            if label.startswith("loss"):
                own = losses.reindex([name]).iloc[0]
                numbers = [own["final_train_loss_mean"], own["final_val_loss_mean"]]
            else:
                estimator, *columns = next(shown[word] for word in shown if word in label)
                own = arms.loc[estimator, name]
                numbers = [own[f"{column}_mean"] for column in columns]
            numbers = list(np.log10(numbers)) if "log₁₀" in label else numbers
            yield f"{label}, {of_arm}", cell, [] if np.isnan(numbers).any() else numbers


def claim_cells(head: list[str], rows: Rows) -> Iterator[Cell]:
    claims = csv("claims").astype({"claim": str}).set_index(["protocol", "claim"])
    for label, *cells in rows:
        for recipe, cell in zip(head[1:], cells, strict=True):
            row = claims.loc[protocol(recipe), label.partition(".")[0]]
            verdicts = {one.partition(": ")[2] for one in row["by_estimator"].split("; ")}
            said = {re.sub(r" by \w+$", "", part.strip()) for part in cell.split(",")}
            assert said == verdicts, (label, recipe)
            yield f"{label}, {recipe}", "", []


def rate_cells(head: list[str], rows: Rows) -> Iterator[Cell]:
    rates = csv("learning_rates", "tuned/tables").set_index(
        ["recipe", "regularizer", "learning_rate"]
    )
    for label, *cells in rows:
        recipe = next(recipe for recipe in PROTOCOLS if recipe in label)
        for heading, cell in zip(head[1:], cells, strict=True):
            mantissa, *power = heading.split("·")
            rate = float(words(power[0] if power else mantissa)[0])
            rate *= float(mantissa) if power else 1
            near = [key for key in rates.index if np.isclose(key[2], rate, rtol=1e-6)]
            run = [key for key in near if key[:2] == (recipe, words(label)[-1])]
            numbers = [10 ** rates.loc[key, "magsac/log10_corner_error"] for key in run]
            yield f"{label}, {heading}", cell, numbers


def ablation_cells(head: list[str], rows: Rows) -> Iterator[Cell]:
    read = csv("ablation", "ablation/tables").set_index("correction")
    arms = csv("arms", "ablation/tables")
    arms = arms.set_index(arms["arm"].str.partition("correction=")[2])
    assert [label.partition(":")[0] for label, *_ in rows] == list(read.index)
    for label, *cells in rows:
        name = label.partition(":")[0]
        medians = ["match_count_median", "precision_3px_median", "recall_3px_median"]
        numbers = [arms.loc[name, f"{column}_mean"] for column in [*medians, "failed_percent"]]
        numbers += [read.loc[name, "error"], np.log10(read.loc[name, "kappa"])]
        for heading, cell, number in zip(head[1:], cells, numbers, strict=True):
            yield f"{label}, {heading}", cell, [number] if np.isfinite(number) else []


def longer_cells(head: list[str], rows: Rows) -> Iterator[Cell]:
    """The run of a seed in the study, and one on three times as many patch pairs."""
    studies = [("tables", "corrected"), ("longer/tables", "corrected@longer")]
    for (folder, study), (label, *cells) in zip(studies, rows, strict=True):
        runs = csv("runs", folder)
        runs = runs[(runs["protocol"] == study) & (runs["seed"] == 200)].set_index("arm")
        metrics = runs.filter(like="metrics.magsac/").astype(float)
        errors = 10 ** metrics["metrics.magsac/log10_corner_error"]
        numbers = [
            value
            for name in ("none", "dropout")
            for value in (
                errors[name],
                metrics.loc[name, "metrics.magsac/auc_5px"],
                metrics.loc[name, "metrics.magsac/precision_3px"],
            )
        ]
        numbers.append(errors["dropout"] / errors["none"])
        for heading, cell, number in zip(head[1:], cells, numbers, strict=True):
            yield f"{label}, {heading}", cell, [number]


# By what the head and the first label of a table look like.
READERS: dict[str, Callable[[list[str], Rows], Iterator[Cell]]] = {
    r"`recipe=\w+`.*\|seeds\|": level_cells,
    r"\|l2\|.*\n(cosine|strong)": difference_cells,
    r"regularizer\|dose\|": dose_cells,
    r"\|\d+ photographs": photo_cells,
    r"\|none\|.*\nloss": notebook_cells,
    r"correction\|": ablation_cells,
    r"claim\|": claim_cells,
    r"error \(px\) on validation": rate_cells,
    r"trained on\|": longer_cells,
}


@pytest.mark.parametrize("looks", READERS)
def test_the_page_shows_the_numbers_of_its_tables(looks: str):
    cells = [
        cell
        for head, *rows in tables()
        if re.match(looks, "|".join(head) + "|\n" + rows[0][0])
        for cell in READERS[looks](head, rows)
    ]
    assert len(cells) >= 12
    assert [cell for cell in cells if not fits(*cell[1:])] == []
