"""A page to look at an evaluation: all its rows, and pictures of the worst pairs."""

import json
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pandas as pd
from jinja2 import Environment, PackageLoader, StrictUndefined

from homoreg.descriptors.descriptor import Descriptor
from homoreg.evaluation.benchmarks import Benchmark
from homoreg.evaluation.figures import card_figure
from homoreg.evaluation.pair import match_pair, observe
from homoreg.evaluation.table import EvaluationProtocol, identity, label
from homoreg.files import atomic_path, write_text
from homoreg.progress import progress

JPEG_QUALITY = 75


@dataclass(frozen=True)
class Column:
    """How the page shows a column of the table.

    Attributes:
        name: in the table.
        heading: with the unit where there is one.
        help: what it is, in a sentence; shown on the heading and in the legend.
        decimals: of a number.
        main: shown from the start; the others on demand.
    """

    name: str
    heading: str
    help: str = ""
    decimals: int = 3
    main: bool = True


WHO = (
    Column("pair_id", "pair", "The pair's id in its benchmark."),
    Column("descriptor", "descriptor", "A trained run by arm and seed, or a baseline by its name."),
    Column("estimator", "by", "How the homography was estimated from the matches."),
    Column("status", "status", "ok, or why there is no estimate."),
)
METRICS = (
    Column("keypoints_1", "keypoints 1", "Keypoints detected in view 1.", 0, False),
    Column("keypoints_2", "keypoints 2", "Keypoints detected in view 2.", 0, False),
    Column(
        "repeatable",
        "repeatable",
        "Keypoints of view 1 with one of view 2 within 3 px of their true place: all that any "
        "descriptor can match.",
        0,
        False,
    ),
    Column("match_count", "matches", "Matches that the descriptor found.", 0),
    Column("correct_3px", "right", "Matches within 3 px of their true place in view 2.", 0, False),
    Column("precision_1px", "precision 1 px", "Matches within 1 px over all matches.", 3, False),
    Column("precision_3px", "precision 3 px", "Matches within 3 px over all matches."),
    Column("precision_5px", "precision 5 px", "Matches within 5 px over all matches.", 3, False),
    Column("recall_3px", "recall 3 px", "Matches within 3 px over repeatable keypoints."),
    Column(
        "corner_error_px",
        "corner error (px)",
        "Mean distance of view 1's four corners under the estimate from where the truth puts them; "
        "infinite for a failed estimate and for one that folds the view.",
        2,
    ),
    Column(
        "corner_error_rms_px",
        "RMS (px)",
        "Root mean square of the four corner errors, to hold the predicted one against.",
        2,
    ),
    Column(
        "predicted_corner_error_px",
        "predicted (px)",
        "RMS corner error that the matches' own scatter predicts, without knowing the truth.",
        2,
    ),
    Column("inliers", "used", "Matches that the final solve used.", 0),
    Column(
        "kappa",
        "κ",
        "σ₁/σ₈ of the normalized system: how well the points determine a homography; 1 is best.",
        2,
    ),
    Column(
        "fit_gap",
        "fit gap",
        "σ₈/σ₉ of the normalized system: signal over residual; large for a clean fit.",
        2,
    ),
    Column("kappa_raw", "κ raw", "σ₁/σ₈ of the system in raw pixels.", 0, False),
    Column(
        "kappa_notebook",
        "κ notebook",
        "Largest over smallest singular value of all matches in raw pixels, as the study had it: "
        "it measures the residual.",
        0,
        False,
    ),
    Column("dop", "dop", "Pixels of RMS corner error for each pixel of noise.", 2, False),
    Column(
        "hull_fraction",
        "hull",
        "Area of the convex hull of the points used, over the area of view 1.",
        3,
    ),
    Column(
        "rmse_gray",
        "RMSE (gray)",
        "View 2 warped back against view 1, where both are valid, in gray levels 0 to 255.",
        1,
    ),
    Column("ssim", "SSIM", "Structural similarity of the same two pictures; 1 is best."),
    Column("overlap_fraction", "overlap", "Part of view 1 that was compared.", 3, False),
    Column("rmse_identity_gray", "RMSE identity", "RMSE of the views as they lie.", 1, False),
    Column("rmse_oracle_gray", "RMSE truth", "RMSE under the true homography.", 1, False),
    Column(
        "rmse_notebook_gray",
        "RMSE notebook",
        "The study's RMSE, over the whole frame and warped the wrong way.",
        1,
        False,
    ),
    Column("describe_ms", "describe (ms)", "Describing both views.", 0, False),
    Column("match_ms", "match (ms)", "Matching the descriptors.", 1, False),
    Column("estimate_ms", "estimate (ms)", "Estimating the homography.", 1, False),
)


