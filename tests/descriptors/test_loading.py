import json
import os
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from skimage import data as photographs

import homoreg
from homoreg.data import cut_patches
from homoreg.descriptors.checkpoint import build_network, untrained_descriptor
from homoreg.descriptors.cnn import CnnDescriptor
from homoreg.descriptors.inference import PATCHES_PER_PASS_CPU, NetworkDescriptor
from homoreg.descriptors.layers import to_network
from homoreg.descriptors.loading import load_descriptor
from homoreg.descriptors.window import PatchWindow
from homoreg.errors import HomoregError

MODEL = {
    "_target_": "homoreg.descriptors.cnn.CnnDescriptor",
    "channels": [8, 16],
    "kernel_sizes": [3, 3],
}
PHOTO = photographs.astronaut()


def checkpoint(path: Path, model: dict = MODEL, network: torch.nn.Module | None = None) -> Path:
    network = network or build_network(MODEL, seed=1)
    torch.save(
        {
            "state_dict": {f"network.{k}": v for k, v in network.state_dict().items()},
            "homoreg": {
                "network": "small",
                "model": model,
                "patch": {"support": 48, "size": 16},
                "regularizer": {"name": "l2"},
                "seed": 1,
            },
        },
        path,
    )
    return path


def test_a_checkpoint_alone_is_enough(tmp_path: Path) -> None:
    descriptor = load_descriptor(checkpoint(tmp_path / "a.ckpt"))
    points = np.array([[100.0, 100.0], [np.nan, 3.0], [250.5, 40.25]])
    described = descriptor.describe(PHOTO, points)
    patches = torch.from_numpy(cut_patches(PHOTO, points[[0, 2]], support=48, size=16))
    expected = build_network(MODEL, seed=1).eval()(to_network(patches)).detach().numpy()
    assert described.dtype == np.float32
    assert np.isnan(described[1]).all()
    np.testing.assert_allclose(described[[0, 2]], expected, atol=1e-5)
    assert (descriptor.name, descriptor.regularizer, descriptor.seed) == ("small", "l2", 1)


def test_windows_may_be_sliced_on_whole_pixels_as_the_study_did() -> None:
    network = build_network(MODEL, seed=1)
    window = PatchWindow(16, 16, keypoint_rounding="truncate", border="drop")
    descriptor = NetworkDescriptor(network, window, "sliced")
    points = np.array([[100.7, 60.9], [8.0, 8.0], [7.9, 50.0], [504.0, 504.0], [505.0, 504.0]])
    described = descriptor.describe(PHOTO, points)
    slices = [PHOTO[y - 8 : y + 8, x - 8 : x + 8] for x, y in ((100, 60), (8, 8), (504, 504))]
    expected = network.eval()(to_network(torch.from_numpy(np.stack(slices)))).detach().numpy()
    np.testing.assert_allclose(described[[0, 1, 3]], expected, atol=1e-5)
    # A slice that would leave the image is not taken.
    assert np.isnan(described[[2, 4]]).all()


def test_many_keypoints_are_described_as_few_are() -> None:
    descriptor = untrained_descriptor(MODEL, {"support": 24, "size": 8}, seed=0)
    points = np.random.default_rng(0).uniform(0, 511, (2500, 2))
    some = descriptor.describe(PHOTO, points[1020:1030])
    np.testing.assert_allclose(descriptor.describe(PHOTO, points)[1020:1030], some, atol=1e-5)
    assert descriptor.describe(PHOTO, np.zeros((0, 2))).shape == (0, 32)


def test_initial_weights_belong_to_the_seed_and_no_global_stream_is_touched() -> None:
    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    one, two, other = (build_network(MODEL, seed) for seed in (0, 0, 1))
    assert torch.equal(torch.rand(3), expected)
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), two.parameters(), strict=True))
    first, second = next(one.parameters()), next(other.parameters())
    assert not torch.equal(first, second)


class Explosive:
    def __reduce__(self) -> tuple:
        return os.mkdir, (os.environ["HOMOREG_TEST_CANARY"],)


def test_pickled_code_is_refused_and_not_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    canary = tmp_path / "canary"
    monkeypatch.setenv("HOMOREG_TEST_CANARY", str(canary))
    torch.save({"state_dict": {}, "homoreg": Explosive()}, tmp_path / "a.ckpt")
    (tmp_path / "b.ckpt").write_bytes(pickle.dumps(Explosive()))
    for name in ("a.ckpt", "b.ckpt"):
        with pytest.raises(HomoregError, match=name) as refused:
            load_descriptor(tmp_path / name)
        assert "\n" not in str(refused.value)
    assert not canary.exists()


