"""Descriptors that leave the house: safetensors and ONNX files, and the one in the package."""

import hashlib
import json
import struct
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from skimage import data as photographs
from tests.commands import run, succeed

from homoreg import HomoregError, load_descriptor
from homoreg.cli import compose
from homoreg.data.manifest import write_manifest
from homoreg.data.sources import SampleSource
from homoreg.data.warp import Warp
from homoreg.descriptors.baselines import baseline_descriptor
from homoreg.descriptors.checkpoint import build_network
from homoreg.descriptors.exported import (
    INCLUDED,
    describing_metadata,
    export_safetensors,
)
from homoreg.descriptors.inference import NetworkDescriptor, Origin
from homoreg.descriptors.safetensors import read_safetensors, write_safetensors
from homoreg.descriptors.window import PatchWindow
from homoreg.evaluation.benchmarks import ManifestBenchmark
from homoreg.evaluation.seen import check_unseen
from homoreg.evaluation.table import identity, label
from homoreg.geometry import transform_points

PHOTO = photographs.astronaut()
MODEL = {
    "_target_": "homoreg.descriptors.spatial.SpatialDescriptor",
    "channels": [8, 8],
    "strides": [2, 2],
    "descriptor_dim": 16,
}
DETECTOR = {"_target_": "homoreg.matching.SiftKeypoints", "max_keypoints": 40}
MATCHER = {"_target_": "homoreg.matching.RatioMatcher", "ratio": 0.7, "mutual": True}
PATCH = {"window": "scaled", "scale_factor": 6.0}


def trained(model: dict[str, Any] = MODEL, **config: Any) -> NetworkDescriptor:
    """A small network as if it had been trained."""
    config = {"network": "small", "model": model, "patch": PATCH, "regularizer": {"name": "l2"}} | {
        **{"seed": 3, "detector": DETECTOR, "matcher": MATCHER},
        **config,
    }
    network, origin = build_network(model, seed=1), Origin(Path("a.ckpt"), config)
    return NetworkDescriptor(network, PatchWindow(**PATCH), "small", "l2", 3, "cpu", origin)


def test_a_safetensors_file_gives_the_same_descriptor(tmp_path: Path) -> None:
    descriptor, file = trained(), tmp_path / "a.safetensors"
    export_safetensors(descriptor, file)
    loaded = load_descriptor(file, device="cpu")
    keypoints = loaded.detector(PHOTO)
    assert keypoints.shape == (40, 3)
    assert (loaded.matcher.ratio, loaded.matcher.mutual) == (0.7, True)
    assert (loaded.name, loaded.regularizer, loaded.seed) == ("small", "l2", 3)
    described = descriptor.describe(PHOTO, keypoints)
    np.testing.assert_array_equal(loaded.describe(PHOTO, keypoints), described)
    again = tmp_path / "b.safetensors"
    export_safetensors(loaded, again)
    (weights, texts), (first_weights, first_texts) = map(read_safetensors, (again, file))
    assert texts == first_texts
    assert weights.keys() == first_weights.keys()
    assert all(torch.equal(weights[name], first_weights[name]) for name in weights)
    export_safetensors(descriptor, again, half=True)
    assert again.stat().st_size < 0.7 * file.stat().st_size
    half = load_descriptor(again, device="cpu").describe(PHOTO, keypoints)
    assert half.dtype == np.float32
    np.testing.assert_allclose(half, described, atol=0.01)
    assert not np.array_equal(half, described)


