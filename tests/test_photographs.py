"""Photographs of every kind become the input the manifest describes, and files that are none are refused."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from edgekit import photographs
from edgekit.artifact import Preprocessing
from edgekit.errors import InputError
from edgekit.runtimes import Array

_HOW = Preprocessing(crop_fraction=0.875, interpolation="bicubic", mean=(0.5, 0.4, 0.3), std=(0.2, 0.25, 0.3))
_PLAIN = Preprocessing(crop_fraction=1.0, interpolation="bilinear", mean=(0, 0, 0), std=(1, 1, 1))
_SIZE = 32


def _saved(picture: Image.Image, path: Path, **options: Any) -> Path:
    picture.save(path, **options)
    return path


def _halves(mode: str = "RGB", size: tuple[int, int] = (64, 48)) -> Image.Image:
    """Red on the left, blue on the right."""
    picture = Image.new("RGB", size, (255, 0, 0))
    picture.paste((0, 0, 255), (size[0] // 2, 0, size[0], size[1]))
    return picture.convert(mode)


def _read(path: Path) -> Array:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return photographs.preprocess(photographs.read(path), _PLAIN, _SIZE)


def test_one_colour_is_scaled_and_normalised(tmp_path: Path) -> None:
    path = _saved(Image.new("RGB", (50, 40), (255, 51, 0)), tmp_path / "p.png")
    array = photographs.preprocess(photographs.read(path), _HOW, _SIZE)
    assert array.shape == (1, 3, _SIZE, _SIZE)
    assert array.dtype == np.float32
    expected = ((1.0 - 0.5) / 0.2, (0.2 - 0.4) / 0.25, (0.0 - 0.3) / 0.3)
    for channel, value in enumerate(expected):
        np.testing.assert_allclose(array[0, channel], value, rtol=1e-5)


def test_the_centre_is_cropped_from_the_resized_picture(tmp_path: Path) -> None:
    """40 x 80 with a green frame: at crop fraction 0.8 the shorter side becomes 40, and 32 x 32 of the middle stay."""
    picture = Image.new("RGB", (40, 80), (0, 255, 0))
    picture.paste((255, 0, 0), (4, 24, 36, 56))
    path = _saved(picture, tmp_path / "p.png")
    array = photographs.preprocess(photographs.read(path), _PLAIN.model_copy(update={"crop_fraction": 0.8}), _SIZE)
    assert (array[0, 0] == 1).all()
    assert (array[0, 1] == 0).all()


def test_left_and_right_stay(tmp_path: Path) -> None:
    array = _read(_saved(_halves(), tmp_path / "p.png"))
    assert array[0, 0, :, 0].min() == 1
    assert array[0, 2, :, -1].min() == 1


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_turned_photograph_is_set_upright(tmp_path: Path, orientation: int) -> None:
    upright = _halves()
    undo = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = upright.transpose(undo[orientation]) if orientation in undo else upright
    turned = _read(_saved(stored, tmp_path / "turned.png", exif=exif))
    np.testing.assert_array_equal(turned, _read(_saved(upright, tmp_path / "upright.png")))


@pytest.mark.parametrize(("mode", "suffix"), [("RGBA", "png"), ("P", "png"), ("RGBX", "tif"), ("RGB", "webp"), ("RGB", "gif")])
def test_other_ways_to_store_colour_give_the_same_picture(tmp_path: Path, mode: str, suffix: str) -> None:
    options = {"lossless": True} if suffix == "webp" else {}
    found = _read(_saved(_halves(mode), tmp_path / f"p.{suffix}", **options))
    np.testing.assert_allclose(found, _read(_saved(_halves(), tmp_path / "plain.png")), atol=0.02)


@pytest.mark.parametrize("mode", ["L", "LA", "1"])
def test_grey_becomes_three_equal_channels(tmp_path: Path, mode: str) -> None:
    array = _read(_saved(_halves(mode), tmp_path / "p.png"))
    assert (array[0, 0] == array[0, 1]).all()
    assert (array[0, 1] == array[0, 2]).all()


def test_transparency_is_dropped(tmp_path: Path) -> None:
    picture = _halves("RGBA")
    picture.putalpha(0)
    np.testing.assert_array_equal(
        _read(_saved(picture, tmp_path / "clear.png")), _read(_saved(_halves(), tmp_path / "plain.png"))
    )


def test_a_transparent_palette_is_read_without_a_word(tmp_path: Path) -> None:
    picture = _halves("P")
    picture.info["transparency"] = bytes(range(256))
    assert _read(_saved(picture, tmp_path / "p.png", transparency=bytes(range(256)))).shape == (1, 3, _SIZE, _SIZE)


def test_sixteen_bits_of_grey_are_scaled_not_clipped(tmp_path: Path) -> None:
    ramp = np.linspace(0, 65535, 64, dtype=np.uint16)[None].repeat(64, axis=0)
    array = _read(_saved(Image.fromarray(ramp), tmp_path / "p.png"))
    assert array[0, 0, 0, 0] < 0.05
    assert 0.45 < array[0, 0, 0, 16] < 0.55
    assert array[0, 0, 0, -1] > 0.95


@pytest.mark.parametrize("size", [(1, 1), (2, 2), (1, 500), (5000, 3), (31, 33)])
def test_tiny_and_extreme_pictures_are_read(tmp_path: Path, size: tuple[int, int]) -> None:
    array = _read(_saved(Image.new("RGB", size, (255, 0, 0)), tmp_path / "p.png"))
    assert array.shape == (1, 3, _SIZE, _SIZE)
    assert (array[0, 0] == 1).all()


def test_the_ends_of_a_panorama_do_not_matter(tmp_path: Path) -> None:
    """A strip of 8000 x 2 would otherwise grow to 128 000 x 32 before all but its centre is dropped."""
    strip = Image.new("RGB", (8000, 2), (0, 255, 0))
    strip.paste((255, 0, 0), (3980, 0, 4020, 2))
    array = _read(_saved(strip, tmp_path / "p.png"))
    assert (array[0, 0] == 1).all()
    assert (array[0, 1] == 0).all()


def _refusal(path: Path, *words: str) -> InputError:
    with pytest.raises(InputError) as caught:
        photographs.preprocess(photographs.read(path), _PLAIN, _SIZE)
    assert str(path) in caught.value.what
    assert not [word for word in words if word not in str(caught.value)], str(caught.value)
    assert caught.value.next_step
    assert caught.value.exit_code == 2
    return caught.value


@pytest.mark.parametrize("content", [b"", b"hello", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff\xe0"])
def test_a_file_that_is_no_image_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "p.jpg"
    path.write_bytes(content)
    _refusal(path, "no readable image", "JPEG or PNG")


@pytest.mark.parametrize("suffix", ["jpg", "png"])
def test_an_image_cut_short_is_refused(tmp_path: Path, suffix: str) -> None:
    noise = np.random.RandomState(0).randint(0, 255, (64, 64, 3), dtype=np.uint8)
    path = _saved(Image.fromarray(noise), tmp_path / f"p.{suffix}")
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    _refusal(path, "no readable image", "truncated")


def test_a_missing_photograph_and_a_folder_are_told_apart(tmp_path: Path) -> None:
    _refusal(tmp_path / "nowhere.jpg", "does not exist")
    _refusal(tmp_path, "it is a folder")


def test_a_picture_too_large_to_open_safely_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = _saved(_halves(), tmp_path / "p.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 64 * 48 - 1)
    assert _read(path).shape == (1, 3, _SIZE, _SIZE), "up to twice the limit Pillow would only warn"
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    _refusal(path, "is too large", "3072 pixels")


@pytest.mark.parametrize("mode", ["F", "I"])
def test_numbers_without_a_range_are_refused(tmp_path: Path, mode: str) -> None:
    _refusal(_saved(Image.new(mode, (40, 40), 1), tmp_path / "p.tif"), "numbers, not colours", f"mode {mode}", "8 bits")
