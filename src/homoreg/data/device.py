"""Cutting of patches on the training device, which holds the pixels."""

from functools import lru_cache

import torch
from torch import nn

from homoreg.data.bank import PixelBank
from homoreg.data.patches import MAX_LEVEL, Window

# Windows cut at the same time: 17 MB of float32 at 64 pixels on a CPU, for its caches.
WINDOWS_AT_ONCE, WINDOWS_AT_ONCE_GPU = 256, 2048
# Samples per pixel of a patch along one side, in windows that follow keypoints.
SAMPLES = 4


class DeviceBank:
    """The pixels of a bank on a device, and windows cut from them.

    Args:
        bank: filled.
        window: how patches are cut. Windows that follow keypoints also need reduced images.
        device: holds the pixels.
    """

    def __init__(self, bank: PixelBank, window: Window, device: torch.device) -> None:
        self.window = window
        self.device = device
        self.pixels = packed(torch.from_numpy(bank.pixels()).view(-1, 3).to(device))
        # (levels, images, 3) int64: first pixel, width and height of each image at each level.
        places = torch.from_numpy(bank.places(bank.slots)) // torch.tensor([3, 1, 1])
        self.places = places.to(device)[None]
        if window.window != "fixed":
            self._add_levels()

    def cut(self, images: torch.Tensor, frames: torch.Tensor) -> torch.Tensor:
        """:meth:`homoreg.data.patches.Window.patches` on this device, without synchronization.

        Fixed windows differ from those cut on the host by up to one gray level, or two for patches
        larger than their windows, where OpenCV rounds its weights to 2⁻¹¹. Other windows are
        sampled more densely here and differ by less than one gray level on average.

        Args:
            images: ``(N,)`` int64, the number of each patch's image in the bank.
            frames: ``(N, 2)``, ``(N, 3)`` or ``(N, 4)`` float32 keypoints.

        Returns:
            ``(N, size, size, 3)`` uint8.
        """
        fixed = self.window.window == "fixed"
        cut = self._cut_fixed if fixed else self._cut_along
        at_once = WINDOWS_AT_ONCE if self.device.type == "cpu" else WINDOWS_AT_ONCE_GPU
        at_once //= 1 if fixed else 4
        return torch.cat(list(map(cut, images.split(at_once), frames.split(at_once))))

    def _cut_fixed(self, images: torch.Tensor, frames: torch.Tensor) -> torch.Tensor:
        support, size = self.window.support, self.window.size
        places = self.places[0, images]
        return cut_patches_on_device(self.pixels, places, frames[:, :2], support=support, size=size)

    def _cut_along(self, images: torch.Tensor, frames: torch.Tensor) -> torch.Tensor:
        size, count = self.window.size, SAMPLES * self.window.size
        sides = self.window.scale_factor * frames[:, 2]
        angles = torch.zeros_like(sides)
        if self.window.window == "oriented":
            angles = torch.deg2rad(frames[:, 3])
        levels = (torch.log2(sides / size).ceil() - 2).clamp(0, MAX_LEVEL).long()
        factors = 2.0**levels
        first, width, height = self.places[levels, images][:, :, None, None].unbind(1)
        # Samples (u, v) about the center, turned, in pixels of the reduced image.
        grid = torch.arange(count, device=self.device) - (count - 1) / 2
        step = sides / count / factors
        cos, sin = (step * angles.cos())[:, None, None], (step * angles.sin())[:, None, None]
        center = (frames[:, :2] + 0.5) / factors[:, None] - 0.5
        x = center[:, 0, None, None] + cos * grid - sin * grid[:, None]
        y = center[:, 1, None, None] + sin * grid + cos * grid[:, None]
        # Clamped: outside the image its edge is replicated.
        x, y = x.clamp_min(0).minimum(width - 1), y.clamp_min(0).minimum(height - 1)
        left, top = x.long(), y.long()
        right, bottom = (left + 1).minimum(width - 1), (top + 1).minimum(height - 1)

        def at(row: torch.Tensor, column: torch.Tensor) -> torch.Tensor:
            return unpacked(self.pixels[first + row * width + column])

        fx, fy = (x - left)[..., None], (y - top)[..., None]
        upper = torch.lerp(at(top, left), at(top, right), fx)
        lower = torch.lerp(at(bottom, left), at(bottom, right), fx)
        samples = torch.lerp(upper, lower, fy)
        blocks = samples.unflatten(2, (size, SAMPLES)).unflatten(1, (size, SAMPLES))
        return (blocks.mean((2, 4)) + 0.5).floor().byte()

    def _add_levels(self) -> None:
        """Append every image reduced by 2, 4, … to the pixels."""
        pixels, places = [self.pixels], [self.places[0].cpu()]
        end = len(self.pixels)
        for level in range(1, MAX_LEVEL + 1):
            rows = []
            for start, width, height in places[0].tolist():
                image = self.pixels[start : start + width * height].view(height, width)
                reduced = _reduced(image, 2**level)
                pixels.append(reduced.flatten())
                rows.append((end, reduced.shape[1], reduced.shape[0]))
                end += reduced.numel()
            places.append(torch.tensor(rows))
        self.pixels = torch.cat(pixels)
        self.places = torch.stack(places).to(self.device)


