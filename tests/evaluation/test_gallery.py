"""The gallery: whole, self-contained, sorted and opened by a real browser."""

import html
import json
import re
from pathlib import Path
from urllib.parse import unquote

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from tests.baselines import PROTOCOL, Orb, RootSift
from tests.pages import Page, browse

from homoreg.evaluation import ManifestBenchmark, evaluate_benchmark
from homoreg.evaluation.gallery import page_columns, render_page, worst_first, write_gallery
from homoreg.evaluation.table import ranked_pairs
from homoreg.metrics import COLUMNS

DESCRIPTORS = [RootSift(support=32), Orb(support=32)]


@pytest.fixture(scope="module")
def table(prepared: Path) -> pd.DataFrame:
    return evaluate_benchmark(
        DESCRIPTORS, ManifestBenchmark(prepared / "pairs_eval.json"), PROTOCOL
    )


@pytest.fixture(scope="module")
def page(table: pd.DataFrame, prepared: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A gallery of four pairs, the worst two with pictures."""
    folder = tmp_path_factory.mktemp("gallery")
    (folder / "pairs").mkdir()
    (folder / "pairs" / "of an earlier gallery.jpg").write_bytes(b"")
    benchmark = ManifestBenchmark(prepared / "pairs_eval.json")
    return write_gallery(table, benchmark, DESCRIPTORS, PROTOCOL, folder, max_pictures=2)


def rows_of_numbers() -> pd.DataFrame:
    """Seven pairs of one descriptor with every kind of number, and a name to be careful with."""
    kappa = [3.0, np.nan, 12.5, np.inf, 100.0, 12.5, -np.inf]
    return pd.DataFrame(
        dict.fromkeys(COLUMNS, 0)
        | {
            "descriptor": ["</script><b>", *["cnn"] * 6],
            "regularizer": ["", *["l2"] * 6],
            "seed": pd.array([None, *[0] * 6], "Int64"),
            "pair_id": ["p10", "p9", "p1", "a/b & c", "p3", "p4", "p5"],
            "estimator": "dlt",
            "status": ["ok", "degenerate", "ok", "ok", "too_few_matches", "ok", "ok"],
            "corner_error_px": [1.0, np.inf, 7.0, np.inf, np.inf, 2e7, 1.005],
            "kappa": kappa,
            "inliers": range(7),
        }
    )


@pytest.fixture(scope="module")
def numbers_page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("numbers") / "index.html"
    text = render_page(rows_of_numbers(), "eval", {}, "python -m homoreg.evaluate runs=a")
    path.write_text(text, encoding="utf-8")
    return path


def data_of(page: Path) -> dict:
    """The data that the page's script reads."""
    line = re.search(r"^const gallery = (.*)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return json.loads(line.group(1))


def test_every_column_of_the_table_is_explained() -> None:
    explained = {column.name for column in page_columns()}
    # Part of the descriptor's label, and of the page's title.
    assert set(COLUMNS) - explained == {"regularizer", "seed", "benchmark"}
    assert all(column.help.endswith(".") for column in page_columns())


def test_all_rows_are_there_worst_first(page: Path, table: pd.DataFrame) -> None:
    data = data_of(page)
    assert len(data["rows"]) == len(table) == 4 * 2 * 2
    names = [column["name"] for column in data["columns"]]
    assert set(COLUMNS) - set(names) == {"regularizer", "seed", "benchmark"}
    shown = pd.DataFrame(data["rows"], columns=names)
    assert (shown["corner_error_px"].diff().dropna() <= 0).all()
    by = ["pair_id", "descriptor", "estimator"]
    expected, found = (t.sort_values(by).reset_index(drop=True) for t in (table, shown))
    for name in ("kappa", "ssim", "match_count", "corner_error_px"):
        np.testing.assert_allclose(found[name].astype(float), expected[name], rtol=1e-5)


def test_pictures_of_the_worst_pairs_and_no_others(page: Path, table: pd.DataFrame) -> None:
    worst = ranked_pairs(table, "magsac")[::-1][:2]
    pictures = data_of(page)["pictures"]
    assert list(pictures) == worst
    files = [file for of_pair in pictures.values() for file in of_pair.values()]
    assert [list(of_pair) for of_pair in pictures.values()] == [["rootsift", "orb"]] * 2
    on_disk = {path.relative_to(page.parent).as_posix() for path in page.parent.rglob("*.jpg")}
    assert on_disk == {unquote(file) for file in files}
    for file in on_disk:
        with Image.open(page.parent / file) as picture:
            assert picture.format == "JPEG"
            assert 500 < picture.width < 1000
        assert (page.parent / file).stat().st_size < 200_000


def test_failures_stand_above_what_folds_and_ties_stay() -> None:
    ranked = worst_first(rows_of_numbers())
    assert ranked["pair_id"].tolist() == ["p9", "p3", "a/b & c", "p4", "p1", "p5", "p10"]


def test_the_page_needs_nothing_but_itself(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    parsed = Page(text)
    assert not {"link", "iframe", "object", "base", "img"} & {tag for tag, _ in parsed.tags}
    assert not any("src" in attributes for _, attributes in parsed.tags)
    assert not re.search(r"@import|url\(|https?:|fetch\(|XMLHttpRequest|import\(", text)
    assert "python -m homoreg.evaluate runs=… pair=ID" in parsed.text


def test_names_cannot_break_the_page(numbers_page: Path) -> None:
    parsed = Page(numbers_page.read_text(encoding="utf-8"))
    assert len(parsed.named("script")) == 1
    assert data_of(numbers_page)["rows"][0][1] == "</script><b>"


def test_a_table_without_rows_is_a_page() -> None:
    empty = render_page(rows_of_numbers().iloc[:0], "eval", {}, "command")
    assert "0 pairs" in empty


@pytest.mark.slow
@pytest.mark.parametrize(
    ("direction", "kappa", "pairs"),
    [
        (
            "desc",
            ["∞", "100.0", "12.5", "12.5", "3.0", "−∞", "–"],
            ["a/b & c", "p3", "p1", "p4", "p10", "p5", "p9"],
        ),
        (
            "asc",
            ["−∞", "3.0", "12.5", "12.5", "100.0", "∞", "–"],
            ["p5", "p10", "p1", "p4", "p3", "a/b & c", "p9"],
        ),
    ],
)
def test_numbers_sort_with_infinities_at_the_ends_and_absences_last(
    numbers_page: Path, tmp_path: Path, direction: str, kappa: list[str], pairs: list[str]
) -> None:
    parsed = browse(numbers_page, tmp_path, f"sort=kappa&dir={direction}")
    assert parsed.column("κ") == kappa
    assert parsed.column("pair") == pairs
    sorted_by = [th for th in parsed.named("th") if "aria-sort" in th]
    assert [th["aria-sort"] for th in sorted_by] == [f"{direction}ending"]
    assert sorted_by[0]["data-column"] == "kappa"


@pytest.mark.slow
def test_text_sorts_as_people_count_and_filters_hold(numbers_page: Path, tmp_path: Path) -> None:
    parsed = browse(numbers_page, tmp_path, "sort=pair_id&dir=asc&all=1")
    assert parsed.column("pair") == ["a/b & c", "p1", "p3", "p4", "p5", "p9", "p10"]
    assert parsed.column("inliers") == ["3", "2", "4", "5", "6", "1", "0"]
    parsed = browse(numbers_page, tmp_path, "status=failed&descriptor=cnn%20l2%200")
    # These rows were not labeled: nothing is called so, and nothing is left.
    assert parsed.column("pair") == []
    parsed = browse(numbers_page, tmp_path, "status=failed&descriptor=cnn")
    assert parsed.column("pair") == ["p9", "p3"]
    assert parsed.column("status") == ["degenerate", "too few matches"]
    assert "2 of 7 rows" in parsed.text


@pytest.mark.slow
def test_headings_are_clicked_and_pairs_opened_stepped_and_closed(
    page: Path, table: pd.DataFrame, tmp_path: Path
) -> None:
    """One visit in a browser: what each step left is noted on the body."""
    probe = """
    const note = (name, value) => document.body.dataset[name] = value
    const lines = () => [...document.querySelectorAll("#rows tbody tr")]
    const ids = () => lines().map(line => line.dataset.pair).join()
    const sort = () => document.querySelector("th[data-column=match_count] button").click()
    const steps = [
      sort,
      () => { note("falling", ids()); sort() },
      () => { note("rising", ids()); document.querySelector("#rows tbody td:last-child").click() },
      () => {
        note("opened", viewer.open + find("viewer-title").textContent)
        viewer.dispatchEvent(new KeyboardEvent("keydown", { key: "ArrowRight" }))
      },
      () => { note("next", find("viewer-title").textContent); find("close").click() },
      () => {
        note("closed", !viewer.open + location.hash)
        const requests = performance.getEntriesByType("resource").map(entry => entry.name)
        note("requests", requests.join(" "))
        follow()
      },
    ]
    // The event of closing may come late, and takes the pair out of the address.
    const follow = () => {
      if (viewer.open) return note("linked", find("viewer-title").textContent)
      location.hash = "pair-000003"
      setTimeout(follow, 50)
    }
    const run = () => { const step = steps.shift(); if (step) { step(); setTimeout(run, 50) } }
    addEventListener("load", run)
    """
    parsed = browse(page, tmp_path, probe=probe)
    (body,) = parsed.named("body")
    ranked = worst_first(table)
    falling = ranked.sort_values("match_count", ascending=False, kind="stable")
    rising = falling.sort_values("match_count", kind="stable")
    assert body["data-falling"] == ",".join(falling["pair_id"])
    assert body["data-rising"] == ",".join(rising["pair_id"])
    first, second = rising["pair_id"].unique()[:2]
    assert body["data-opened"] == f"truePair {first}"
    assert body["data-next"] == f"Pair {second}"
    assert body["data-closed"].startswith("true#")
    assert "pair-" not in body["data-closed"]
    assert body["data-linked"] == "Pair 000003"
    assert all(name.startswith("file:") for name in body["data-requests"].split())


@pytest.mark.slow
def test_a_link_opens_a_pair_with_its_descriptors_side_by_side(page: Path, tmp_path: Path) -> None:
    data = data_of(page)
    worst, files = next(iter(data["pictures"].items()))
    probe = """addEventListener("load", () => {
      const images = [...document.images]
      document.body.dataset.loaded = images.filter(image => image.naturalWidth > 500).length
      const tops = new Set(images.map(image => Math.round(image.getBoundingClientRect().top)))
      document.body.dataset.heights = tops.size
    })"""
    parsed = browse(page, tmp_path, f"pair-{worst}", probe=probe)
    (dialog,) = parsed.named("dialog")
    assert "open" in dialog
    assert [image["src"] for image in parsed.named("img")] == list(files.values())
    (body,) = parsed.named("body")
    assert (body["data-loaded"], body["data-heights"]) == ("2", "1")
    captions = [text for text in ("rootsift", "orb") if text in parsed.text]
    assert captions == ["rootsift", "orb"]

    pictured = set(data["pictures"])
    other = next(row[0] for row in data["rows"] if row[0] not in pictured)
    parsed = browse(page, tmp_path, f"pair-{other}")
    assert "open" in parsed.named("dialog")[0]
    assert parsed.named("img") == []
    assert html.unescape(parsed.text).count(f"python -m homoreg.evaluate runs=… pair={other}") == 1


@pytest.mark.slow
@pytest.mark.parametrize("width", [1400, 500])
def test_only_the_table_scrolls_sideways(page: Path, tmp_path: Path, width: int) -> None:
    probe = """addEventListener("load", () => {
      const root = document.documentElement
      document.body.dataset.overflow = root.scrollWidth - root.clientWidth
      document.body.dataset.scrolls = document.querySelector(".scroll").scrollWidth > innerWidth
    })"""
    (body,) = browse(page, tmp_path, "all=1", probe=probe, width=width).named("body")
    assert (body["data-overflow"], body["data-scrolls"]) == ("0", "true")


@pytest.mark.slow
def test_thousands_of_rows_start_with_the_worst(tmp_path: Path) -> None:
    many = pd.concat([rows_of_numbers()] * 100, ignore_index=True)
    many["pair_id"] = [f"{i:06d}" for i in range(len(many))]
    path = tmp_path / "index.html"
    path.write_text(render_page(worst_first(many), "eval", {}, "command"), "utf-8")
    parsed = browse(path, tmp_path / "profile")
    assert len(parsed.column("pair")) == 500
    assert "show the other 200 rows" in parsed.text
    assert len(browse(path, tmp_path / "profile", "rows=all").column("pair")) == 700
