"""Reading and writing of photographs: any file becomes uint8 RGB or a one-line error."""

import io
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, ImageOps

from homoreg.errors import HomoregError

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".tif", ".tiff", ".bmp")
# Formats that are not read; their images are counted in a warning.
OTHER_SUFFIXES = (
    *(".heic", ".heif", ".avif", ".jxl", ".jp2", ".j2k", ".jpf", ".gif", ".ppm", ".pgm", ".tga"),
    *(".psd", ".exr", ".hdr", ".dng", ".cr2", ".cr3", ".nef", ".arw", ".orf", ".rw2", ".raf"),
)
EXIF_ORIENTATION = 0x0112
TIFF_BITS_PER_SAMPLE = 258
MAX_FILE_BYTES = 2**29


class PhotoError(HomoregError):
    """A photograph that cannot be used; the others are not affected."""


def read_image(path: str | Path) -> np.ndarray:
    """Read a photograph.

    Args:
        path: a file in any format that Pillow reads.

    Returns:
        ``(H, W, 3)`` uint8 RGB, as in :func:`decode_image`.

    Raises:
        PhotoError: the file is missing or not a complete image.
    """
    return decode_image(read_file(path, str(path)), str(path))


def read_file(path: str | Path, name: str) -> bytes:
    """The bytes of a photograph's file; PhotoError if it cannot be read or is too large."""
    try:
        check_file_size(Path(path).stat().st_size, name)
        return Path(path).read_bytes()
    except OSError as error:
        raise PhotoError(f"{name}: cannot be read ({error.strerror})") from error


def check_file_size(size: int, name: str) -> None:
    """PhotoError for a file that would take too much memory."""
    if size > MAX_FILE_BYTES:
        raise PhotoError(f"{name}: {size / 1e6:.0f} MB, more than {MAX_FILE_BYTES / 1e6:.0f} MB")


def decode_image(data: bytes, name: str) -> np.ndarray:
    """Decode a photograph.

    EXIF orientation is applied, gray and CMYK are converted to RGB, transparent parts become white,
    and of an animation the first frame is used. Channels of more than 8 bits are scaled to 8. Files
    of 16 or 32 bits often hold fewer: the fewest of 8, 10, 12, 14 and 16 bits that hold the
    brightest value are taken as white.

    Args:
        data: content of the file.
        name: of the photograph, for errors.

    Returns:
        ``(H, W, 3)`` uint8 RGB.

    Raises:
        PhotoError: the file is empty, truncated, not an image, has float pixels, or exceeds
            Pillow's limit of 179 million pixels.
    """
    if not data:
        raise PhotoError(f"{name}: the file is empty")
    # Decoders raise a dozen kinds of exceptions for damaged files.
    try:
        with Image.open(io.BytesIO(data)) as image:
            image.load()
            shown = _eight_bit_colors(image, data) if _has_deep_colors(image, data) else image
            # In place and without converting RGB to RGB, each of which would copy the image.
            ImageOps.exif_transpose(shown, in_place=True)
            return np.asarray(shown if shown.mode == "RGB" else _rgb(shown, name))
    except HomoregError:
        raise
    except Image.UnidentifiedImageError as error:
        raise PhotoError(f"{name}: not an image that can be read") from error
    except Exception as error:
        raise PhotoError(f"{name}: damaged image ({' '.join(str(error).split())})") from error


def as_rgb(pixels: np.ndarray, name: str) -> np.ndarray:
    """An image in memory as :func:`decode_image` would return it from a file.

    Args:
        pixels: ``(H, W)`` or ``(H, W, 1)`` gray, ``(H, W, 3)`` RGB or ``(H, W, 4)`` with alpha;
            uint8, or uint16 of 8, 10, 12, 14 or 16 bits.
        name: of the image, for errors.

    Returns:
        ``(H, W, 3)`` uint8 RGB.

    Raises:
        PhotoError: another shape or type.

    >>> as_rgb(np.full((2, 1), 65535, np.uint16), "white").tolist()
    [[[255, 255, 255]], [[255, 255, 255]]]
    """
    shape = pixels.shape
    channels = shape[2] if pixels.ndim == 3 else 1
    known = pixels.ndim in (2, 3) and channels in (1, 3, 4) and pixels.size > 0
    if not known or pixels.dtype not in (np.uint8, np.uint16):
        raise PhotoError(
            f"{name} is {shape} {pixels.dtype}; give (H, W) gray, (H, W, 3) RGB or (H, W, 4) RGBA, "
            "uint8 or uint16"
        )
    if pixels.dtype == np.uint16:
        pixels = _eight_bits(pixels)
    if channels == 3:
        return pixels
    image = Image.fromarray(pixels.reshape(shape[:2]) if channels == 1 else pixels)
    return np.asarray(_rgb(image, name))


