"""Cutting of patches on the training device, which holds the pixels."""

from functools import lru_cache

import torch

# Windows cut at the same time: 13 MB of float32 at 64 pixels.
WINDOWS_AT_ONCE = 256


def cut_patches_on_device(
    pixels: torch.Tensor, slots: torch.Tensor, points: torch.Tensor, *, support: int, size: int
) -> torch.Tensor:
    """:func:`homoreg.data.patches.cut_patches` on any device, without synchronization.

    Results differ by up to one gray level, or two for patches larger than their windows, where
    OpenCV rounds its weights to 2⁻¹¹.

    Args:
        pixels: ``(B,)`` uint8, concatenated images, each ``(H, W, 3)``.
        slots: ``(N, 3)`` int64, first byte, width and height of each patch's image.
        points: ``(N, 2)`` float32, x, y of each patch's center in its image, pixels.
        support: side of the window in pixels of the image.
        size: side of the patch in pixels.

    Returns:
        ``(N, size, size, 3)`` uint8 on the device of ``pixels``.
    """
    parts = [
        _cut(pixels, some_slots, some_points, support, size)
        for some_slots, some_points in zip(
            slots.split(WINDOWS_AT_ONCE), points.split(WINDOWS_AT_ONCE), strict=True
        )
    ]
    return torch.cat(parts)


def _cut(
    pixels: torch.Tensor, slots: torch.Tensor, points: torch.Tensor, support: int, size: int
) -> torch.Tensor:
    first, width, height = slots[:, :, None].unbind(1)  # (N, 1) each
    corner = points - (support - 1) / 2
    whole = corner.floor()
    fraction = (corner - whole)[:, :, None, None]
    steps = torch.arange(support + 1, device=pixels.device)
    # Indices are clamped: outside the image its edge is replicated.
    x = (whole[:, :1].long() + steps).clamp_min(0).minimum(width - 1)
    y = (whole[:, 1:].long() + steps).clamp_min(0).minimum(height - 1)
    offsets = first[:, :, None] + 3 * (y[:, :, None] * width[:, :, None] + x[:, None, :])
    channels = torch.arange(3, device=pixels.device)
    area = pixels[offsets[..., None] + channels].float()
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
