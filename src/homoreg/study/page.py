"""The report: tables and figures as files, and one HTML page that needs nothing but itself."""

import base64
import io
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from jinja2 import Environment, PackageLoader, StrictUndefined
from matplotlib.figure import Figure
from PIL import Image

from homoreg.aggregates import AUC_THRESHOLDS_PX
from homoreg.files import atomic_path, write_text
from homoreg.study import figures as draw
from homoreg.study import tables

FIGURE_DPI = 200
PICTURE_WIDTH = 1400  # pixels of an embedded picture; the files keep theirs

Format = Callable[[Any], str]


@dataclass(frozen=True)
class Cell:
    """One cell: what is read, and its CSS class."""

    text: str
    kind: str = ""


@dataclass(frozen=True)
class View:
    """A table as the page shows it: ``groups`` of rows, each under its own heading (or none)."""

    headings: list[tuple[Cell, int]]  # and how many columns it spans
    groups: list[tuple[str, list[list[Cell]]]]


def number(decimals: int) -> Format:
    """A format with so many decimals; a power of ten where that would be unreadable.

    >>> [number(2)(value) for value in (3.14159, -1, 123456.7, float("inf"), float("nan"))]
    ['3.14', '−1.00', '1.2·10⁵', '∞', '–']
    """

    def format_number(value: Any) -> str:
        if pd.isna(value):
            return "–"
        if np.isinf(value):
            return "∞" if value > 0 else "−∞"
        if abs(value) >= 1e5 and decimals:
            mantissa, exponent = f"{value:.1e}".split("e")
            return f"{mantissa}·10{str(int(exponent)).translate(SUPERSCRIPT)}".replace("-", "−")
        return f"{value:.{decimals}f}".replace("-", "−")

    return format_number


SUPERSCRIPT = str.maketrans("0123456789-", "⁰¹²³⁴⁵⁶⁷⁸⁹⁻")


def as_text(value: Any) -> str:
    """Anything as it is; floats in their shortest form, an absence as a dash."""
    if pd.isna(value) or value == "":
        return "–"
    return f"{value:g}" if isinstance(value, float) else str(value)


ACCURACY = ["match_count", "precision_3px", "recall_3px", "corner_error_px"]
STABILITY = ["predicted_corner_error_px", "kappa", "log10_kappa"]
PICTURES = ["rmse_gray", "ssim", "rmse_notebook_gray", "rmse_identity_gray", "rmse_oracle_gray"]