def _rgb(image: Image.Image, name: str) -> Image.Image:
    """Convert a Pillow image of another mode to RGB."""
    if image.mode.startswith("I"):  # 16 bits or more; Pillow would clip them instead of scaling
        values = np.asarray(image).astype(np.int64)
        if values.min() < 0 or values.max() > 65535:
            raise PhotoError(f"{name}: more than 16 bits a channel; save it with 8 or 16")
        return Image.fromarray(_eight_bits(values)).convert("RGB")
    if image.mode == "F":
        raise PhotoError(f"{name}: floating-point pixels; save it with 8 or 16 bits a channel")
    if image.has_transparency_data:
        seen = image.convert("RGBA")
        white = Image.new("RGBA", seen.size, "white")
        return Image.alpha_composite(white, seen).convert("RGB")
    return image.convert("RGB")


def _eight_bits(values: np.ndarray) -> np.ndarray:
    """uint8 of integers up to 65535 that use 8, 10, 12, 14 or 16 bits.

    >>> _eight_bits(np.array([0, 2048, 4095])), _eight_bits(np.array([0, 255]))
    (array([  0, 128, 255], dtype=uint8), array([  0, 255], dtype=uint8))
    """
    used = int(values.max()).bit_length()
    bits = next(bits for bits in (8, 10, 12, 14, 16) if used <= bits)
    return (values >> (bits - 8)).astype(np.uint8)


def _has_deep_colors(image: Image.Image, data: bytes) -> bool:
    """Whether Pillow has cut channels of 16 bits to their upper 8."""
    if image.mode not in ("RGB", "RGBA"):
        return False
    if image.format == "PNG":
        return data[24] == 16  # the depth in the header
    tags = getattr(image, "tag_v2", {})
    return image.format == "TIFF" and 16 in np.atleast_1d(tags.get(TIFF_BITS_PER_SAMPLE, 8))


def _eight_bit_colors(image: Image.Image, data: bytes) -> Image.Image:
    """The image from channels of 16 bits, with the same orientation."""
    deep = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    if deep is None or deep.dtype != np.uint16 or deep.ndim != 3:
        return image
    order = [2, 1, 0, *range(3, deep.shape[2])]
    shown = Image.fromarray(_eight_bits(deep)[..., order])
    shown.getexif()[EXIF_ORIENTATION] = image.getexif().get(EXIF_ORIENTATION, 1)
    return shown


def image_size(path: str | Path) -> tuple[int, int]:
    """``(width, height)`` of an image as :func:`read_image` returns it, from its header.

    Raises:
        PhotoError: the file is missing or not an image.
    """
    try:
        with Image.open(path) as image:
            width, height = image.size
            turned = image.getexif().get(EXIF_ORIENTATION) in (5, 6, 7, 8)  # by 90 degrees
    except OSError as error:
        raise PhotoError(f"{path}: missing, or not an image that can be read") from error
    return (height, width) if turned else (width, height)


def encode_jpeg(image: np.ndarray, quality: int) -> bytes:
    """Encode ``(H, W, 3)`` uint8 RGB as JPEG of quality 1 to 100, without color subsampling."""
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "JPEG", quality=quality, subsampling=0)
    return buffer.getvalue()


def limit_side(
    image: np.ndarray, limit: int | None, of: Callable[[int, int], int] = max
) -> np.ndarray:
    """Reduce an image to ``limit`` pixels on its longer side; smaller images are returned as is.

    With ``of=min`` it is the shorter side.

    >>> limit_side(np.zeros((300, 400, 3), np.uint8), 200).shape
    (150, 200, 3)
    """
    height, width = image.shape[:2]
    if limit is None or of(width, height) <= limit:
        return image
    scale = limit / of(width, height)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    return cv2.resize(image, size, interpolation=cv2.INTER_AREA)


def first_view(
    data: bytes, name: str, *, max_side: int | None, min_side: int, quality: int
) -> tuple[bytes, np.ndarray | None]:
    """View 1 of a pair as a JPEG file: the photograph's own bytes where possible.

    Args:
        data: content of the photograph's file.
        name: of the photograph, for errors.
        max_side: largest longer side, pixels; None keeps the size.
        min_side: smallest shorter side after that, pixels.
        quality: of the JPEG where it has to be encoded, 1 to 100.

    Returns:
        The file, and its decoded pixels, ``(H, W, 3)`` uint8 RGB, or None where it was encoded.

    Raises:
        PhotoError: see :func:`decode_image`; or the photograph is smaller than ``min_side``.
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
    """Whether a JPEG is upright RGB, which every program decodes alike."""
    with Image.open(io.BytesIO(data)) as image:
        upright = image.getexif().get(EXIF_ORIENTATION, 1) == 1
        return image.format == "JPEG" and image.mode == "RGB" and upright
