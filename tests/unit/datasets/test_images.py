"""Decoding and writing of images, label maps and saliency maps."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from datasets.base import DataError
from datasets.files.images import VOC_PALETTE, image_size, read_image, read_labels, read_map, write_labels
from datasets.files.inspection import mask_problems


@pytest.fixture
def photo() -> np.ndarray:
    """A smooth picture that JPEG keeps, uint8 (20, 30, 3)."""
    y, x = np.mgrid[:20, :30]
    return np.stack([y * 12, x * 8, 255 - x * 8], -1).astype(np.uint8)


def test_png_is_exact_and_channels_first(tmp_path: Path, photo: np.ndarray) -> None:
    Image.fromarray(photo).save(tmp_path / "a.png")
    image = read_image(tmp_path / "a.png")
    assert image.dtype == torch.uint8
    assert np.array_equal(image.permute(1, 2, 0).numpy(), photo)


def test_jpeg_agrees_with_pillow(tmp_path: Path, photo: np.ndarray) -> None:
    Image.fromarray(photo).save(tmp_path / "a.jpg", quality=95)
    expected = np.asarray(Image.open(tmp_path / "a.jpg")).astype(int)
    assert np.abs(read_image(tmp_path / "a.jpg").permute(1, 2, 0).numpy() - expected).max() <= 2


@pytest.mark.parametrize("suffix", ["png", "jpg"])
def test_greyscale_is_expanded(tmp_path: Path, photo: np.ndarray, suffix: str) -> None:
    Image.fromarray(photo[:, :, 0]).save(tmp_path / f"a.{suffix}")
    image = read_image(tmp_path / f"a.{suffix}")
    assert image.shape == (3, 20, 30)
    assert torch.equal(image[0], image[2])


def test_alpha_is_dropped(tmp_path: Path, photo: np.ndarray) -> None:
    Image.fromarray(np.dstack([photo, np.full((20, 30), 7, np.uint8)])).save(tmp_path / "a.png")
    assert np.array_equal(read_image(tmp_path / "a.png").permute(1, 2, 0).numpy(), photo)


def test_sixteen_bits_are_scaled_to_eight(tmp_path: Path) -> None:
    values = np.linspace(0, 65535, 600).astype(np.uint16).reshape(20, 30)
    Image.fromarray(values).save(tmp_path / "a.png")
    image = read_image(tmp_path / "a.png")
    assert image.dtype == torch.uint8
    assert np.array_equal(image[1].numpy(), np.rint(values / 257).astype(np.uint8))


def test_cmyk_jpeg_becomes_rgb(tmp_path: Path, photo: np.ndarray) -> None:
    Image.fromarray(photo).convert("CMYK").save(tmp_path / "a.jpg")
    assert read_image(tmp_path / "a.jpg").shape == (3, 20, 30)


@pytest.mark.parametrize("suffix", ["png", "jpg"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(
    tmp_path: Path, photo: np.ndarray, orientation: int, suffix: str
) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / f"a.{suffix}"
    Image.fromarray(photo).save(path, exif=exif, quality=95)
    from PIL import ImageOps

    with Image.open(path) as image:
        expected = np.asarray(ImageOps.exif_transpose(image)).astype(int)
    assert image_size(path) == expected.shape[:2]
    assert np.abs(read_image(path).permute(1, 2, 0).numpy() - expected).max() <= 2


@pytest.mark.parametrize("suffix", ["png", "jpg", "webp"])
@pytest.mark.parametrize("share", [0.5, 0.97])
def test_truncated_image_is_named(tmp_path: Path, photo: np.ndarray, suffix: str, share: float) -> None:
    encoded = io.BytesIO()
    noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)
    Image.fromarray(noise).save(encoded, {"png": "PNG", "jpg": "JPEG", "webp": "WebP"}[suffix])
    path = tmp_path / f"broken.{suffix}"
    path.write_bytes(encoded.getvalue()[: int(len(encoded.getvalue()) * share)])
    with pytest.raises(
        DataError, match=rf"broken\.{suffix}: cannot be decoded: the .* is truncated, .*; copy it again"
    ) as caught:
        read_image(path)
    assert "\n" not in str(caught.value)
    assert ".cpp" not in str(caught.value)  # where in torchvision says nothing to the owner of the file
    if suffix != "webp":  # whose header is not read apart from the rest
        assert image_size(path) == (64, 64)


def test_a_damaged_image_is_told_from_a_truncated_one(tmp_path: Path) -> None:
    """This one ends the process if torchvision's decoder gets to see it."""
    path = tmp_path / "a.png"
    noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)
    Image.fromarray(noise).save(path)
    encoded = bytearray(path.read_bytes())
    encoded[200:260] = bytes(60)
    path.write_bytes(encoded)
    with pytest.raises(
        DataError, match=r"a\.png: cannot be decoded: the PNG is damaged, .*save it anew as PNG"
    ):
        read_image(path)


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        (b"", "the file is empty; copy it again"),
        (
            b"not an image at all",
            "it is not JPEG, PNG, WebP, BMP, TIFF or JPEG 2000, whatever its name says; convert it to PNG",
        ),
    ],
)
def test_other_files_are_refused(tmp_path: Path, content: bytes, fault: str) -> None:
    path = tmp_path / "a.jpg"
    path.write_bytes(content)
    for read in (read_image, read_labels, read_map, image_size):
        with pytest.raises(DataError, match=rf"a\.jpg: cannot be decoded: {fault}, or take it off the list$"):
            read(path)
        with pytest.raises(DataError, match="no such"):
            read(tmp_path / "absent.png")