def write_report(
    folder: Path,
    *,
    title: str,
    runs: pd.DataFrame,
    epochs: pd.DataFrame,
    rows: pd.DataFrame,
    pictures: Mapping[str, Path],
) -> Path:
    """Write ``index.html``, ``tables/*.csv`` and ``figures/*.png`` and ``.svg`` into ``folder``.

    Args:
        folder: the report's own; files of an earlier report are replaced.
        title: the study's name.
        runs: a row per run, as :mod:`homoreg.study.tables` describes it, with an ``arm``, and
            ``evaluation_csv`` and ``metrics_csv`` relative to ``folder`` (empty where missing).
        epochs: a row per epoch of the finished runs; may be empty.
        rows: a row per model, pair and estimator; may be empty.
        pictures: image files to show on the page, by caption.

    Returns:
        The page's path.
    """
    done = runs[runs["status"] == "done"]
    written = {
        "runs": runs.assign(overrides=runs["overrides"].map(" ".join)),
        "training": tables.training_table(done),
    }
    figures: dict[str, Figure] = {}
    if len(epochs):
        written["epochs"] = epochs
        styles = draw.arm_styles(epochs["arm"])
        figures["loss"] = draw.loss_curves(epochs, styles)
    relations = [r for r in draw.RELATIONS if r.x in rows and r.y in rows]
    estimators = list(dict.fromkeys(rows["estimator"])) if len(rows) else []
    # The study is about DLT; robust estimators have their boxes, tables and recall curves.
    primary = "dlt" if "dlt" in estimators else next(iter(estimators), "")
    if estimators:
        styles = draw.arm_styles(rows["arm"])
        written["evaluation"] = rows
        written["models"] = tables.model_table(rows)
        figures["recall"] = draw.recall_curves(rows, styles)
        for estimator in estimators:
            of_estimator = rows[rows["estimator"] == estimator]
            figures[f"boxes_{estimator}"] = draw.box_plots(of_estimator, styles)
    lines = {r.name: tables.regression(rows, r.x, r.y) for r in relations}
    if relations:
        written["regression"] = pd.concat(lines.values())
    for relation in relations:
        of_primary = lines[relation.name]["estimator"] == primary
        figures[relation.name] = draw.scatter(
            rows[rows["estimator"] == primary], lines[relation.name][of_primary], relation, styles
        )

    for name, table in written.items():
        with atomic_path(folder / "tables" / f"{name}.csv") as path:
            table.to_csv(path, index=False)
    images = {name: _save_figure(figure, folder, name) for name, figure in figures.items()}

    environment = Environment(
        loader=PackageLoader("homoreg.study"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    page = environment.get_template("report.html.j2").render(
        title=title,
        notes=_notes(runs, rows),
        arms=tables.order_arms(done["arm"]),
        seeds=done["seed"].nunique(),
        done=len(done),
        pairs=rows["pair_id"].nunique() if estimators else 0,
        benchmark=", ".join(rows["benchmark"].unique()) if estimators else "",
        estimators=estimators,
        primary=primary,
        relations=relations,
        views=_views(written),
        images=images,
        pictures={caption: _embed_picture(path) for caption, path in pictures.items()},
        facts=_facts(done),
        links=_links(runs),
    )
    write_text(folder / "index.html", page)
    return folder / "index.html"


def _notes(runs: pd.DataFrame, rows: pd.DataFrame) -> list[str]:
    """What a reader must know before comparing anything."""
    notes = [
        f"{run} is {status}, not done, and left out of the tables."
        for run, status in zip(runs["run"], runs["status"], strict=True)
        if status != "done"
    ]
    done = runs[runs["status"] == "done"]
    notes += [
        f"{run} has no table of the benchmark; homoreg.evaluate makes one."
        for run in done.loc[done["evaluation_csv"] == "", "run"]
    ]
    if done["manifest_hash"].nunique() > 1:
        notes.append("The runs come from different manifests: their numbers do not compare.")
    if len(rows):
        judged = rows.groupby(["estimator", "arm", "run"])["pair_id"].agg(frozenset)
        if judged.nunique() > 1:
            notes.append("Not all models judged the same pairs: compare no AUC between those.")
    return notes


def _views(written: dict[str, pd.DataFrame]) -> dict[str, View]:
    views = {"training": _training_view(written["training"]), "runs": _runs_view(written["runs"])}
    if "models" in written:
        models = written["models"]
        aucs = {f"auc_{t}px": f"AUC {t} px" for t in AUC_THRESHOLDS_PX}
        failures = {
            f"{status}_percent": f"{status.replace('_', ' ')} (%)"
            for status in tables.FAILURES
            if models[f"{status}_percent"].any()
        }
        views["accuracy"] = _model_view(models, {**aucs, "failed_percent": "failed (%)"}, ACCURACY)
        views["stability"] = _model_view(models, {}, STABILITY)
        views["pictures"] = _model_view(models, {}, PICTURES)
        if failures:
            views["failures"] = _model_view(models, failures, [])
    return views


def _training_view(table: pd.DataFrame) -> View:
    losses = number(4)
    known: dict[str, tuple[str, Format]] = {
        "arm": ("arm", as_text),
        "seed": ("seed", as_text),
        "final_train_loss": ("training loss", losses),
        "final_val_loss": ("validation loss", losses),
        "epochs": ("epochs", as_text),
        "patch": ("patch (px)", as_text),
        "offset_px": ("offset (± px)", as_text),
        "batch": ("batch", as_text),
        "optimizer": ("optimizer", as_text),
        "dropout": ("dropout", as_text),
        "weight_decay": ("weight decay", as_text),
        "device": ("device", as_text),
    }
    return _plain_view(table, {key: value for key, value in known.items() if key in table})


def _runs_view(table: pd.DataFrame) -> View:
    seconds: dict[str, tuple[str, Format]] = {
        name: (f"{name.removeprefix('seconds.')} (s)", number(0))
        for name in map(str, table)
        if name.startswith("seconds.")
    }
    known: dict[str, tuple[str, Format]] = {
        "run": ("run", as_text),
        "status": ("status", as_text),
        "overrides": ("overrides", as_text),
        "config_hash": ("config", lambda value: as_text(value)[:8]),
        **seconds,
        "patch_pairs_per_second": ("patch pairs/s", number(0)),
    }
    return _plain_view(table, {key: value for key, value in known.items() if key in table})


def _plain_view(table: pd.DataFrame, columns: dict[str, tuple[str, Format]]) -> View:
    kinds = {key: "" if pd.api.types.is_numeric_dtype(table[key]) else "text" for key in columns}
    rows = [
        [Cell(columns[key][1](record[key]), kinds[key]) for key in columns]
        for record in table.to_dict("records")
    ]
    headings = [(Cell(columns[key][0], kinds[key]), 1) for key in columns]
    return View(headings, [("", rows)])


def _model_view(models: pd.DataFrame, plain: dict[str, str], metrics: list[str]) -> View:
    """Rows by estimator; ``plain`` columns with one decimal, ``metrics`` as median and quartiles.

    References (the same for all models) show their median alone.
    """
    metrics = [name for name in metrics if f"{name}_median" in models]
    spans = [1 if _is_reference(name) else 2 for name in metrics]
    headings = [(Cell("model", "text"), 1)]
    headings += [(Cell(text), 1) for text in ("seed", "n", *plain.values())]
    headings += [
        (Cell(tables.METRICS[name].label), span) for name, span in zip(metrics, spans, strict=True)
    ]
    groups = []
    for estimator in dict.fromkeys(models["estimator"]):
        rows = []
        for record in models[models["estimator"] == estimator].to_dict("records"):
            row = [
                Cell(record["arm"], "text"),
                Cell(as_text(record["seed"])),
                Cell(str(record["pairs"])),
                *(Cell(number(1)(record[key])) for key in plain),
            ]
            for name in metrics:
                show = number(tables.METRICS[name].decimals)
                row.append(Cell(show(record[f"{name}_median"])))
                if not _is_reference(name):
                    q1, q3 = show(record[f"{name}_q1"]), show(record[f"{name}_q3"])
                    row.append(Cell(f"{q1} to {q3}", "quartiles"))
            rows.append(row)
        groups.append((estimator, rows))
    return View(headings, groups)


def _is_reference(metric: str) -> bool:
    return metric in ("rmse_identity_gray", "rmse_oracle_gray")


def _facts(done: pd.DataFrame) -> list[tuple[str, str]]:
    """What all runs have in common, each value once."""
    names = {"device": "device", "git_revision": "git revision", "manifest_hash": "manifest"}
    facts = [
        (label, ", ".join(dict.fromkeys(map(as_text, done[column]))))
        for column, label in names.items()
        if column in done
    ]
    versions = [
        f"{column.removeprefix('versions.')} {'/'.join(dict.fromkeys(map(as_text, done[column])))}"
        for column in map(str, done.columns)
        if column.startswith("versions.")
    ]
    return [*facts, ("versions", ", ".join(versions))]


def _links(runs: pd.DataFrame) -> list[tuple[str, list[str]]]:
    return [
        (record["run"], [record[key] for key in ("evaluation_csv", "metrics_csv") if record[key]])
        for record in runs.to_dict("records")
    ]


def _save_figure(figure: Figure, folder: Path, name: str) -> str:
    """Save as PNG and SVG; return the SVG as a data address."""
    with atomic_path(folder / "figures" / f"{name}.png") as path:
        figure.savefig(path, dpi=FIGURE_DPI)
    with atomic_path(folder / "figures" / f"{name}.svg") as path, draw.look():
        figure.savefig(path, dpi=FIGURE_DPI, metadata={"Date": None})
        return _data_address("image/svg+xml", path.read_bytes())


def _embed_picture(path: Path) -> str:
    """A picture as a data address, brought down to a page's width."""
    with Image.open(path) as image:
        small = image.convert("RGB")
    small.thumbnail((PICTURE_WIDTH, 4 * PICTURE_WIDTH))
    buffer = io.BytesIO()
    small.save(buffer, "JPEG", quality=85)
    return _data_address("image/jpeg", buffer.getvalue())


def _data_address(media_type: str, content: bytes) -> str:
    return f"data:{media_type};base64,{base64.b64encode(content).decode()}"
