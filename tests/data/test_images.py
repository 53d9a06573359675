"""Every kind of photograph becomes uint8 RGB, or one line that names the file."""

import io
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image
from skimage.data import chelsea

from homoreg.data.images import (
    PhotoError,
    decode_image,
    encode_jpeg,
    first_view,
    image_size,
    limit_side,
    read_image,
)


def encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


@pytest.fixture(scope="module")
def cat() -> np.ndarray:
    return chelsea()


@pytest.fixture(scope="module")
def jpeg(cat: np.ndarray) -> bytes:
    return encoded(Image.fromarray(cat), "JPEG", quality=90)


def test_a_lossless_photo_comes_back_as_it_is(cat: np.ndarray) -> None:
    for kind in ("PNG", "BMP", "TIFF"):
        assert np.array_equal(decode_image(encoded(Image.fromarray(cat), kind), kind), cat)


def test_gray_has_three_equal_channels(cat: np.ndarray) -> None:
    gray = cat[:, :, 0]
    image = decode_image(encoded(Image.fromarray(gray), "PNG"), "gray")
    assert np.array_equal(image, np.dstack([gray] * 3))


def test_sixteen_bits_are_scaled_and_not_clipped(cat: np.ndarray) -> None:
    gray = cat[:, :, 1]
    deep = gray.astype(np.uint16) * 256 + 77
    image = decode_image(encoded(Image.fromarray(deep), "PNG"), "deep")
    assert np.array_equal(image[:, :, 0], gray)


@pytest.mark.parametrize("bits", [8, 10, 12, 14, 16])
@pytest.mark.parametrize("kind", [".png", ".tiff"])
def test_fewer_bits_in_a_deep_file_are_not_black(cat: np.ndarray, bits: int, kind: str) -> None:
    white = cat.copy()
    white[0, 0] = 255
    deep = white.astype(np.uint16) << (bits - 8)
    for pixels in (deep, deep[:, :, 1]):
        data = cv2.imencode(kind, pixels[..., ::-1] if pixels.ndim == 3 else pixels)[1].tobytes()
        shown = white if pixels.ndim == 3 else np.dstack([white[:, :, 1]] * 3)
        assert np.array_equal(decode_image(data, "deep"), shown)


def test_eight_bits_in_a_file_of_32_are_not_black(cat: np.ndarray) -> None:
    data = encoded(Image.fromarray(cat[:, :, 1].astype(np.int32)), "TIFF")
    assert np.array_equal(decode_image(data, "wide")[:, :, 0], cat[:, :, 1])


def test_cmyk_shows_the_same_colors(cat: np.ndarray) -> None:
    data = encoded(Image.fromarray(cat).convert("CMYK"), "JPEG", quality=95)
    difference = np.abs(decode_image(data, "cmyk").astype(int) - cat)
    assert np.median(difference) <= 3


def test_transparent_parts_are_white(cat: np.ndarray) -> None:
    alpha = np.full(cat.shape[:2], 255, np.uint8)
    alpha[:50] = 0
    image = decode_image(encoded(Image.fromarray(np.dstack([cat, alpha])), "PNG"), "alpha")
    assert (image[:50] == 255).all()
    assert np.array_equal(image[50:], cat[50:])


def test_palette_with_a_transparent_color() -> None:
    image = Image.fromarray(np.array([[0, 1]], np.uint8), "P")
    image.putpalette([10, 20, 30, 40, 50, 60])
    data = encoded(image, "PNG", transparency=0)
    assert decode_image(data, "palette").tolist() == [[[255, 255, 255], [40, 50, 60]]]


@pytest.mark.parametrize(
    ("orientation", "upright"),
    [  # the EXIF standard's table: where the stored rows and columns belong
        (1, lambda a: a),
        (2, np.fliplr),
        (3, lambda a: np.rot90(a, 2)),
        (4, np.flipud),
        (5, lambda a: a.swapaxes(0, 1)),
        (6, lambda a: np.rot90(a, -1)),
        (7, lambda a: np.rot90(a, 2).swapaxes(0, 1)),
        (8, np.rot90),
    ],
)
def test_exif_orientation(
    tmp_path: Path,
    cat: np.ndarray,
    orientation: int,
    upright: Callable[[np.ndarray], np.ndarray],
) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / "turned.png"
    path.write_bytes(encoded(Image.fromarray(cat), "PNG", exif=exif))
    image = read_image(path)
    assert np.array_equal(image, upright(cat))
    assert image_size(path) == (image.shape[1], image.shape[0])