def _reduced(image: torch.Tensor, factor: int) -> torch.Tensor:
    """:func:`homoreg.data.patches.reduce_by` of ``(H, W)`` packed pixels, up to its rounding."""
    height, width = image.shape[:2]
    rows = torch.arange(-(-height // factor) * factor, device=image.device).clamp_max(height - 1)
    columns = torch.arange(-(-width // factor) * factor, device=image.device).clamp_max(width - 1)
    padded = unpacked(image[rows][:, columns])
    blocks = padded.unflatten(1, (-1, factor)).unflatten(0, (-1, factor))
    return packed((blocks.mean((1, 3)) + 0.5).floor().byte())


def packed(pixels: torch.Tensor) -> torch.Tensor:
    """``(…, 3)`` uint8 as ``(…)`` int32: one read fetches a pixel.

    >>> packed(torch.tensor([[1, 2, 0]], dtype=torch.uint8))
    tensor([513], dtype=torch.int32)
    """
    return nn.functional.pad(pixels, (0, 1)).view(torch.int32).squeeze(-1)


def unpacked(pixels: torch.Tensor) -> torch.Tensor:
    """``(…)`` int32 of :func:`packed` as ``(…, 3)`` float32."""
    return pixels[..., None].view(torch.uint8)[..., :3].float()


def cut_patches_on_device(
    pixels: torch.Tensor, slots: torch.Tensor, points: torch.Tensor, *, support: int, size: int
) -> torch.Tensor:
    """:func:`homoreg.data.patches.cut_patches` on any device.

    Args:
        pixels: ``(P,)`` int32, concatenated images, each ``(H, W)``, see :func:`packed`.
        slots: ``(N, 3)`` int64, first pixel, width and height of each patch's image.
        points: ``(N, 2)`` float32, x, y of each patch's center in its image, pixels.
        support: side of the window in pixels of the image.
        size: side of the patch in pixels.

    Returns:
        ``(N, size, size, 3)`` uint8 on the device of ``pixels``.
    """
    first, width, height = slots[:, :, None].unbind(1)  # (N, 1) each
    corner = points - (support - 1) / 2
    whole = corner.floor()
    fraction = (corner - whole)[:, :, None, None]
    steps = torch.arange(support + 1, device=pixels.device)
    # Indices are clamped: outside the image its edge is replicated.
    x = (whole[:, :1].long() + steps).clamp_min(0).minimum(width - 1)
    y = (whole[:, 1:].long() + steps).clamp_min(0).minimum(height - 1)
    area = unpacked(pixels[first[:, :, None] + y[:, :, None] * width[:, :, None] + x[:, None, :]])
    area = torch.lerp(area[:, :, :-1], area[:, :, 1:], fraction[:, :1])
    area = torch.lerp(area[:, :-1], area[:, 1:], fraction[:, 1:])
    if support != size:
        # As OpenCV, round the window (halves up) before it is resized.
        weights = resizing_weights(support, size, pixels.device)
        area = torch.einsum("iy,nyxc->nixc", weights, (area + 0.5).floor())
        area = torch.einsum("jx,nixc->nijc", weights, area)
    return (area + 0.5).floor().clamp_(0, 255).byte()


@lru_cache
def resizing_weights(old: int, new: int, device: torch.device | str | None = None) -> torch.Tensor:
    """``(new, old)`` float32, the weights that resize one axis, cached per device.

    Area averages for reduction and linear interpolation for enlargement, as OpenCV's ``INTER_AREA``
    and ``INTER_LINEAR``.

    >>> resizing_weights(4, 2)
    tensor([[0.5000, 0.5000, 0.0000, 0.0000],
            [0.0000, 0.0000, 0.5000, 0.5000]])
    """
    scale = old / new
    edges = torch.arange(old, dtype=torch.float64)
    if scale >= 1:
        start = torch.arange(new, dtype=torch.float64)[:, None] * scale
        shared = torch.minimum(edges + 1, start + scale) - torch.maximum(edges, start)
        return (shared.clamp_min(0) / scale).float().to(device)
    center = (torch.arange(new, dtype=torch.float64)[:, None] + 0.5) * scale - 0.5
    center = center.clamp(0, old - 1)
    return (1 - (edges - center).abs()).clamp_min(0).float().to(device)
