"""Simulated studies: evaluation rows of four arms whose true differences are known."""

from collections.abc import Mapping

import numpy as np
import pandas as pd

from homoreg.study.arms import ORIGINAL_ARMS as ARMS

RUN_SD = 0.01  # of log10 between runs of one arm


def study(
    *,
    seeds: int,
    pairs: int = 30,
    error: Mapping[str, float] | None = None,
    failed: float | Mapping[str, float] = 0.0,
    matches: Mapping[str, float] | None = None,
    kappa: Mapping[str, float] | None = None,
    kappa_spread: Mapping[str, float] | None = None,
    predicted: Mapping[str, float] | None = None,
    related: float = 0.0,
    protocol: str = "corrected",
    key: int = 0,
) -> pd.DataFrame:
    """Rows of every original arm, seed and pair, of one estimator.

    Pairs have their own difficulty and runs their own effect; two pairs are of one photo.

    Args:
        seeds: per arm.
        pairs: per run.
        error: factor on an arm's corner error and RMSE, 1 where not named; so for ``matches``,
            ``kappa`` and ``predicted`` (the predicted error, which follows the error otherwise).
        failed: share of pairs without an estimate, by arm or of all; the first pairs fail.
        kappa_spread: factor on the spread of an arm's log10 κ.
        related: how far log10 κ rises with log10 of the error.
        protocol: of all rows.
        key: another makes another study.
    """
    rng = np.random.default_rng([key, seeds, pairs])
    difficulty = rng.normal(0, 0.3, pairs)
    pattern = rng.normal(0, 0.15, pairs)  # κ of the pairs, unrelated to their difficulty
    centered = difficulty - difficulty.mean()
    pattern = pattern - centered * (centered @ pattern) / (centered @ centered)
    parts = []
    for arm in ARMS:

        def factor(of: Mapping[str, float] | None, arm: str = arm) -> float:
            return float(np.log10((of or {}).get(arm, 1.0)))

        for seed in range(seeds):
            run = rng.normal(0, RUN_SD, 4)
            noise = rng.normal(0, 0.05, (4, pairs))
            log_error = 0.3 + difficulty + factor(error) + run[0] + noise[0]
            spread = (kappa_spread or {}).get(arm, 1.0)
            log_kappa = factor(kappa) + run[1] + spread * (pattern + noise[1])
            log_kappa = log_kappa + related * difficulty
            log_matches = 2 + 0.3 * pattern + factor(matches) + run[2] + noise[2]
            log_predicted = log_error + factor(predicted) + noise[3]
            rows = pd.DataFrame(
                {
                    "protocol": protocol,
                    "estimator": "dlt",
                    "arm": arm,
                    "seed": seed,
                    "pair_id": [f"{number:06d}" for number in range(1, pairs + 1)],
                    "photo": [f"photo{number // 2}.jpg" for number in range(pairs)],
                    "status": "ok",
                    "match_count": (10**log_matches).round(),
                    "precision_3px": np.clip(0.6 - 0.1 * log_error, 0, 1),
                    "recall_3px": np.clip(0.5 - 0.1 * log_error, 0, 1),
                    "kappa": 10 ** (0.8 + log_kappa),
                    "kappa_notebook": 10 ** (6.5 + log_kappa),
                    "predicted_corner_error_px": 10**log_predicted,
                    "corner_error_px": 10**log_error,
                    "rmse_notebook_gray": 10 ** (1 + 0.5 * log_error),
                }
            )
            rate = failed if isinstance(failed, float) else failed.get(arm, 0.0)
            lost = rows.index < round(rate * pairs)
            rows.loc[lost, "status"] = "degenerate"
            rows.loc[lost, ["kappa", "predicted_corner_error_px", "rmse_notebook_gray"]] = np.nan
            rows.loc[lost, "corner_error_px"] = np.inf
            parts.append(rows)
    return pd.concat(parts, ignore_index=True)