def test_truncated_labels_are_named(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (64, 64), dtype=np.uint8)
    path = tmp_path / "mask.png"
    Image.fromarray(noise).save(path)
    path.write_bytes(path.read_bytes()[:2000])
    with pytest.raises(DataError, match=r"mask\.png: cannot be decoded"):
        read_labels(path)


@pytest.mark.parametrize("palette", [VOC_PALETTE, None])
def test_labels_survive_a_round_trip(tmp_path: Path, palette: bytes | None) -> None:
    labels = np.arange(256, dtype=np.uint8).reshape(8, 32)
    write_labels(tmp_path / "a.png", labels, palette)
    assert np.array_equal(read_labels(tmp_path / "a.png").numpy(), labels)
    assert [p.name for p in tmp_path.iterdir()] == ["a.png"]
    with Image.open(tmp_path / "a.png") as image:
        assert image.mode == ("P" if palette else "L")


def test_tensors_are_written_too(tmp_path: Path) -> None:
    labels = torch.full((4, 5), 255, dtype=torch.uint8)
    write_labels(tmp_path / "a.png", labels)
    assert torch.equal(read_labels(tmp_path / "a.png"), labels)


def test_palette_is_voc_s() -> None:
    colours = np.frombuffer(VOC_PALETTE, np.uint8).reshape(256, 3).tolist()
    # aeroplane, bicycle, tvmonitor and void, as in the VOC development kit
    assert [colours[i] for i in (0, 1, 2, 20, 255)] == [
        [0, 0, 0],
        [128, 0, 0],
        [0, 128, 0],
        [0, 64, 128],
        [224, 224, 192],
    ]


def test_small_palettes_keep_indices(tmp_path: Path) -> None:
    labels = np.array([[0, 1], [2, 3]], np.uint8)
    image = Image.fromarray(labels)
    image.putpalette([9, 9, 9] * 4)
    image.save(tmp_path / "a.png", bits=2)
    assert np.array_equal(read_labels(tmp_path / "a.png").numpy(), labels)


def test_colour_masks_are_refused(tmp_path: Path, photo: np.ndarray) -> None:
    Image.fromarray(photo).save(tmp_path / "a.png")
    with pytest.raises(DataError, match="found mode RGB; save class ids, not colours"):
        read_labels(tmp_path / "a.png")


def test_floats_are_not_labels(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="must be uint8"):
        write_labels(tmp_path / "a.png", np.zeros((4, 4), np.int64))


def test_maps_may_be_colour_images(tmp_path: Path) -> None:
    grey = np.arange(200, dtype=np.uint8).reshape(10, 20)
    Image.fromarray(grey).save(tmp_path / "grey.png")
    Image.fromarray(np.dstack([grey] * 3)).save(tmp_path / "colour.png")
    assert np.array_equal(read_map(tmp_path / "grey.png").numpy(), grey)
    assert np.array_equal(read_map(tmp_path / "colour.png").numpy(), grey)


def test_pictures_too_large_to_open_are_named(
    tmp_path: Path, photo: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    Image.fromarray(photo[:, :, 0]).save(tmp_path / "huge.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", photo[:, :, 0].size // 2 - 1)
    for read in (image_size, read_labels, read_map):
        with pytest.raises(DataError, match=r"huge\.png: more than \d+ million pixels; reduce it") as error:
            read(tmp_path / "huge.png")
        assert "\n" not in str(error.value)
    (problem,) = mask_problems(tmp_path / "huge.png", (30, 20), classes=3)
    assert "huge.png: more than" in problem.what


@pytest.mark.shared
def test_voc_masks(shared: Path) -> None:
    path = shared / "data/VOCdevkit/VOC2012/SegmentationClass/2007_000033.png"
    assert set(np.unique(read_labels(path).numpy()).tolist()) == {0, 1, 255}
