"""Each stage of the pipeline alone, at the default setting."""

import shutil
import warnings
from collections.abc import Callable
from copy import deepcopy
from itertools import count

import numpy as np
import torch
from hydra.utils import instantiate
from torch import nn

from benchmarks.measure import Ratio, Row, Session, in_turns, milliseconds, now, rows, seconds
from benchmarks.training import BareStep, training_config
from homoreg.cli import compose
from homoreg.data.bank import PixelBank
from homoreg.data.images import decode_image, encode_jpeg, read_image
from homoreg.data.manifest import PairManifest
from homoreg.data.pairs import PairRecipe
from homoreg.data.patches import Window
from homoreg.descriptors.checkpoint import build_network
from homoreg.descriptors.layers import to_network
from homoreg.geometry import (
    compare_aligned,
    conditioning,
    dlt_homography,
    estimate_homography,
    rmse_notebook_gray,
    transform_points,
)
from homoreg.matching import RatioMatcher, ShiTomasi

MATCHES = 200


def measure(session: Session) -> list[Row]:
    repeats = session.pick(7, 1)
    return [
        *preparing(session, repeats),
        *drawing(session, repeats),
        *evaluating(session, repeats),
        *describing(session, repeats),
        # Last, because its trainer changes how the process reuses freed memory.
        *training_step(session, repeats),
    ]


def preparing(session: Session, repeats: int) -> list[Row]:
    """Making a pair from a photo, and a bank from the images of a manifest."""
    cfg = compose("prepare", ["warp.repeats=1"])
    manifest = PairManifest.load(session.root / "pairs_train.json")
    photo = manifest.pairs[0].img1
    cfg.source = {"_target_": "homoreg.data.sources.FolderSource", "root": str(photo.parent)}
    recipe = PairRecipe(instantiate(cfg.source), instantiate(cfg.warp), 0, cfg.prepare.jpeg_quality)
    folder = session.scratch / "prepared"
    folder.mkdir()
    numbers = count(1)
    view2 = read_image(manifest.pairs[0].img2)

    def decode_photo() -> np.ndarray:
        return decode_image(photo.read_bytes(), "photo")

    def encode_view() -> None:
        encode_jpeg(view2, cfg.prepare.jpeg_quality)

    def coding() -> None:
        decode_photo()
        encode_view()

    image = decode_photo()
    draw = recipe.warp.draw(0, photo.name, 0, image.shape[1::-1])
    made = {
        "JPEG coding alone": milliseconds(coding),
        "a pair of a photo": milliseconds(lambda: recipe.make(photo.name, next(numbers), folder)),
        "of it decoding": milliseconds(decode_photo),
        "of it encoding": milliseconds(encode_view),
        "of it drawing a homography": milliseconds(
            lambda: recipe.warp.draw(0, photo.name, next(numbers), image.shape[1::-1])
        ),
        "of it rendering view 2": milliseconds(lambda: recipe.warp.apply(image, draw)),
    }
    ratios = {"a pair of a photo": [Ratio("JPEG coding alone", "× JPEG coding alone")]}
    table = rows("stages", "prepare, one thread", "ms", in_turns(made, repeats), ratios)

    images = sorted({path for pair in manifest.pairs for path in (pair.img1, pair.img2)})

    def build() -> None:
        shutil.rmtree(PixelBank(manifest).path)
        PixelBank(manifest).fill()

    def decode() -> None:
        for path in images:
            read_image(path)

    built = {
        "decoding alone, one thread": lambda: 1e3 * seconds(decode) / len(images),
        "building": lambda: 1e3 * seconds(build) / len(images),
    }
    alone = Ratio("decoding alone, one thread", "× as fast as decoding alone", inverted=True)
    ratios = {"building": [alone]}
    measured = in_turns(built, session.pick(3, 1))
    return table + rows("stages", "bank", "ms an image", measured, ratios)


def drawing(session: Session, repeats: int) -> list[Row]:
    """Drawing samples and cutting their patches."""
    cfg = training_config(session, [])
    data = instantiate(cfg.data)
    data.setup()
    batch = cfg.data.batch_size
    starts = count(0, batch)

    def numbers() -> np.ndarray:
        """Sample indices of the next batch."""
        first = next(starts) % (data.pairs_per_epoch - batch)
        return np.arange(first, first + batch)

    image = data.train.bank.view1(0)
    points = np.random.default_rng(0).uniform((0, 0), image.shape[1::-1], (2 * batch, 2))
    # Keypoints of 2 to 16 pixels, as many in each octave, whose windows are as large on average.
    random = np.random.default_rng(1)
    scales, angles = 2 ** random.uniform(1, 4, len(points)), random.uniform(0, 360, len(points))
    frames = np.column_stack([points, scales, angles])

    def cutting(window: str) -> Callable[[], float]:
        cut = Window(cfg.patch.support, cfg.patch.size, window, cfg.patch.scale_factor)
        return milliseconds(lambda: cut.patches(image, frames))

    works = {
        "drawing correspondences": milliseconds(lambda: data.train.sampler.sample(0, numbers())),
        "cutting fixed windows of both views": cutting("fixed"),
        "cutting scaled windows of both views": cutting("scaled"),
        "cutting oriented windows of both views": cutting("oriented"),
        "the whole batch by the data set": milliseconds(lambda: data.train.cut(numbers().tolist())),
    }
    return rows("stages", f"a batch of {batch}, one thread", "ms", in_turns(works, repeats))