def file_of(header: Any, values: bytes = b"") -> bytes:
    """A file of the format: length, header, values."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + values


def entry(*offsets: int, dtype: str = "F32", shape: Any = (2,)) -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": offsets}


@pytest.mark.parametrize(
    "content",
    {
        "empty": b"",
        "no header": struct.pack("<Q", 10) + b"{}",
        "an endless header": struct.pack("<Q", 2**63) + b"{}",
        "no JSON": file_of(b"\x80\x04not json"),
        "nested deeply": file_of(b"[" * 100_000),
        "a list": file_of([]),
        "text that is no text": file_of({"__metadata__": {"format": 1}}),
        "beyond the end": file_of({"a": entry(0, 8)}, bytes(4)),
        "more than described": file_of({"a": entry(0, 8)}, bytes(12)),
        "an overlap": file_of({"a": entry(0, 8), "b": entry(4, 12)}, bytes(12)),
        "backwards": file_of({"a": entry(8, 0)}, bytes(8)),
        "a negative place": file_of({"a": entry(-8, 0)}, bytes(8)),
        "another shape": file_of({"a": entry(0, 8, shape=[3])}, bytes(8)),
        "a vast shape": file_of({"a": entry(0, 8, shape=[2**62, 2**62])}, bytes(8)),
        "an unknown kind": file_of({"a": entry(0, 8, dtype="OBJECT")}, bytes(8)),
        "not of homoreg": file_of({"a": entry(0, 8)}, bytes(8)),
    }.items(),
    ids=lambda item: item[0],
)
def test_a_damaged_or_foreign_file_is_one_line(tmp_path: Path, content: tuple[str, bytes]) -> None:
    file = tmp_path / "a.safetensors"
    file.write_bytes(content[1])
    with pytest.raises(HomoregError, match=r"a\.safetensors") as refused:
        load_descriptor(file)
    assert len(str(refused.value).splitlines()) == 1


MALICIOUS = {"_target_": "os.mkdir", "path": "CANARY"}
METADATA = {
    "code": {"model": json.dumps(MALICIOUS)},
    "code inside": {"model": json.dumps(MODEL | {"channels": [MALICIOUS]})},
    "an interpolation": {"model": json.dumps(MODEL | {"descriptor_dim": "${oc.env:HOME}"})},
    "another network": {"model": json.dumps(MODEL | {"channels": [8, 4]})},
    "no network": {"model": "[1]"},
    "no JSON": {"model": "{"},
    "nested deeply": {"patch": "[" * 100_000},
    "another window": {"patch": json.dumps({"window": "round"})},
    "an unknown option": {"patch": json.dumps({"exec": "CANARY"})},
    "a later format": {"format": "homoreg descriptor 2"},
}


@pytest.mark.parametrize("changed", METADATA.values(), ids=list(METADATA))
def test_hostile_metadata_run_nothing(changed: dict[str, str], tmp_path: Path) -> None:
    canary, file = tmp_path / "canary", tmp_path / "a.safetensors"
    descriptor = trained()
    metadata = describing_metadata(descriptor) | changed
    texts = {key: value.replace("CANARY", str(canary)) for key, value in metadata.items()}
    write_safetensors(file, descriptor.network.state_dict(), texts)
    with pytest.raises(HomoregError, match=r"a\.safetensors") as refused:
        load_descriptor(file)
    assert len(str(refused.value).splitlines()) == 1
    assert not canary.exists()


@pytest.mark.parametrize("target", ["os.mkdir", "homoreg.matching.detection.cv2.imread"])
def test_a_hostile_detector_is_not_built(target: str, tmp_path: Path) -> None:
    export_safetensors(trained(detector={"_target_": target}), tmp_path / "a.safetensors")
    loaded = load_descriptor(tmp_path / "a.safetensors")
    with pytest.raises(HomoregError, match=r"a\.safetensors: detector"):
        _ = loaded.detector


class TestIncluded:
    """``load_descriptor("homoreg")``."""

    def test_it_is_found_by_name_before_any_path(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.chdir(tmp_path)
        Path("homoreg").mkdir()
        descriptor = load_descriptor("homoreg", device="cpu")
        assert descriptor.device.type == "cpu"
        assert label(identity(descriptor)) == "homoreg"
        keypoints = descriptor.detector(PHOTO)
        described = descriptor.describe(PHOTO, keypoints)
        assert described.shape[0] == len(keypoints) > 100
        np.testing.assert_allclose(np.linalg.norm(described, axis=1), 1, atol=1e-5)

    def test_the_card_is_that_of_the_file(self) -> None:
        content = INCLUDED.read_bytes()
        assert len(content) < 4e6
        assert hashlib.sha256(content).hexdigest() in INCLUDED.with_suffix(".md").read_text("utf-8")

    def test_it_was_trained_on_none_of_the_photographs_that_the_demo_evaluates(self) -> None:
        cfg = compose("prepare")
        options = {key: value for key, value in cfg.source.items() if key != "_target_"}
        held_out = SampleSource(**options).select(cfg.seed).eval
        source = json.loads(read_safetensors(INCLUDED)[1]["source"])
        assert len(held_out) == 3
        assert not set(held_out) & source["photographs"].keys()

    def test_it_is_not_evaluated_on_the_photographs_that_it_was_trained_on(
        self, tmp_path: Path
    ) -> None:
        descriptor = load_descriptor("homoreg", device="cpu")
        assert descriptor.origin is not None
        name, size = next(iter(descriptor.origin.config["source"]["photographs"].items()))
        (tmp_path / "view.jpg").write_bytes(bytes(size))
        refusal = pytest.raises(HomoregError, match=name)
        for photo, expected in ((name, refusal), ("other", nullcontext())):
            pair = {"id": "1", "photo": photo, "img1": "view.jpg", "img2": "view.jpg"}
            sizes = {"size1": (64, 64), "size2": (64, 64)}
            pairs = [pair | sizes | {"homography": np.eye(3).tolist(), "parameters": {}}]
            write_manifest(tmp_path / "pairs.json", 0, {}, pairs)
            with expected:
                check_unseen([descriptor], ManifestBenchmark(tmp_path / "pairs.json"), False)

    def test_it_finds_more_than_rootsift_at_the_same_keypoints(self) -> None:
        """On a photograph that the demo evaluates, under the default warp."""
        warp = Warp()
        draw = warp.draw(1, "astronaut", 0, (PHOTO.shape[1], PHOTO.shape[0]))
        views = PHOTO, warp.apply(PHOTO, draw)
        ours = load_descriptor("homoreg", device="cpu")
        keypoints = [ours.detector(view) for view in views]

        def right(descriptor: Any) -> int:
            described = [
                descriptor.describe(view, points)
                for view, points in zip(views, keypoints, strict=True)
            ]
            first, second = ours.matcher(*described).indices.T
            truth = transform_points(keypoints[0][first, :2], draw.homography)
            return int((np.hypot(*(truth - keypoints[1][second, :2]).T) < 3).sum())

        assert right(ours) > right(baseline_descriptor("rootsift"))


class TestCommand:
    @pytest.fixture
    def checkpoint(self, tmp_path: Path) -> Path:
        network = build_network(MODEL, seed=1)
        weights = {f"network.{key}": value for key, value in network.state_dict().items()}
        config = {"network": "small", "model": MODEL, "patch": PATCH, "seed": 3}
        stored = {"state_dict": weights, "homoreg": config | {"regularizer": {"name": "l2"}}}
        torch.save(stored, tmp_path / "a.ckpt")
        return tmp_path / "a.ckpt"

    def test_a_checkpoint_becomes_a_file(self, checkpoint: Path, tmp_path: Path) -> None:
        ended = succeed(tmp_path, "export", "run=a.ckpt", "to=new/2026.safetensors")
        assert ended.stdout.startswith("wrote new/2026.safetensors (0.0")
        points = np.array([[100.0, 90.0, 8.0], [300.5, 20.25, 30.0]])
        given = load_descriptor(tmp_path / "new" / "2026.safetensors").describe(PHOTO, points)
        np.testing.assert_array_equal(given, load_descriptor(checkpoint).describe(PHOTO, points))
        # The folder holds the file and nothing else.
        assert sorted(path.name for path in tmp_path.rglob("*")) == [
            "2026.safetensors",
            "a.ckpt",
            "new",
        ]

    @pytest.mark.parametrize(
        ("arguments", "line"),
        [
            ([], "give run=PATH"),
            (["run=a.ckpt", "to=a.pt"], "ends in .safetensors or .onnx"),
            (["run=a.ckpt", "to=a.safetensors", "dtype=int8"], "dtype=int8"),
            (["run=a.ckpt", "to=a.onnx", "dtype=float16"], "leave dtype out"),
            (["run=nothing/there", "to=a.safetensors"], "no such run"),
            (["run=rootsift", "to=a.safetensors"], "only trained networks"),
            (["run=a.ckpt", "to=folder.safetensors"], "folder.safetensors"),
            (["run=a.ckpt", "to=a.ckpt/b.safetensors"], "a.ckpt"),
        ],
    )
    def test_what_cannot_be_exported_is_one_line(
        self, checkpoint: Path, tmp_path: Path, arguments: list[str], line: str
    ) -> None:
        (tmp_path / "folder.safetensors").mkdir()
        refused = run(tmp_path, "export", *arguments)
        assert refused.returncode == 2, refused.stderr
        assert len(refused.stderr.splitlines()) == 1
        assert line in refused.stderr
        assert sorted(path.name for path in tmp_path.rglob("*")) == ["a.ckpt", "folder.safetensors"]
