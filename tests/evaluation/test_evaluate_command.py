"""``python -m homoreg.evaluate`` as a user calls it, and the parts that need no run."""

import json
import re
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from omegaconf import OmegaConf
from skimage import data as photographs
from tests.commands import run, succeed

from homoreg.cli import compose
from homoreg.descriptors.checkpoint import untrained_descriptor
from homoreg.descriptors.window import PatchWindow
from homoreg.errors import HomoregError
from homoreg.evaluate import adopt, build_baselines, finished_runs, load_runs
from homoreg.evaluation import read_evaluation
from homoreg.files import write_text
from homoreg.runs import RunFolder


class Bare:
    """A user's own descriptor: the one method that is needed."""

    def describe(self, image: np.ndarray, keypoints: np.ndarray) -> np.ndarray:
        return np.array([image[int(y), int(x)] for x, y in keypoints], np.float32)


class Bits(Bare):
    metric = "hamming"


class Wordless:
    """Describes nothing."""


class NeedsMore:
    def __init__(self) -> None:
        import a_library_that_nobody_has  # noqa: F401


class Buggy:
    def __init__(self) -> None:
        raise KeyError("a bug of its author's")


def own(name: str) -> str:
    return f"+descriptors.mine._target_={__name__}.{name}"


def test_a_user_s_class_needs_no_name_and_no_metric() -> None:
    (baseline,) = build_baselines(compose("evaluate", ["descriptors=none", own("Bare")]))
    assert (baseline.name, baseline.metric) == ("mine", "l2")
    image = np.arange(27, dtype=np.uint8).reshape(3, 3, 3)
    assert baseline.describe(image, np.array([[1.0, 2.0]])).tolist() == [[21, 22, 23]]
    (baseline,) = build_baselines(compose("evaluate", ["descriptors=none", own("Bits")]))
    assert baseline.metric == "hamming"


@pytest.mark.parametrize(
    ("override", "reason"),
    [
        ("descriptors=[tfeat,rootsift]", "tfeat is left out: descriptors.tfeat.weights is not set"),
        (own("NeedsMore"), "mine is left out: .*a_library_that_nobody_has"),
        (own("NotThere"), "mine is left out: .*NotThere"),
        ("+descriptors.mine._target_=no.such.Class", "mine is left out: .*no"),
    ],
)
def test_what_is_not_to_be_had_is_one_line_and_the_others_go_on(
    override: str, reason: str, caplog: pytest.LogCaptureFixture
) -> None:
    baselines = build_baselines(compose("evaluate", ["descriptors=[rootsift]", override]))
    assert [baseline.name for baseline in baselines] == ["rootsift"]
    (record,) = caplog.records
    assert "\n" not in record.getMessage()
    assert "HYDRA_FULL_ERROR" not in record.getMessage()
    assert re.search(reason, record.getMessage())


def test_a_bug_is_not_hidden_and_what_cannot_describe_is_refused() -> None:
    with pytest.raises(Exception, match="a bug of its author's"):
        build_baselines(compose("evaluate", ["descriptors=none", own("Buggy")]))
    with pytest.raises(HomoregError, match="descriptors.mine has no method describe"):
        build_baselines(compose("evaluate", ["descriptors=none", own("Wordless")]))


def write_run(folder: Path, status: str = "done", **changes: Any) -> Path:
    """A run's folder with the config of a training, as far as ``adopt`` looks."""
    cfg = compose("train", [f"{key}={value}" for key, value in changes.items()])
    cfg = OmegaConf.masked_copy(
        cfg,
        [
            *("model", "patch", "regularizer", "seed", "detector", "matcher", "estimators"),
            *("data", "evaluation"),
        ],
    )
    write_text(folder / "config.yaml", OmegaConf.to_yaml(cfg, resolve=True))
    RunFolder(folder).update_record(
        status=status, training={"epochs": 1} if status == "done" else None
    )
    return folder