def evaluating(session: Session, repeats: int) -> list[Row]:
    """Evaluating a pair, without the network."""
    pair = PairManifest.load(session.root / "pairs_eval.json").pairs[0]
    assert pair.homography is not None
    view1, view2 = read_image(pair.img1), read_image(pair.img2)
    random = np.random.default_rng(0)
    described1 = random.standard_normal((500, 32)).astype(np.float32)
    described2 = random.standard_normal((500, 32)).astype(np.float32)
    points1 = random.uniform((0, 0), pair.size1, (MATCHES, 2))
    points2 = transform_points(points1, pair.homography) + random.normal(0, 1, (MATCHES, 2))
    solved = dlt_homography(points1, points2).homography
    mixed2 = points2.copy()  # a third of the matches are wrong
    mixed2[::3] = random.uniform((0, 0), pair.size2, (len(mixed2[::3]), 2))
    magsac, weighted = (
        instantiate(compose("evaluate", [f"estimators=[{name}]"]).estimators.magsac)
        for name in ("magsac", "magsac_weighted")
    )
    H = pair.homography

    def solve_and_condition() -> None:
        estimate = estimate_homography(points1, points2)
        conditioning(points1, points2, estimate.homography, pair.size1, estimate.configuration)

    times = session.pick(50, 1)
    works = {
        "decoding both views": milliseconds(lambda: (read_image(pair.img1), read_image(pair.img2))),
        "detection, one view": milliseconds(lambda: ShiTomasi()(view1)),
        "matching, 500 × 500": milliseconds(lambda: RatioMatcher()(described1, described2)),
        "DLT, 200 matches": milliseconds(lambda: dlt_homography(points1, points2), times),
        "conditioning, 200 matches": milliseconds(
            lambda: conditioning(points1, points2, solved, pair.size1), times
        ),
        "DLT and conditioning, 200 matches": milliseconds(solve_and_condition, times),
        "MAGSAC with a refit, 200 matches": milliseconds(lambda: magsac(points1, mixed2), times),
        "MAGSAC with a weighted refit": milliseconds(lambda: weighted(points1, mixed2), times),
        "RMSE and SSIM": milliseconds(lambda: compare_aligned(view1, view2, H)),
        "the original RMSE": milliseconds(lambda: rmse_notebook_gray(view1, view2, H)),
    }
    return rows("stages", "evaluating a pair", "ms", in_turns(works, repeats))


def describing(session: Session, repeats: int) -> list[Row]:
    """The network's forward passes, most of the time of an evaluation: eager, and otherwise."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    count = session.pick(128, 8)  # as in an evaluation on a CPU
    patches = np.random.default_rng(0).integers(256, size=(count, 32, 32, 3), dtype=np.uint8)
    batch = to_network(torch.from_numpy(patches))
    table = []
    for model in ("cnn", "spatial"):
        network = build_network(training_config(session, [f"model={model}"]).model, seed=0)
        network = network.eval().to(memory_format=torch.channels_last)
        works = forward_passes(network, batch, compiled=not session.quick)
        ratio = Ratio("float32, eager", "× as fast as eager", inverted=True)
        ratios = {name: [ratio] for name in works if name != ratio.to}
        setting = f"model={model}, {count} patches of 32 px, one thread"
        table += rows("stages", setting, "ms", in_turns(works, 3 * repeats), ratios)
    torch.set_num_threads(threads)
    return table


def forward_passes(
    network: nn.Module, batch: torch.Tensor, compiled: bool
) -> dict[str, Callable[[], float]]:
    """Functions that time a pass; an evaluation uses the first one.

    Args:
        network: in evaluation mode, with channels last.
        batch: ``(N, 3, S, S)``.
        compiled: also with torch.compile, which takes a C++ compiler and tens of seconds.
    """

    def timed(forward: Callable[[torch.Tensor], torch.Tensor]) -> Callable[[], float]:
        @torch.inference_mode()
        def work() -> None:
            forward(batch)

        work()  # compiles and optimizes
        work()
        return milliseconds(work)

    def in_bfloat16(batch: torch.Tensor) -> torch.Tensor:
        with torch.autocast("cpu", torch.bfloat16):
            return network(batch)

    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # torch.jit is deprecated
        frozen = torch.jit.optimize_for_inference(torch.jit.trace(network, batch))
    contiguous = deepcopy(network).to(memory_format=torch.contiguous_format)
    works = {
        "float32, eager": timed(network),
        "float32, without channels last": timed(contiguous),
        "float32, frozen by torch.jit": timed(frozen),
    }
    if compiled:
        works["float32, torch.compile"] = timed(torch.compile(network))
    return works | {"bfloat16, eager": timed(in_bfloat16)}


def training_step(session: Session, repeats: int) -> list[Row]:
    """Forward, backward and optimizer step on a batch in memory."""
    cfg = training_config(session, [])
    if session.quick:
        cfg.data.batch_size = 8
    step = BareStep(cfg)
    step()
    measured: dict[str, list[float]] = {"forward and loss": [], "backward": [], "optimizer": []}
    for _ in range(repeats):
        times = [now()]
        loss = step.loss()
        times.append(now())
        step.backward(loss)
        times.append(now())
        step.update()
        times.append(now())
        for name, duration in zip(measured, np.diff(times), strict=True):
            measured[name].append(1e3 * float(duration))
    setting = f"a bare step, batch {cfg.data.batch_size}, {cfg.trainer.precision}"
    return rows("stages", setting, "ms", measured)
