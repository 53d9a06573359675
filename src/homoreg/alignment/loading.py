"""From the name of a descriptor or a run to an :class:`Aligner` with its calibrated bound."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from homoreg.alignment.aligner import MAX_SIDE_PX, Aligner, Photograph, Steps
from homoreg.alignment.result import Alignment
from homoreg.descriptors.descriptor import Descriptor
from homoreg.descriptors.loading import load_descriptor
from homoreg.evaluation.calibration import Bound, Calibration
from homoreg.evaluation.pair import Matcher
from homoreg.evaluation.table import identity, label, main_estimator
from homoreg.geometry import Estimator
from homoreg.matching import Detector, RatioMatcher, SiftKeypoints
from homoreg.runs import RunFolder
from homoreg.runs.targets import instantiate_untrusted

# Those of recipe=strong, with a refit that suits real photographs as well.
DEFAULT_STEPS = Steps(
    SiftKeypoints(contrast_threshold=0.02),
    RatioMatcher(mutual=True),
    Estimator("magsac", refit_px="auto"),
)
# Bounds of descriptors that have a name, measured by python -m benchmarks.alignment.
BOUNDS_FILE = Path(__file__).with_name("bounds.json")


def align_images(
    image1: Photograph,
    image2: Photograph,
    descriptor: str | Path | Descriptor = "homoreg",
    **options: Any,
) -> Alignment:
    """Align two photographs: the homography between them and how far it can be trusted.

    Args:
        image1, image2: files, or arrays ``(H, W)``, ``(H, W, 3)`` or ``(H, W, 4)`` of uint8 or
            uint16; the sizes may differ.
        descriptor, options: those of :func:`load_aligner`, which aligns many photographs with one
            descriptor.

    Raises:
        HomoregError: a photograph cannot be used, or there is no such descriptor.

    >>> import numpy as np
    >>> blank = np.zeros((40, 60), np.uint8)
    >>> align_images(blank, blank, "rootsift").verdict
    'failed, because the photographs have no keypoints'
    """
    return load_aligner(descriptor, **options)(image1, image2)


def load_aligner(
    descriptor: str | Path | Descriptor = "homoreg",
    *,
    detector: Detector | None = None,
    matcher: Matcher | None = None,
    estimator: Estimator | None = None,
    max_side_px: int | None = MAX_SIDE_PX,
    checkpoint: str = "",
    device: str | None = None,
    packages: Sequence[str] = (),
) -> Aligner:
    """An :class:`Aligner`: the steps from two photographs to a homography, and their calibration.

    Args:
        descriptor: a name, run or file as in :func:`homoreg.load_descriptor`, or an object with a
            method ``describe``.
        detector, matcher, estimator: by default a run's own, else those of ``recipe=strong``.
        max_side_px: photographs with a longer side are reduced to this one, and the homography is
            given for the full ones; None never reduces.
        checkpoint, device, packages: see :func:`homoreg.load_descriptor`.

    Raises:
        HomoregError: there is no such descriptor, or an option is out of its range.
    """
    source = str(descriptor) if isinstance(descriptor, (str, Path)) else ""
    if source:
        # Baselines follow the keypoints' scales, as trained descriptors do.
        options: dict[str, Any] = {"device": device, "packages": packages, "window": "scaled"}
        descriptor = load_descriptor(source, checkpoint=checkpoint, **options)
    assert isinstance(descriptor, Descriptor)
    run = RunFolder(Path(source)) if source and Path(source).is_dir() else None
    own = _steps_of(run, packages) if run else DEFAULT_STEPS
    steps = Steps(detector or own.detector, matcher or own.matcher, estimator or own.estimator)
    ratio, bound = None, _stored_bound(source, descriptor, steps)
    if run and steps == own and checkpoint in ("", run.config["evaluation"]["checkpoint"]):
        ratio, bound = _calibration_of(run, descriptor)
    if steps.estimator.max_ratio == "auto":
        steps = replace(steps, estimator=replace(steps.estimator, max_ratio=ratio))
    return Aligner(source or descriptor.name, descriptor, steps, bound, max_side_px)


def _steps_of(run: RunFolder, packages: Sequence[str]) -> Steps:
    """The steps of a run's evaluation, with its first robust estimator."""
    config = run.config
    chosen = config["estimators"][main_estimator(config["estimators"])]
    parts = {"detector": config["detector"], "matcher": config["matcher"], "estimator": chosen}
    known = ("homoreg.matching", "homoreg.geometry")
    return Steps(
        **{
            part: instantiate_untrusted(
                options, object, f"{run.config_file}: {part}", packages, known
            )
            for part, options in parts.items()
        }
    )


def _calibration_of(run: RunFolder, descriptor: Descriptor) -> tuple[float | None, Bound | None]:
    """The ratio and the bound of a run's own calibration, for its main estimator."""
    file = run.evaluation_csv().with_name("calibration.json")
    if not file.is_file():
        return None, None
    calibration = Calibration.read(file)
    key = label(identity(descriptor)), main_estimator(run.config["estimators"])
    return calibration.max_ratios.get(key), calibration.bounds.get(key)


def _stored_bound(source: str, descriptor: Descriptor, steps: Steps) -> Bound | None:
    """The bound that was measured for a descriptor by its name: these steps, and these weights."""
    asked = {"descriptor": source, "weights": weights_hash(descriptor), "steps": steps.as_text()}
    for entry in json.loads(BOUNDS_FILE.read_text(encoding="utf-8"))["entries"]:
        if asked.items() <= entry.items():
            return Bound(entry["factor"], entry["pairs"], entry["photos"])
    return None


def weights_hash(descriptor: Descriptor) -> str:
    """SHA-256 of the file that a trained descriptor comes from; empty for any other."""
    origin = getattr(descriptor, "origin", None)
    return hashlib.sha256(origin.file.read_bytes()).hexdigest() if origin else ""
