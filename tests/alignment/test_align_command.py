"""The command as a user runs it."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from omegaconf import OmegaConf
from PIL import Image
from tests.commands import run, succeed
from tests.conftest import small_photos

from homoreg.align import check_options
from homoreg.alignment.folder import photographs_in
from homoreg.errors import HomoregError
from homoreg.files import conf_dir
from homoreg.geometry import corner_error

PHOTOS = small_photos()
PHOTO = PHOTOS["photo_0.jpg"]
SHIFT = np.array([[1.0, 0, -60], [0, 1, -20], [0, 0, 1]])


@pytest.fixture(scope="module")
def photographs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two parts of a photograph, another one, a damaged file and a text."""
    folder = tmp_path_factory.mktemp("photographs")
    Image.fromarray(PHOTO[:, :150]).save(folder / "b left (1).png")
    Image.fromarray(PHOTO[20:, 60:]).save(folder / "a_right.png")
    Image.fromarray(PHOTOS["photo_5.jpg"]).save(folder / "c_other.jpg")
    (folder / "d_damaged.jpg").write_bytes((folder / "c_other.jpg").read_bytes()[:900])
    (folder / "notes.txt").write_text("no photograph")
    return folder


def test_two_photographs(photographs: Path, tmp_path: Path) -> None:
    ended = succeed(
        tmp_path,
        "align",
        f"image1={photographs / 'b left (1).png'}",
        f"image2={photographs / 'a_right.png'}",
        "descriptor=rootsift",
        "panorama=both.png",
        "hydra.run.dir=out",
    )
    stored = json.loads((tmp_path / "out" / "alignment.json").read_text())
    assert ended.stdout.splitlines()[:2] == [stored["verdict"], stored["calibration"]]
    assert stored["verdict"].startswith("aligned to within ")
    assert stored["image1"].endswith("b left (1).png")
    assert (stored["size1"], stored["size2"]) == ([150, 180], [180, 160])
    assert {"homoreg", "opencv", "numpy"} <= stored["versions"].keys()
    error_px = corner_error(stored["homography"], SHIFT, (150, 180))
    assert error_px < stored["bound_90_px"] < 3
    with Image.open(tmp_path / "out" / "alignment.png") as picture:
        assert picture.width == 1000
    with Image.open(tmp_path / "both.png") as panorama:
        assert np.abs(np.subtract(panorama.size, (240, 180))).max() <= 2


def test_a_folder_with_photographs_that_cannot_be_aligned(
    photographs: Path, tmp_path: Path
) -> None:
    ended = succeed(
        tmp_path, "align", f"images={photographs}", "descriptor=rootsift", "hydra.run.dir=out"
    )
    table = pd.read_csv(tmp_path / "out" / "alignment.csv", index_col="photograph")
    assert list(table["status"]) == ["aligned", "failed", "failed"]
    assert list(table["turn_deg"].fillna(-1)) == [0, 0, -1]
    left, other, damaged = (
        table.loc[name] for name in ("b left (1).png", "c_other.jpg", "d_damaged.jpg")
    )
    matrix = left[[f"h{i}{j}" for i in (1, 2, 3) for j in (1, 2, 3)]].to_numpy(float).reshape(3, 3)
    assert corner_error(matrix, SHIFT, (150, 180)) < 1
    assert np.isnan(other["h11"])
    assert "matches" in other["verdict"]
    assert "d_damaged.jpg: damaged image" in damaged["verdict"]
    files = {file.name for file in (tmp_path / "out").glob("*.json")}
    assert files == {"b left (1).png.json", "c_other.jpg.json"}
    assert "3 photographs with a_right.png: 1 aligned, 0 uncertain, 2 failed" in ended.stdout


def test_a_failed_alignment_makes_no_panorama(photographs: Path, tmp_path: Path) -> None:
    ended = succeed(
        tmp_path,
        "align",
        f"image1={photographs / 'b left (1).png'}",
        f"image2={photographs / 'c_other.jpg'}",
        "descriptor=rootsift",
        "panorama=none.png",
        "hydra.run.dir=out",
    )
    assert ended.stdout.splitlines()[-1] == "no none.png: the alignment failed"
    assert not (tmp_path / "none.png").exists()
    assert json.loads((tmp_path / "out" / "alignment.json").read_text())["homography"] is None


PAIR = {"image1": "a.png", "image2": "b.png"}


@pytest.mark.parametrize(
    ("options", "line"),
    [
        ({"image1": "a.png"}, "give image1=FILE image2=FILE, or images=FOLDER"),
        (PAIR | {"reference": "a.png"}, "reference goes with images"),
        ({"images": "folder", "panorama": "p.png"}, "panorama and images: give either"),
        (PAIR | {"panorama": "p.pdf"}, "panorama=p.pdf: its name must end in .jpg"),
        (PAIR | {"run": "x", "descriptor": "sift"}, "run and descriptor: give one"),
    ],
)
def test_options_that_contradict_each_other_are_refused(options: dict[str, str], line: str) -> None:
    cfg = OmegaConf.load(conf_dir() / "align.yaml")
    with pytest.raises(HomoregError, match=line):
        check_options(OmegaConf.merge(cfg, options), options.keys())


def test_a_user_s_error_is_one_line(photographs: Path, tmp_path: Path) -> None:
    good = photographs / "b left (1).png"
    for second, line in (("none.png", "none.png: cannot be read"), (good, "give one")):
        ended = run(
            tmp_path, "align", f"image1={good}", f"image2={second}", "estimators=[dlt,usac]"
        )
        assert ended.returncode == 2
        assert len(ended.stderr.splitlines()) == 1
        assert line in ended.stderr


def test_a_folder_without_photographs_or_reference_is_refused(
    photographs: Path, tmp_path: Path
) -> None:
    assert photographs_in(photographs)[1].name == "a_right.png"
    others, reference = photographs_in(photographs, "c_other.jpg")
    assert [file.name[0] for file in others] == ["a", "b", "d"]
    assert photographs_in(photographs, str(reference))[0] == others
    (tmp_path / "one.png").touch()
    for folder, name, line in (
        (tmp_path / "nowhere", None, "there is no such folder"),
        (photographs, "z.png", "reference=z.png: no such file"),
        (tmp_path, None, "no photograph beside one.png"),
        (conf_dir(), None, "no photographs"),
    ):
        with pytest.raises(HomoregError, match=line):
            photographs_in(folder, name)
