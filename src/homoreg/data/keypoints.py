"""Keypoints of a bank's images, detected once and kept with the bank."""

import hashlib
import inspect
import logging
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np

from homoreg.data.bank import PixelBank
from homoreg.errors import HomoregError
from homoreg.files import atomic_path
from homoreg.geometry.frames import Detector, detect_frames, transform_frames
from homoreg.progress import progress

log = logging.getLogger(__name__)

# Pairs in which the views share fewer keypoints are not drawn from.
MIN_KEYPOINTS = 8


@dataclass(frozen=True)
class ViewKeypoints:
    """The keypoints of view 1 that view 2 shows, for P pairs.

    Attributes:
        frames: ``(K, 2)``, ``(K, 3)`` or ``(K, 4)`` keypoints of all images together.
        shown: ``(V,)`` int, rows of ``frames``, pair by pair.
        starts: ``(P,)`` where each pair's rows start in ``shown``.
        counts: ``(P,)`` how many rows each pair has.
    """

    frames: np.ndarray
    shown: np.ndarray
    starts: np.ndarray
    counts: np.ndarray

    def pick(self, pair: np.ndarray, uniforms: np.ndarray) -> np.ndarray:
        """A keypoint of each pair, by a number in [0, 1)."""
        rows = self.starts[pair] + (uniforms * self.counts[pair]).astype(int)
        return self.frames[self.shown[rows]]

    def usable(self, pairs: np.ndarray) -> np.ndarray:
        """Those of the pairs that have enough keypoints to draw from.

        Raises:
            HomoregError: none has.
        """
        usable = pairs[self.counts[pairs] >= MIN_KEYPOINTS]
        if not len(usable):
            raise HomoregError(
                f"data.keypoints: no two views share {MIN_KEYPOINTS} keypoints of this detector"
            )
        return usable


def view_keypoints(bank: PixelBank, detector: Detector, homographies: np.ndarray) -> ViewKeypoints:
    """Detect in every view 1 of a bank, and find what view 2 shows of it.

    Args:
        bank: the images.
        detector: maps ``(H, W, 3)`` uint8 RGB to keypoints.
        homographies: ``(P, 3, 3)``, view 1 to view 2.

    Raises:
        HomoregError: the detector did not return keypoints.
    """
    frames, ends = _detected(bank, detector)
    _, image_of = np.unique([slot.number for slot in bank.slots1], return_inverse=True)
    shown = []
    for image, homography, size in zip(image_of, homographies, bank.sizes2, strict=True):
        rows = np.arange(ends[image - 1] if image else 0, ends[image])
        places = transform_frames(frames[rows, :2], homography)
        shown.append(rows[((places >= 0) & (places <= size - 1)).all(1)].astype(np.int32))
    counts = np.array([len(rows) for rows in shown])
    return ViewKeypoints(frames, np.concatenate(shown), np.cumsum(counts) - counts, counts)


def _detected(bank: PixelBank, detector: Detector) -> tuple[np.ndarray, np.ndarray]:
    """The keypoints of all images of view 1, and where each image's end among them."""
    path = bank.path / f"keypoints.{detector_key(detector)}.npz"
    try:
        with np.load(path) as stored:
            return stored["frames"], stored["ends"]
    except (OSError, ValueError, KeyError):
        pass  # missing, or damaged: detected again
    _, pairs = np.unique([slot.number for slot in bank.slots1], return_index=True)
    found = [
        detect_frames(detector, bank.view1(pair), "data.keypoints")
        for pair in progress(pairs.tolist(), "detecting keypoints")
    ]
    ends = np.cumsum([len(keypoints) for keypoints in found])
    some = [keypoints for keypoints in found if len(keypoints)]
    frames = np.concatenate(some) if some else np.empty((0, 2))
    with bank.writing(), atomic_path(path) as temporary:
        np.savez(temporary, frames=frames, ends=ends)
    log.info("detected %d keypoints in %d images", len(frames), len(found))
    return frames, ends


def detector_key(detector: Detector) -> str:
    """A key of a detector's class, its code and its options, and of OpenCV's version."""
    kind: Any = detector if inspect.isroutine(detector) else type(detector)
    try:
        code = inspect.getsource(kind)
    except (OSError, TypeError):
        code = ""
    options = sorted(getattr(detector, "__dict__", {}).items())
    text = f"{kind.__module__}.{kind.__qualname__} {options} {cv2.__version__} {code}"
    return hashlib.sha256(text.encode()).hexdigest()[:16]
