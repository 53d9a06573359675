"""Baselines of an evaluation beside the runs of a report."""

import pandas as pd

from homoreg.report import same_pairs


def test_baselines_of_other_pairs_or_keypoints_are_left_out() -> None:
    columns = ["pair_id", "rmse_identity_gray", "keypoints_1", "keypoints_2", "repeatable"]
    own = pd.DataFrame([("a", 30.0, 500, 500, 200), ("b", 20.0, 400, 500, 99)], columns=columns)
    rows = own.assign(rmse_identity_gray=[30.0, 21.0], descriptor="rootsift")
    assert same_pairs(rows, pd.concat([own, own]))["pair_id"].tolist() == ["a"]
    assert same_pairs(rows.assign(keypoints_1=499), own).empty
    chance = own.assign(repeatable=[200, 98], descriptor="rootsift")  # equal in a pair by chance
    assert same_pairs(chance, own).empty
    unknown = dict.fromkeys(columns[2:], float("nan"))  # of a system with keypoints of its own
    beside = pd.concat([rows, rows.assign(**unknown, descriptor="xfeat")])
    kept = same_pairs(beside, own)
    assert kept[["pair_id", "descriptor"]].to_numpy().tolist() == [
        ["a", "rootsift"],
        ["a", "xfeat"],
    ]