def test_damaged_exif_turns_nothing(tmp_path: Path, cat: np.ndarray) -> None:
    """An orientation that is text, and no EXIF at all where there should be some."""
    for exif in (b"MM\0*\0\0\0\x08\0\x01\x01\x12\0\x02\0\0\0\x01abc\0", b"garbage"):
        path = tmp_path / "odd.jpg"
        path.write_bytes(encoded(Image.fromarray(cat), "JPEG", exif=b"Exif\0\0" + exif))
        assert read_image(path).shape == cat.shape
        assert image_size(path) == (451, 300)


def png_header(width: int, height: int) -> bytes:
    """A PNG that claims a size and has no pixels."""

    def chunk(name: bytes, body: bytes) -> bytes:
        return (
            struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))
        )

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


@pytest.mark.parametrize("keep", [1, 20, 500, -5000, -10])
def test_a_truncated_photo_is_refused(jpeg: bytes, keep: int) -> None:
    with pytest.raises(PhotoError, match=r"^cut\.jpg: (damaged image|not an image)"):
        decode_image(jpeg[:keep], "cut.jpg")


@pytest.mark.parametrize(
    ("data", "line"),
    [
        (b"", "the file is empty"),
        (b"GIF89a, or so it says", "not an image|damaged image"),
        (b"<html>404</html>", "not an image"),
        (png_header(60000, 60000), "damaged image .*decompression bomb"),
        (png_header(64, 64), "damaged image"),
        (encoded(Image.fromarray(np.ones((9, 9), np.float32)), "TIFF"), "floating-point pixels"),
        (encoded(Image.fromarray(np.full((9, 9), 1 << 20, np.int32)), "TIFF"), "more than 16 bits"),
    ],
)
def test_what_is_no_photo_is_one_line(data: bytes, line: str) -> None:
    with pytest.raises(PhotoError, match=line) as caught:
        decode_image(data, "x.png")
    assert str(caught.value).startswith("x.png: ")
    assert "\n" not in str(caught.value)


def test_a_missing_file_and_a_folder(tmp_path: Path) -> None:
    for path in (tmp_path / "none.jpg", tmp_path):
        with pytest.raises(PhotoError, match="cannot be read"):
            read_image(path)
        with pytest.raises(PhotoError, match=str(path)):
            image_size(path)


def test_limit_side_keeps_the_shape_and_the_picture(cat: np.ndarray) -> None:
    small = limit_side(cat, 200)
    assert small.shape == (133, 200, 3)  # 300×451
    # Area averaging keeps the mean color; picking pixels would not to this accuracy.
    assert np.abs(small.mean((0, 1)) - cat.mean((0, 1))).max() < 0.3
    assert limit_side(cat, 200, of=min).shape == (200, 301, 3)
    assert limit_side(cat, 451) is limit_side(cat, 300, of=min) is limit_side(cat, None) is cat


def view(data: bytes, max_side: int | None = 640) -> bytes:
    file, pixels = first_view(data, "photo", max_side=max_side, min_side=64, quality=95)
    if pixels is not None:
        np.testing.assert_array_equal(pixels, decode_image(file, "photo"))
    return file


def test_a_plain_jpeg_is_copied_byte_for_byte_and_decoded_once(jpeg: bytes) -> None:
    assert view(jpeg) == jpeg
    assert first_view(jpeg, "photo", max_side=640, min_side=64, quality=95)[1] is not None


def test_other_photos_become_upright_rgb_jpegs(cat: np.ndarray) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    photo = Image.fromarray(cat)
    for data in (
        encoded(photo, "PNG"),
        encoded(photo, "JPEG", exif=exif),
        encoded(photo.convert("CMYK"), "JPEG"),
    ):
        result = view(data)
        with Image.open(io.BytesIO(result)) as image:
            assert (image.format, image.mode) == ("JPEG", "RGB")
            assert image.getexif().get(0x0112, 1) == 1
        difference = np.abs(decode_image(result, "r").astype(int) - decode_image(data, "d"))
        assert np.median(difference) <= 2


def test_large_photos_are_brought_down(jpeg: bytes) -> None:
    assert decode_image(view(jpeg, max_side=300), "v").shape == (200, 300, 3)


def test_tiny_photos_are_refused_after_the_resize() -> None:
    strip = encoded(Image.fromarray(np.zeros((100, 1280, 3), np.uint8)), "PNG")
    with pytest.raises(PhotoError, match="640×50 pixels, under source.min_side=64"):
        view(strip)
    assert decode_image(view(strip, max_side=None), "v").shape == (100, 1280, 3)


def test_jpeg_quality_counts(cat: np.ndarray) -> None:
    errors = [
        np.abs(decode_image(encode_jpeg(cat, q), "q").astype(int) - cat).mean() for q in (30, 95)
    ]
    assert errors[1] < 1.5 < errors[0]