def test_the_first_run_s_choices_hold_unless_the_command_line_speaks(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    own = {"detector.max_keypoints": 77, "matcher.ratio": 0.7, "patch.support": 48}
    first = write_run(tmp_path / "a", **own)
    other = write_run(tmp_path / "b", **{"detector.max_keypoints": 99, "matcher.ratio": 0.7})
    cfg = compose("evaluate", [f"runs=[{first},{other}]", "estimators=[lmeds]"])
    adopt(cfg, finished_runs(cfg), {"estimators"})
    assert (cfg.detector.max_keypoints, cfg.matcher.ratio) == (77, 0.7)
    assert list(cfg.estimators) == ["lmeds"]
    (record,) = caplog.records
    assert record.getMessage() == "all are evaluated with the detector of a; another had b"
    caplog.clear()
    asked = ["detector.max_keypoints=55", "patch.border=drop"]
    cfg = compose("evaluate", [f"runs=[{first},{other}]", *asked])
    adopt(cfg, finished_runs(cfg), {"detector.max_keypoints", "patch.border"})
    assert cfg.detector.max_keypoints == 55
    assert (cfg.patch.support, cfg.patch.border) == (48, "drop")
    assert not caplog.records


def test_a_run_that_is_not_done_is_left_out(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write_run(tmp_path / "sweep" / "a")
    write_run(tmp_path / "sweep" / "b", status="running")
    cfg = compose("evaluate", [f"runs={tmp_path / 'sweep'}"])
    assert [run.name for run in finished_runs(cfg)] == ["a"]
    assert "its status is running" in caplog.text
    assert finished_runs(compose("evaluate")) == []
    with pytest.raises(HomoregError, match="none of the 1 runs there is trained"):
        finished_runs(compose("evaluate", [f"runs={tmp_path / 'sweep' / 'b'}"]))


def test_runs_of_one_arm_and_seed_are_told_apart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Loaded:
        name, metric, regularizer = "cnn", "l2", "none"

        def __init__(self, path: Path) -> None:
            self.seed = int(path.name[-1])

    monkeypatch.setattr("homoreg.evaluate.load_descriptor", lambda path, **_: Loaded(path))
    runs = [RunFolder(tmp_path / name) for name in ("one/seed-0", "one/seed-1", "two/seed-1")]
    names = [descriptor.name for descriptor in load_runs(compose("evaluate"), runs)]
    assert names == ["cnn", "cnn one/seed-1", "cnn two/seed-1"]


@pytest.mark.parametrize("model", ["cnn", "spatial"])
def test_patch_options_of_the_command_line_hold_for_runs_too(
    model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = compose("train", [f"model={model}"]).model
    run = untrained_descriptor(config, {"support": 40, "size": 32}, seed=0, device="cpu")
    monkeypatch.setattr("homoreg.evaluate.load_descriptor", lambda *_, **__: run)
    cfg, runs = compose("evaluate", ["patch.size=48", "patch.border=drop"]), [RunFolder(tmp_path)]
    load_runs(cfg, runs)
    assert run.window == PatchWindow(40, 32)
    load_runs(cfg, runs, {"patch.border", "detector"})
    assert run.window == PatchWindow(40, 32, border="drop")
    if model == "cnn":  # averages over the patch, whatever its size
        load_runs(cfg, runs, {"patch.size"})
        assert run.window == PatchWindow(40, 48, border="drop")
    else:
        with pytest.raises(HomoregError, match="patch.size=48: .* takes patches of 32 px only"):
            load_runs(cfg, runs, {"patch.size"})


@pytest.fixture(scope="module")
def sequences(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two sequences of two images each: light that changes, and a viewpoint that does."""
    root = tmp_path_factory.mktemp("sequences")
    photo = cv2.resize(photographs.astronaut(), (320, 240), interpolation=cv2.INTER_AREA)
    truth = np.array([[0.97, -0.05, 12.0], [0.04, 1.02, -7.0], [3e-5, -2e-5, 1.0]])
    for name, homography in (("i_dusk", np.eye(3)), ("v_tilt", truth)):
        folder = root / name
        folder.mkdir()
        view = cv2.warpPerspective(photo, homography, (320, 240), borderMode=cv2.BORDER_REFLECT)
        view = (view * (0.6 if name == "i_dusk" else 1)).astype(np.uint8)
        cv2.imwrite(str(folder / "1.ppm"), photo[..., ::-1])
        cv2.imwrite(str(folder / "2.ppm"), view[..., ::-1])
        np.savetxt(folder / "H_1_2", homography)
    return root


@pytest.mark.slow
def test_baselines_on_sequences_from_the_command_line(sequences: Path, tmp_path: Path) -> None:
    shared = ["benchmark=hpatches", f"benchmark.root={sequences}", "patch.support=32"]
    baselines = "descriptors=[rootsift,orb,tfeat]"
    system = "+systems.sift_system._target_=tests.baselines.SiftSystem"
    ended = succeed(
        tmp_path, "evaluate", *shared, baselines, system, "estimators=[dlt,ransac]", "reruns=2",
        "hydra.run.dir=out",
    )  # fmt: skip
    said = ended.stdout + ended.stderr
    assert said.count("tfeat is left out") == 1
    for heading in ("AUC", "@10", "MMA", "M. score", "repeat.", "Spread of a corner"):
        assert heading in said
    out = tmp_path / "out"
    table = read_evaluation(out / "evaluation" / "hpatches.csv")
    assert list(out.rglob("*.csv")) == [out / "evaluation" / "hpatches.csv"]
    assert set(table["pair_id"]) == {"i_dusk/1_2", "v_tilt/1_2"}
    assert len(table) == 2 * 2 * 4
    assert set(table["descriptor"]) == {"oracle", "rootsift", "orb", "sift_system"}
    own = table["descriptor"] == "sift_system"
    assert table.loc[own, ["keypoints_1", "recall_3px"]].isna().all().all()
    assert (table.loc[own, "precision_3px"] > 0.5).all()
    assert len(list((out / "gallery" / "pairs").glob("*.jpg"))) == 2 * 3
    summary = json.loads((out / "evaluation" / "summary.json").read_text())
    assert len(summary["entries"]) == 8
    assert all(set(entry["groups"]) == {"i", "v"} for entry in summary["entries"])
    compared = ["rootsift", "orb", "sift_system"]
    assert [entry["descriptor"] for entry in summary["matching"]] == compared
    assert [entry["descriptor"] for entry in summary["patches"]] == compared[:2]
    assert {entry["estimator"] for entry in summary["reruns"]} == {"ransac"}
    picture = cv2.imread(str(out / "figures" / "curves_hpatches.png"))
    assert min(picture.shape[:2]) > 300

    alone = ["descriptors=[orb]", "estimators=[ransac]", "oracle=false", "hydra.run.dir=alone"]
    succeed(tmp_path, "evaluate", *shared, *alone)
    again = read_evaluation(tmp_path / "alone" / "evaluation" / "hpatches.csv")
    chosen = (table["descriptor"] == "orb") & (table["estimator"] == "ransac")
    columns = [column for column in table if not column.endswith("_ms")]
    assert again[columns].equals(table[chosen].reset_index(drop=True)[columns])


@pytest.mark.slow
def test_one_pair_of_a_sequence_is_a_figure_and_no_table(sequences: Path, tmp_path: Path) -> None:
    shared = ["benchmark=hpatches", f"benchmark.root={sequences}", "descriptors=[rootsift]"]
    succeed(tmp_path, "evaluate", *shared, "pair=v_tilt/1_2", "hydra.run.dir=out")
    assert (tmp_path / "out" / "figures" / "pair_v_tilt_1_2.png").is_file()
    assert not list((tmp_path / "out").rglob("*.csv"))
    refused = run(tmp_path, "evaluate", *shared, "pair=v_tilt/1_7")
    assert refused.returncode == 2
    assert "pair=v_tilt/1_7" in refused.stderr
    assert "Traceback" not in refused.stderr


@pytest.mark.slow
def test_without_a_root_the_benchmark_says_what_to_give(tmp_path: Path) -> None:
    refused = run(tmp_path, "evaluate", "benchmark=hpatches", "descriptors=[rootsift]")
    assert (refused.returncode, refused.stdout) == (2, "")
    assert refused.stderr == (
        "homoreg: benchmark.root is not set: give the folder of the sequences\n"
    )
