"""Photographs in and out: whatever a camera or a scanner wrote becomes uint8 RGB, or one line."""

import io
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, ImageOps

from homoreg.errors import HomoregError

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".tif", ".tiff", ".bmp")
EXIF_ORIENTATION = 0x0112


class PhotoError(HomoregError):
    """One photograph that cannot be used; the others can go on."""


def read_image(path: str | Path) -> np.ndarray:
    """Read a photograph as it is meant to be seen.

    Args:
        path: a file of any kind that Pillow reads.

    Returns:
        ``(H, W, 3)`` uint8 RGB, as in :func:`decode_image`.

    Raises:
        PhotoError: the file is missing, or no whole image is in it.
    """
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise PhotoError(f"{path}: cannot be read ({error.strerror})") from error
    return decode_image(data, str(path))


def decode_image(data: bytes, name: str) -> np.ndarray:
    """Decode a photograph; ``name`` stands in the error.

    EXIF orientation is applied, 16 bits are scaled to 8, gray and CMYK become RGB, transparent
    parts show white, and of an animation the first frame is taken.

    Args:
        data: the whole file.
        name: what to call it in an error.

    Returns:
        ``(H, W, 3)`` uint8 RGB.

    Raises:
        PhotoError: empty, truncated, no image, float pixels, or so many pixels (Pillow's limit,
            179 million) that decoding it is not safe.
    """
    if not data:
        raise PhotoError(f"{name}: the file is empty")
    # Decoders meet damaged files with a dozen kinds of exception; all of them mean the same here.
    try:
        with Image.open(io.BytesIO(data)) as image:
            image.load()
            # In place, and no conversion of what is RGB: each would copy the whole image.
            ImageOps.exif_transpose(image, in_place=True)
            return np.asarray(image if image.mode == "RGB" else _rgb(image, name))
    except HomoregError:
        raise
    except Image.UnidentifiedImageError as error:
        raise PhotoError(f"{name}: not an image that can be read") from error
    except Exception as error:
        raise PhotoError(f"{name}: damaged image ({' '.join(str(error).split())})") from error


def _rgb(image: Image.Image, name: str) -> Image.Image:
    """A Pillow image of any other mode in RGB."""
    if image.mode.startswith("I"):  # 16 bits; Pillow would clip them and not scale them
        values = np.asarray(image).astype(np.int64)
        if values.min() < 0 or values.max() > 65535:
            raise PhotoError(f"{name}: more than 16 bits a channel; save it with 8 or 16")
        return Image.fromarray((values >> 8).astype(np.uint8)).convert("RGB")
    if image.mode == "F":
        raise PhotoError(f"{name}: floating-point pixels; save it with 8 or 16 bits a channel")
    if image.has_transparency_data:
        seen = image.convert("RGBA")
        white = Image.new("RGBA", seen.size, "white")
        return Image.alpha_composite(white, seen).convert("RGB")
    return image.convert("RGB")


def image_size(path: str | Path) -> tuple[int, int]:
    """``(width, height)`` of an image as :func:`read_image` returns it, from its header alone.

    Raises:
        PhotoError: the file is missing or no image.
    """
    try:
        with Image.open(path) as image:
            width, height = image.size
            turned = image.getexif().get(EXIF_ORIENTATION) in (5, 6, 7, 8)  # by a quarter
    except OSError as error:
        raise PhotoError(f"{path}: missing, or no image that can be read") from error
    return (height, width) if turned else (width, height)


def encode_jpeg(image: np.ndarray, quality: int) -> bytes:
    """A JPEG file of ``(H, W, 3)`` uint8 RGB, color at full resolution, quality 1 to 100."""
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "JPEG", quality=quality, subsampling=0)
    return buffer.getvalue()


def limit_side(image: np.ndarray, max_side: int | None) -> np.ndarray:
    """The image itself, or brought down to ``max_side`` pixels on its longer side.

    >>> limit_side(np.zeros((300, 400, 3), np.uint8), 200).shape
    (150, 200, 3)
    """
    height, width = image.shape[:2]
    if max_side is None or max(width, height) <= max_side:
        return image
    scale = max_side / max(width, height)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    return cv2.resize(image, size, interpolation=cv2.INTER_AREA)


def first_view(
    data: bytes, name: str, *, max_side: int | None, min_side: int, quality: int
) -> tuple[bytes, np.ndarray | None]:
    """View 1 of a pair as a JPEG file: the photograph's own bytes wherever these will do.

    Args:
        data: the photograph's file.
        name: what to call it in an error.
        max_side: longer side in pixels at most; None leaves the size alone.
        min_side: shorter side in pixels at least, after that.
        quality: of the JPEG, where one has to be made.

    Returns:
        The file, and ``(H, W, 3)`` uint8 RGB as it will be decoded, or None where that is not known
        because it was encoded anew.

    Raises:
        PhotoError: as :func:`decode_image`, or the photograph is smaller than ``min_side``.
    """
    pixels = decode_image(data, name)
    image = limit_side(pixels, max_side)
    height, width = image.shape[:2]
    if min(width, height) < min_side:
        raise PhotoError(f"{name}: {width}×{height} pixels, under source.min_side={min_side}")
    if image is pixels and _plain_jpeg(data):
        return data, pixels
    return encode_jpeg(image, quality), None


def _plain_jpeg(data: bytes) -> bool:
    """Whether any program would show this file as :func:`decode_image` does."""
    with Image.open(io.BytesIO(data)) as image:
        upright = image.getexif().get(EXIF_ORIENTATION, 1) == 1
        return image.format == "JPEG" and image.mode == "RGB" and upright
