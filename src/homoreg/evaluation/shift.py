"""Shift response: a descriptor's similarity to itself a few pixels away.

A descriptor that does not localize keeps a cosine near 1 over large shifts; one that localizes
falls within a few pixels to the similarity of unrelated places.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from homoreg.aggregates import finite_mean, quartiles
from homoreg.descriptors.descriptor import Descriptor
from homoreg.evaluation.patch_metrics import describe_finite, unit_length
from homoreg.evaluation.table import arm, identity, label
from homoreg.keyed import keyed_rng
from homoreg.matching import Detector, ShiTomasi, detect, image_key
from homoreg.plotting import GRAY, arm_styles, styled

SHIFTS_PX = (0, 1, 2, 4, 8, 16, 24, 32)


@dataclass(frozen=True)
class ShiftResponse:
    """cos(f(x), f(x + δ)) of one descriptor, over points x and directions of δ.

    The cosine of bits is 1 − 2 · (share of bits that differ): bits as ±1. The tuples have a number
    a shift, so ``pandas.DataFrame(vars(response))`` is a table with a row a shift.

    Attributes:
        descriptor, regularizer, seed: as in the evaluation's table.
        images: different images with at least one point.
        points: points x, the same for all shifts.
        shift_px: lengths of δ.
        mean, quartile_1, median, quartile_3: of the cosines, in [−1, 1]; NaN without any.
        n: cosines that these are over, at most points times directions.
        left_out: cosines that do not exist, since x or x + δ has no descriptor.
        unrelated: mean cosine of points in different images, the level that a curve can fall to
            (descriptors without negative numbers stay far above 0); NaN with one image.
    """

    descriptor: str
    regularizer: str
    seed: int | None
    images: int
    points: int
    shift_px: tuple[float, ...]
    mean: tuple[float, ...]
    quartile_1: tuple[float, ...]
    median: tuple[float, ...]
    quartile_3: tuple[float, ...]
    n: tuple[int, ...]
    left_out: tuple[int, ...]
    unrelated: float


def shift_response(
    descriptor: Descriptor,
    images: Iterable[np.ndarray],
    *,
    shifts_px: Sequence[float] = SHIFTS_PX,
    points_per_image: int = 50,
    directions: int = 4,
    detector: Detector | None = None,
    seed: int = 0,
) -> ShiftResponse:
    """Measure how a descriptor changes when its keypoint moves.

    Points are keypoints at least the largest shift away from the border, so that every shifted
    point lies in the image; an image too small for that has none. Points and directions depend on
    image, detector and seed alone, so they are the same for all descriptors.

    Args:
        descriptor: meets :class:`homoreg.descriptors.descriptor.Descriptor`.
        images: ``(H, W, 3)`` uint8 RGB, such as ``(pair.image1 for pair in benchmark)``; one that
            occurs again, as view 1 of several pairs does, is used once.
        shifts_px: lengths of δ ≥ 0.
        points_per_image: at most so many keypoints of an image, drawn at random.
        directions: of δ at each point, evenly spread, the first at random.
        detector: Shi-Tomasi corners by default.
        seed: of the draws.
    """
    shifts = np.asarray(shifts_px, np.float64)
    detector = detector or ShiTomasi()

    seen: set[str] = set()
    at_points = []  # (n, D) of unit length, each image's
    cosines = [np.empty((0, shifts.size, directions))]
    for image in images:
        key = image_key(image)
        if key in seen:
            continue
        seen.add(key)
        rng = keyed_rng("shift response", seed, key)
        points = draw_inside(detect(detector, image), image, shifts.max(), points_per_image, rng)
        if not len(points):
            continue
        places = shift_points(points[:, :2], shifts, directions, rng)
        moved_points = points.repeat(shifts.size * directions, axis=0)
        moved_points[:, :2] = places.reshape(-1, 2)
        every = np.concatenate([points, moved_points])
        units = unit_length(describe_finite(descriptor, image, every), descriptor.metric)
        still, moved = units[: len(points)], units[len(points) :]
        moved = moved.reshape(*places.shape[:3], -1)
        at_points.append(still)
        cosines.append(np.einsum("nd,nskd->nsk", still, moved))
    by_shift = np.concatenate(cosines).transpose(1, 0, 2).reshape(shifts.size, -1)
    existing = [row[np.isfinite(row)] for row in by_shift]
    spreads = [quartiles(row) for row in existing]
    return ShiftResponse(
        **identity(descriptor),
        images=len(at_points),
        points=sum(map(len, at_points)),
        shift_px=tuple(shifts.tolist()),
        mean=tuple(map(finite_mean, existing)),
        quartile_1=tuple(spread[0] for spread in spreads),
        median=tuple(spread[1] for spread in spreads),
        quartile_3=tuple(spread[2] for spread in spreads),
        n=tuple(row.size for row in existing),
        left_out=tuple(by_shift.shape[1] - row.size for row in existing),
        unrelated=_unrelated(at_points),
    )


def draw_inside(
    keypoints: np.ndarray, image: np.ndarray, margin_px: float, count: int, rng: np.random.Generator
) -> np.ndarray:
    """At most ``count`` of the keypoints that are ``margin_px`` or more from the border."""
    far = np.array([image.shape[1], image.shape[0]]) - 1 - margin_px
    places = keypoints[:, :2]
    inside = np.flatnonzero(((places >= margin_px) & (places <= far)).all(1))
    return keypoints[rng.permutation(inside)[:count]]


def shift_points(
    points: np.ndarray, shifts: np.ndarray, directions: int, rng: np.random.Generator
) -> np.ndarray:
    """``(N, S, K, 2)``: each of ``(N, 2)`` points moved by each of ``(S,)`` shifts K ways."""
    turns = rng.random((len(points), 1)) + np.arange(directions)
    angles = 2 * np.pi * turns / directions
    ways = np.stack([np.cos(angles), np.sin(angles)], axis=-1)
    return points[:, None, None] + shifts[:, None, None] * ways[:, None]


def _unrelated(at_points: list[np.ndarray]) -> float:
    """Mean cosine of each image's points with those of the next image."""
    if len(at_points) < 2:
        return float("nan")
    following = at_points[1:] + at_points[:1]
    return finite_mean(
        np.concatenate([(a @ b.T).ravel() for a, b in zip(at_points, following, strict=True)])
    )