def pickled(path: Path) -> Path:
    path.write_bytes(pickle.dumps(Explosive()))
    return path


HOSTILE = {
    "writes a file": {"_target_": "io.open", "_args_": ["CANARY", "w"]},
    "makes a folder": {"_target_": "os.mkdir", "path": "CANARY"},
    "writes an array": {"_target_": "numpy.savetxt", "_args_": ["CANARY", [1.0]]},
    "torch's pickles": {"_target_": "torch.load", "f": "PICKLE", "weights_only": False},
    "numpy's pickles": {"_target_": "numpy.load", "file": "PICKLE", "allow_pickle": True},
    "pandas' pickles": {"_target_": "pandas.read_pickle", "_args_": ["PICKLE"]},
    "joblib's pickles": {"_target_": "joblib.load", "_args_": ["PICKLE"]},
    "by way of torch.nn": {"_target_": "torch.nn.modules.module.torch.load", "f": "PICKLE"},
    "a function of torch.nn": {"_target_": "torch.nn.init.zeros_", "_args_": [1]},
    "a class without layers": {"_target_": "torch.nn.Parameter"},
    "imports a module": {"_target_": "canary_module.Net"},
    "an interpolation": {"_target_": "torch.nn.Identity", "x": "${oc.env:HOME}"},
    "no text": {"_target_": ["os", "mkdir"]},
}
NESTINGS = {
    "itself": lambda inner: inner,
    "argument": lambda inner: {"_target_": "torch.nn.Sequential", "_args_": [inner]},
    "partial": lambda inner: {"_target_": "torch.nn.Identity", "x": inner | {"_partial_": True}},
    "deep": lambda inner: {"_target_": "torch.nn.Identity", "x": {"y": [[{"z": inner}]]}},
}


@pytest.mark.parametrize("nesting", NESTINGS)
@pytest.mark.parametrize("what", HOSTILE)
def test_nothing_but_network_classes_is_imported_or_called(
    what: str, nesting: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    canary = tmp_path / "canary"
    monkeypatch.setenv("HOMOREG_TEST_CANARY", str(canary))
    (tmp_path / "canary_module.py").write_text(f"open({str(canary)!r}, 'w')")
    monkeypatch.syspath_prepend(str(tmp_path))
    places = {"CANARY": str(canary), "PICKLE": str(pickled(tmp_path / "p.pkl"))}
    text = json.dumps(NESTINGS[nesting](HOSTILE[what]))
    for word, place in places.items():
        text = text.replace(word, place)
    file = checkpoint(tmp_path / "a.ckpt", model=json.loads(text))
    with pytest.raises(HomoregError, match="a.ckpt: model") as refused:
        load_descriptor(file)
    assert "\n" not in str(refused.value)
    assert not canary.exists()
    # The same from a run folder, whose config.yaml is what counts.
    run = tmp_path / "run"
    (run / "checkpoints").mkdir(parents=True)
    file.rename(run / "checkpoints" / "last.ckpt")
    patch = {"support": 48, "size": 16}
    config = {"model": json.loads(text), "evaluation": {"checkpoint": "last", "patch": patch}}
    config |= {"network": "small", "regularizer": {"name": "l2"}, "seed": 1}
    (run / "config.yaml").write_text(yaml.safe_dump(config))
    with pytest.raises(HomoregError, match="last.ckpt: model"):
        load_descriptor(run)
    assert not canary.exists()


@pytest.mark.parametrize(
    "model",
    [
        {"_target_": "kornia.feature.HardNet", "pretrained": True},
        {"_target_": "kornia.feature.LoFTR"},
        {"_target_": "torch.nn.Sequential", "_args_": [{"_target_": "kornia.feature.LightGlue"}]},
    ],
)
def test_networks_that_fetch_weights_are_not_built(
    model: dict, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "hub"))  # nothing cached
    with pytest.raises(HomoregError, match="would download"):
        load_descriptor(checkpoint(tmp_path / "a.ckpt", model=model))


