"""Reading run folders, and comparing two that must hold the same."""

from pathlib import Path
from typing import Any

import pandas as pd
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams import metadata

from homoreg.descriptors.checkpoint import read_checkpoint
from homoreg.evaluation import read_evaluation
from tests.commands import TIMES


def table_of(run: Path) -> pd.DataFrame:
    """The rows of a run's evaluation, without the times."""
    return read_evaluation(run / "evaluation" / "eval.csv").drop(columns=TIMES)


def epochs_of(run: Path) -> pd.DataFrame:
    return pd.read_csv(run / "csv" / "metrics.csv")


def weights_of(run: Path, checkpoint: str = "last") -> dict[str, torch.Tensor]:
    return read_checkpoint(run / "checkpoints" / f"{checkpoint}.ckpt")["state_dict"]


def curves_of(run: Path) -> dict[str, list[tuple[int, float]]]:
    """TensorBoard's scalars by tag, each as (step, value)."""
    board = EventAccumulator(str(run / "tb"), size_guidance={"scalars": 0})
    board.Reload()
    return {
        tag: [(event.step, event.value) for event in board.Scalars(tag)]
        for tag in board.Tags()["scalars"]
        if not tag.startswith("hp/")
    }


def hyperparameters_of(run: Path) -> dict[str, Any]:
    """The run's row of TensorBoard's table of hyperparameters, without its metrics."""
    board = EventAccumulator(str(run / "tb"))
    board.Reload()
    stored = board.SummaryMetadata(metadata.SESSION_START_INFO_TAG).plugin_data.content
    hparams = metadata.parse_session_start_info_plugin_data(stored).hparams
    return {name: getattr(value, value.WhichOneof("kind")) for name, value in hparams.items()}


def assert_same_run(one: Path, two: Path) -> None:
    """Rows, weights, epochs and curves agree bit for bit."""
    pd.testing.assert_frame_equal(table_of(one), table_of(two), check_exact=True)
    first, second = weights_of(one), weights_of(two)
    assert all(torch.equal(first[key], second[key]) for key in first)
    pd.testing.assert_frame_equal(epochs_of(one), epochs_of(two), check_exact=True, check_like=True)
    assert curves_of(one) == curves_of(two)
