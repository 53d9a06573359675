"""What loggers are told of a run beside its curves."""

from pathlib import Path

import pytest

from homoreg.cli import compose
from homoreg.cli.loggers import TensorBoard, log_start

FEW = {"regularizer.name", "regularizer.weight_decay", "regularizer.dropout", "seed"}


@pytest.mark.parametrize(
    ("regularizer", "penalty"),
    [
        ("hybrid", set()),
        ("gor", {"weight", "negative_radius_px"}),
        ("sosr", {"weight", "neighbors"}),
    ],
)
def test_tensorboard_s_hyperparameters_have_the_options_of_a_penalty(
    regularizer: str, penalty: set[str], tmp_path: Path
) -> None:
    logger = TensorBoard(tmp_path, name="", version="tb")
    cfg = compose("train", [f"paths.run={tmp_path}", f"regularizer={regularizer}"])
    log_start([logger], cfg, {})
    assert logger.hparams.keys() == FEW | {f"regularizer.{option}" for option in penalty}
    assert logger.hparams["regularizer.name"] == regularizer
