"""The gallery: a page with all rows of an evaluation and pictures of its worst pairs."""

import json
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pandas as pd
from jinja2 import Environment, PackageLoader, StrictUndefined

from homoreg.aggregates import failed
from homoreg.evaluation.benchmarks import Benchmark
from homoreg.evaluation.calibration import Calibration
from homoreg.evaluation.figures import card_figure
from homoreg.evaluation.pair import Method, match_pair, observe
from homoreg.evaluation.table import EvaluationProtocol, identity, label, ranked_pairs
from homoreg.files import write_text
from homoreg.metrics import METRICS
from homoreg.plotting import save_figure
from homoreg.progress import progress

JPEG_QUALITY = 75


@dataclass(frozen=True)
class Column:
    """How the page shows a column of the table.

    Attributes:
        name: in the table.
        heading: with the unit where there is one.
        help: one sentence, for the heading's tooltip and the legend.
        decimals: of a number.
        main: shown from the start; the others on demand.
    """

    name: str
    heading: str
    help: str
    decimals: int = 0
    main: bool = True


# Id columns of the page with their headings and explanations; the registry's follow them.
ID_COLUMNS = (
    Column("pair_id", "pair", "The pair's id in its benchmark."),
    Column("descriptor", "descriptor", "A trained run by arm and seed, or a baseline or system."),
    Column("estimator", "estimator", "How the homography was estimated from the matches."),
    Column("status", "status", "ok, or why the estimate failed."),
    Column("photo", "photo", "The photograph or sequence that the pair is of.", main=False),
    Column("group", "group", "The group of pairs that it is summarized with.", main=False),
)
# Metrics that are shown from the start; the others are shown on demand.
MAIN_METRICS = (
    *("match_count", "precision_3px", "recall_3px"),
    *("corner_error_px", "corner_error_rms_px", "predicted_corner_error_px", "bound_90_px"),
    *("inliers", "kappa", "fit_gap", "hull_fraction", "rmse_gray", "ssim"),
)


def page_columns() -> tuple[Column, ...]:
    """What the page shows of a row; metrics of your own are registered by the time it is called."""
    metrics = (
        Column(name, metric.heading, metric.description, metric.decimals, name in MAIN_METRICS)
        for name, metric in METRICS.items()
    )
    return (*ID_COLUMNS, *metrics)


def write_gallery(
    table: pd.DataFrame,
    benchmark: Benchmark,
    descriptors: Sequence[Method],
    protocol: EvaluationProtocol,
    folder: Path,
    max_pictures: int,
    command: str = "python -m homoreg.evaluate runs=…",
    calibration: Calibration | None = None,
) -> Path:
    """Write ``index.html`` with every row of an evaluation, and ``pairs/*.jpg`` of its worst pairs.

    The page needs no server and no network.

    Args:
        table: all rows of the evaluation.
        benchmark: of the evaluation; its pairs are read again for the pictures.
        descriptors: those of the table, systems included; a picture for each.
        protocol: of the evaluation.
        folder: of the gallery alone; pictures of an earlier gallery are removed.
        max_pictures: at most so many pairs get pictures, from the worst.
        command: that made the evaluation; with ``pair=ID`` it draws any other pair.
        calibration: of the evaluation.

    Returns:
        The page's path.
    """
    ranked = worst_first(_with_labels(table))
    for old in (folder / "pairs").glob("*.jpg"):
        old.unlink()
    calibration = calibration or Calibration()
    chosen = ranked_pairs(table, protocol.main_estimator)[::-1][:max_pictures]
    pictures: dict[str, dict[str, str]] = {}
    for pair_id in progress(chosen, "pictures of the worst pairs"):
        pair = benchmark.pair(pair_id)
        observation = observe(pair, protocol.detector)
        pictures[pair_id] = {}
        for number, descriptor in enumerate(descriptors, start=1):
            matches = match_pair(descriptor, pair, observation, protocol.matcher)
            name = label(identity(descriptor))
            estimators = calibration.estimators(name, protocol.estimators)
            factors = calibration.factors(name, protocol.estimators)
            figure = card_figure(pair, observation, matches, estimators, factors)
            file = f"pairs/{_file_stem(pair_id)}_{number:02d}.jpg"
            save_figure(figure, folder / file, pil_kwargs={"quality": JPEG_QUALITY})
            pictures[pair_id][name] = file
    write_text(folder / "index.html", render_page(ranked, benchmark.name, pictures, command))
    return folder / "index.html"


def worst_first(table: pd.DataFrame) -> pd.DataFrame:
    """The rows by corner error, largest first, and failed estimates above all; ties as they were.

    >>> errors = [2.0, float("inf"), float("inf")]
    >>> rows = {"status": ["ok", "ok", "degenerate"], "corner_error_px": errors}
    >>> worst_first(pd.DataFrame(rows)).index.tolist()
    [2, 1, 0]
    """
    order = pd.DataFrame(
        {"ok": table["status"] == "ok", "error": -table["corner_error_px"]}
    ).sort_values(["ok", "error"], kind="stable")
    return table.loc[order.index]


def render_page(
    table: pd.DataFrame, benchmark: str, pictures: dict[str, dict[str, str]], command: str
) -> str:
    """The page as text.

    Args:
        table: rows in the order they are first shown in.
        benchmark: its name.
        pictures: files relative to the page, by pair and descriptor.
        command: see :func:`write_gallery`.
    """
    columns = page_columns()
    shown = table[[column.name for column in columns]]
    gallery = {
        "columns": [
            asdict(column) | {"numeric": pd.api.types.is_numeric_dtype(table[column.name])}
            for column in columns
        ],
        "rows": [[_plain(value) for value in row] for row in shown.itertuples(index=False)],
        # In the order of the evaluation, which is that of the cards.
        "descriptors": table.sort_index()["descriptor"].drop_duplicates().tolist(),
        "estimators": table.sort_index()["estimator"].drop_duplicates().tolist(),
        "pictures": {
            pair_id: {name: quote(file) for name, file in files.items()}
            for pair_id, files in pictures.items()
        },
        "command": command,
    }
    environment = Environment(
        loader=PackageLoader("homoreg.evaluation"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("gallery.html.j2").render(
        benchmark=benchmark,
        gallery=gallery,
        columns=columns,
        pairs=table["pair_id"].nunique(),
        pictured=len(pictures),
        command=command,
        # Python writes Infinity and NaN as JavaScript reads them; "<" could end the script.
        data=json.dumps(gallery, ensure_ascii=False, separators=(",", ":")).replace("<", "\\u003c"),
    )


def _with_labels(table: pd.DataFrame) -> pd.DataFrame:
    """``descriptor`` as the label that tells all of them apart, ``status`` with ``"folded"``."""
    models = table[["descriptor", "regularizer", "seed"]].astype(object)
    labels = models.where(models.notna(), None).apply(lambda row: label(row.to_dict()), axis=1)
    status = table["status"].mask(failed(table) & (table["status"] == "ok"), "folded")
    return table.assign(descriptor=labels, status=status).reset_index(drop=True)


def _plain(value: Any) -> Any:
    """A cell for JSON; floats have six digits, which is more than the page shows."""
    if pd.isna(value):
        return None
    if isinstance(value, float):
        return float(f"{value:.6g}")
    return value.item() if hasattr(value, "item") else value


def _file_stem(pair_id: str) -> str:
    """A plain file name, unique for each id.

    >>> _file_stem("v_boat/1-3")
    'v_boat=2F1-3'
    """
    return re.sub("%", "=", quote(pair_id, safe=""))