def write_gallery(
    table: pd.DataFrame,
    benchmark: Benchmark,
    descriptors: Sequence[Descriptor],
    protocol: EvaluationProtocol,
    folder: Path,
    max_pictures: int,
    command: str = "python -m homoreg.evaluate runs=…",
) -> Path:
    """Write ``index.html`` with every row of an evaluation, and ``pairs/*.jpg`` of its worst pairs.

    The page needs nothing but itself and its pictures: no server, no network.

    Args:
        table: of the evaluation, all descriptors and estimators.
        benchmark: that was judged on; its pairs are read again for the pictures.
        descriptors: those of the table; a picture for each.
        protocol: that they were judged by.
        folder: the gallery's own; pictures of an earlier gallery are removed.
        max_pictures: pairs that get pictures, from the worst; 0 for none.
        command: that made the evaluation; with ``pair=ID`` it draws any other pair.

    Returns:
        The page's path.
    """
    ranked = worst_first(_with_labels(table))
    for old in (folder / "pairs").glob("*.jpg"):
        old.unlink()
    chosen = ranked["pair_id"].drop_duplicates().tolist()[:max_pictures]
    pictures: dict[str, dict[str, str]] = {}
    for pair_id in progress(chosen, "pictures of the worst pairs"):
        pair = benchmark.pair(pair_id)
        observation = observe(pair, protocol.detector)
        pictures[pair_id] = {}
        for number, descriptor in enumerate(descriptors, start=1):
            matches = match_pair(descriptor, pair, observation, protocol.matcher)
            figure = card_figure(pair, observation, matches, protocol.estimators)
            file = f"pairs/{_file_stem(pair_id)}_{number:02d}.jpg"
            with atomic_path(folder / file) as temporary:
                figure.savefig(temporary, pil_kwargs={"quality": JPEG_QUALITY})
            pictures[pair_id][label(identity(descriptor))] = file
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
    known = {column.name for column in (*WHO, *METRICS)}
    columns = [column for column in (*WHO, *METRICS) if column.name in table]
    # Columns that this page has no words for are shown all the same.
    for name in map(str, table.columns.difference(list(known), sort=False)):
        decimals = 0 if pd.api.types.is_integer_dtype(table[name]) else 3
        columns.append(Column(name, name.replace("_", " "), decimals=decimals, main=False))
    shown = table[[column.name for column in columns]]
    gallery = {
        "columns": [
            asdict(column) | {"numeric": pd.api.types.is_numeric_dtype(table[column.name])}
            for column in columns
        ],
        "rows": [[_plain(value) for value in row] for row in shown.itertuples(index=False)],
        # As the evaluation had them, which is the order in which cards stand.
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
        columns=[column for column in columns if column.help],
        pairs=table["pair_id"].nunique(),
        pictured=len(pictures),
        command=command,
        # Python writes Infinity and NaN as JavaScript reads them; "<" could end the script.
        data=json.dumps(gallery, ensure_ascii=False, separators=(",", ":")).replace("<", "\\u003c"),
    )


def _with_labels(table: pd.DataFrame) -> pd.DataFrame:
    """``descriptor`` becomes the label that tells all descriptors of the table apart."""
    who = table[["descriptor", "regularizer", "seed"]].astype(object)
    labels = who.where(who.notna(), None).apply(lambda row: label(row.to_dict()), axis=1)
    return table.assign(descriptor=labels).reset_index(drop=True)


def _plain(value: Any) -> Any:
    """A cell for JSON; floats at six digits, which is more than the page shows."""
    if pd.isna(value):
        return None
    if isinstance(value, float):
        return float(f"{value:.6g}")
    return value.item() if hasattr(value, "item") else value


def _file_stem(pair_id: str) -> str:
    """A different plain file name for each id, whatever is in it.

    >>> _file_stem("v_boat/1-3")
    'v_boat=2F1-3'
    """
    return re.sub("%", "=", quote(pair_id, safe=""))