@styled
def shift_figure(responses: Sequence[ShiftResponse]) -> Figure:
    """Mean cosine over the shift, a line a descriptor; thin bars are the quartiles.

    The last place on the axis, set apart, is the mean cosine of unrelated points.

    Args:
        responses: at least one, all at the same shifts.
    """
    shifts = responses[0].shift_px
    # Evenly spaced: on a linear scale the first four shifts would overlap.
    x = np.arange(len(shifts))
    end = len(shifts) + 0.5
    styles = arm_styles(arm(vars(response)) for response in responses)
    figure = Figure(figsize=(8.5, 4.5))
    axis = figure.subplots()
    for number, response in enumerate(responses):
        style = styles[arm(vars(response))]
        line: dict[str, Any] = {"color": style.color, "marker": style.marker, "markersize": 5}
        # Side by side, so that equal values do not hide each other.
        offset = 0.5 * (number - (len(responses) - 1) / 2) / len(responses)
        axis.vlines(
            x + offset, response.quartile_1, response.quartile_3, color=style.color, linewidth=0.8
        )
        axis.plot(
            x + offset, response.mean, linestyle=style.linestyle, label=_label(response), **line
        )
        axis.plot(end + offset, response.unrelated, fillstyle="none", **line)
    axis.axvline(end - 0.75, color=GRAY, linewidth=0.8)
    axis.set_xticks([*x, end], [*(f"{shift:g}" for shift in shifts), "other\nimage"])
    axis.set(xlabel="shift δ (px)", ylabel="cos(f(x), f(x + δ)), mean and quartiles")
    axis.set_ylim(top=1.02)
    axis.xaxis.grid(False)
    figure.legend(loc="outside right upper", handlelength=3.5)
    return figure


def _label(response: ShiftResponse) -> str:
    left_out = f", {max(response.left_out)} left out" if any(response.left_out) else ""
    return f"{label(vars(response))}\nn = {max(response.n)}{left_out}"