def test_a_package_that_the_user_names_is_trusted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "their_networks.py").write_text(
        "from homoreg.descriptors.cnn import CnnDescriptor\n\n"
        "def small(**options):\n    return CnnDescriptor(**options)\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    file = checkpoint(tmp_path / "a.ckpt", model=MODEL | {"_target_": "their_networks.small"})
    with pytest.raises(HomoregError, match=r"packages=\[their_networks\].*HOMOREG_PACKAGES"):
        load_descriptor(file)
    assert load_descriptor(file, packages=["their_networks"]).name == "small"
    monkeypatch.setenv("HOMOREG_PACKAGES", "other, their_networks")
    assert load_descriptor(file).name == "small"


def test_networks_of_known_packages_are_loaded(tmp_path: Path) -> None:
    small = {"_target_": "torch.nn.LazyLinear", "out_features": 4}
    model = {"_target_": "torch.nn.Sequential", "_args_": [{"_target_": "torch.nn.Flatten"}, small]}
    network = build_network(model, seed=0)
    network(torch.rand(1, 3, 16, 16))
    descriptor = load_descriptor(checkpoint(tmp_path / "a.ckpt", model, network))
    assert descriptor.describe(PHOTO, np.array([[50.0, 50.0]])).shape == (1, 4)


def test_names_come_before_paths_and_a_sweep_is_no_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("sift").mkdir()
    assert load_descriptor("sift").name == "sift"
    for name in ("seed-0", "seed-1"):
        (tmp_path / "sweep" / name).mkdir(parents=True)
        (tmp_path / "sweep" / name / "run.json").write_text("{}")
        (tmp_path / "sweep" / name / "config.yaml").write_text("{}")
    with pytest.raises(HomoregError, match="a sweep of 2 runs.*seed-0, seed-1"):
        load_descriptor("sweep")


def test_a_network_of_another_architecture_is_one_line(tmp_path: Path) -> None:
    file = checkpoint(tmp_path / "a.ckpt", network=CnnDescriptor())
    with pytest.raises(HomoregError, match="another network") as refused:
        load_descriptor(file)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("content", [b"", b"junk", b"PK\x03\x04 broken zip"])
def test_a_damaged_file_is_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.ckpt").write_bytes(content)
    with pytest.raises(HomoregError, match=r"a\.ckpt"):
        load_descriptor(tmp_path / "a.ckpt")


def test_missing_runs_and_unknown_names_are_named(tmp_path: Path) -> None:
    with pytest.raises(HomoregError, match="there is no such run or file"):
        load_descriptor(tmp_path / "nothing")
    with pytest.raises(HomoregError, match="config.yaml"):
        load_descriptor(tmp_path)
    with pytest.raises(HomoregError, match="sifft"):
        homoreg.load_descriptor("sifft")
    (tmp_path / "a.onnx").touch()
    with pytest.raises(HomoregError, match=r"a\.onnx: ONNX is for other programs"):
        load_descriptor(tmp_path / "a.onnx")


def test_the_network_is_in_evaluation_mode_and_float32() -> None:
    descriptor = NetworkDescriptor(CnnDescriptor().bfloat16().train(), PatchWindow(64, 32), "cnn")
    assert not descriptor.network.training
    assert next(descriptor.network.parameters()).dtype == torch.float32


def test_bfloat16_describes_nearly_the_same() -> None:
    keypoints = np.random.default_rng(0).uniform(40, 200, (50, 2))
    network, window = CnnDescriptor(), PatchWindow(64, 32)
    exact = NetworkDescriptor(network, window, "cnn", device="cpu").describe(PHOTO, keypoints)
    mixed = NetworkDescriptor(network, window, "cnn", device="cpu", precision="bf16-mixed")
    rounded = mixed.describe(PHOTO, keypoints)
    assert rounded.dtype == np.float32
    # bfloat16 has eight significant bits.
    assert 1e-5 < np.linalg.norm(exact - rounded, axis=1).max() < 0.05
    with pytest.raises(HomoregError, match="precision=16: give 32-true or bf16-mixed"):
        NetworkDescriptor(network, window, "cnn", precision="16")


@pytest.mark.parametrize("count", [0, 1, PATCHES_PER_PASS_CPU, PATCHES_PER_PASS_CPU + 1, 500])
def test_the_passes_of_a_network_are_of_equal_size(count: int) -> None:
    class Recording(torch.nn.Module):
        def forward(self, patches: torch.Tensor) -> torch.Tensor:
            passes.append(len(patches))
            return patches.mean((2, 3))

    passes: list[int] = []
    keypoints = np.random.default_rng(0).uniform(0, 400, (count, 2))
    descriptor = NetworkDescriptor(Recording(), PatchWindow(16, 16), "recording", device="cpu")
    described = descriptor.describe(PHOTO, keypoints)
    assert described.shape == (count, 3)
    assert sum(passes) == count
    assert max(passes) <= PATCHES_PER_PASS_CPU
    assert max(passes) - min(passes) <= 1
