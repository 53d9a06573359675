"""docs/using.md and README's descriptor, run as they stand."""

import re
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from skimage import data as photographs

from homoreg import load_descriptor
from homoreg.data.warp import Warp
from homoreg.geometry import corner_error
from tests.commands import succeed

REPOSITORY = Path(__file__).parents[1]
BLOCK = re.compile(r"```python\n(.*?)```", re.DOTALL)


def blocks(page: str) -> list[str]:
    return BLOCK.findall((REPOSITORY / page).read_text(encoding="utf-8"))


def test_opencv_alone_and_kornia_describe_as_homoreg_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = photographs.astronaut()
    draw = Warp().draw(0, "astronaut", 0, (512, 512))
    for name, view in (("a.jpg", image), ("b.jpg", Warp().apply(image, draw))):
        cv2.imwrite(str(tmp_path / name), view[:, :, ::-1], [cv2.IMWRITE_JPEG_QUALITY, 98])
    succeed(tmp_path, "export", "run=homoreg", "to=homoreg.onnx")
    monkeypatch.chdir(tmp_path)
    opencv, kornia = blocks("docs/using.md")
    assert "homoreg import" not in opencv

    names: dict[str, Any] = {}
    exec(opencv, names)
    assert names["inliers"].sum() > 100
    assert corner_error(names["homography"], draw.homography, (512, 512)) < 1

    ours = load_descriptor("homoreg", device="cpu")
    read = np.ascontiguousarray(cv2.imread("a.jpg")[:, :, ::-1])
    frames = ours.detector(read)
    expected = ours.describe(read, frames)
    row = {tuple(point): i for i, point in enumerate(names["points1"].tolist())}
    shared = [i for i, point in enumerate(frames[:, :2].tolist()) if tuple(point) in row]
    theirs = names["descriptors1"][[row[tuple(frames[i, :2].tolist())] for i in shared]]
    assert len(shared) > 450
    assert np.median((theirs * expected[shared]).sum(1)) > 0.97

    exec(kornia, names)
    described = names["described"][0].numpy()
    assert np.median((described * expected).sum(1)) > 0.97


def test_readme_s_descriptor() -> None:
    (block,) = [text for text in blocks("README.md") if 'load_descriptor("homoreg")' in text]
    names: dict[str, Any] = {}
    exec(block, names)
    assert names["descriptors"].shape == (len(names["keypoints"]), 64)
