"""Baselines of an evaluation beside the runs of a report."""

import pandas as pd
import pytest

from homoreg.report import same_pairs


def test_baselines_of_other_pairs_or_keypoints_are_left_out(
    caplog: pytest.LogCaptureFixture,
) -> None:
    columns = ["pair_id", "rmse_identity_gray", "keypoints_1", "keypoints_2", "repeatable"]
    own = pd.DataFrame([("a", 30.0, 500, 500, 200), ("b", 20.0, 400, 500, 99)], columns=columns)
    rows = own.assign(rmse_identity_gray=[30.0, 21.0], descriptor="rootsift")
    assert same_pairs(rows, pd.concat([own, own]))["pair_id"].tolist() == ["a"]
    assert "1 of 2 rows of baselines are left out" in caplog.text
    assert same_pairs(rows.assign(keypoints_1=499), own).empty
    unknown = dict.fromkeys(columns[2:], float("nan"))  # of a system with keypoints of its own
    beside = pd.concat([rows, rows.assign(**unknown, descriptor="xfeat")])
    kept = same_pairs(beside, own)
    assert kept[["pair_id", "descriptor"]].to_numpy().tolist() == [
        ["a", "rootsift"],
        ["a", "xfeat"],
    ]
