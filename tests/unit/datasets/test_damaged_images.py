"""Damaged image files are named; none ends the process, hangs, or gives other pixels without a word (of PNG)."""

from __future__ import annotations

import io
import os
import struct
import subprocess
import sys
import tracemalloc
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from datasets.base import DataError
from datasets.files.decoding import image_size, rgb
from datasets.files.images import read_image, read_labels, read_map

H, W = 32, 48
PIXELS = np.random.default_rng(0).integers(0, 256, (H, W, 3), dtype=np.uint8)
ROWS = b"".join(b"\0" + row.tobytes() for row in PIXELS)


def png(stream: bytes, interlaced: int = 0, size: tuple[int, int] = (W, H)) -> bytes:
    """A PNG with right checksums of its chunks around a stream of pixels; size: (width, height)."""
    header = struct.pack(">IIBBBBB", *size, 8, 2, 0, 0, interlaced)
    chunks = [(b"IHDR", header), (b"IDAT", stream), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
        for kind, content in chunks
    )


WHOLE = zlib.compress(ROWS)
BROKEN_STREAMS = {
    "half": png(WHOLE[: len(WHOLE) // 2]),
    "filter": png(zlib.compress(b"\x09" + ROWS[1:])),
    "adler": png(WHOLE[:-1] + bytes([WHOLE[-1] ^ 1])),
    "empty": png(b""),
    "no stream": png(WHOLE).replace(b"IDAT", b"abCd"),
    "interlacing": png(WHOLE, interlaced=1),
    "no zlib": png(b"\xff" * 99),
    "too few rows": png(zlib.compress(ROWS[: len(ROWS) // 2])),
}


@pytest.mark.parametrize("kind", BROKEN_STREAMS)
@pytest.mark.parametrize("read", [read_image, read_labels, read_map])
def test_broken_pixel_streams_behind_right_checksums_are_named(tmp_path, kind, read):
    path = tmp_path / "a.png"
    path.write_bytes(BROKEN_STREAMS[kind])
    with pytest.raises(DataError, match=r"a\.png: (cannot be decoded: |expected class ids)"):
        read(path)


@pytest.mark.parametrize("read", [read_image, read_map])
def test_a_stream_that_inflates_is_left_behind_the_last_row(tmp_path, read):
    """Its last row is black, as those are that Pillow leaves where a stream ends early."""
    rows, path = bytes(len(ROWS)), tmp_path / "a.png"
    path.write_bytes(png(zlib.compress(rows + bytes(50 * 10**6), 1)))
    tracemalloc.start()
    read(path)
    assert tracemalloc.get_traced_memory()[1] < 10**7
    tracemalloc.stop()
    for stream in (zlib.compress(rows)[:-4], zlib.compress(rows[:-1])):
        path.write_bytes(png(stream))
        with pytest.raises(DataError, match="cannot be decoded"):
            read(path)


def test_whole_streams_are_read(tmp_path):
    (tmp_path / "a.png").write_bytes(png(WHOLE))
    assert np.array_equal(rgb(tmp_path / "a.png"), PIXELS)


@pytest.mark.parametrize("mode", ["RGB", "L", "P", "1"])
@pytest.mark.parametrize("size", [(1, 1), (3, 2), (5, 9), (17, 8)])
def test_black_pictures_are_no_damage(tmp_path, mode, size):
    """What is missing from a stream is left black."""
    Image.new(mode, size).save(tmp_path / "a.png")
    assert not rgb(tmp_path / "a.png").any()


@pytest.mark.parametrize("size", [(1, 1), (3, 2), (5, 9), (17, 8)])
def test_interlaced_pictures_are_read_and_must_be_complete(tmp_path, size):
    width, height = size
    passes = [
        (0, 0, 8, 8),
        (4, 0, 8, 8),
        (0, 4, 4, 8),
        (2, 0, 4, 4),
        (0, 2, 2, 4),
        (1, 0, 2, 2),
        (0, 1, 1, 2),
    ]
    pixels = np.zeros((height, width, 3), np.uint8)
    pixels[0] = 9
    parts = [pixels[y::dy, x::dx] for x, y, dx, dy in passes]
    rows = b"".join(b"\0" + row.tobytes() for part in parts if part.size for row in part)
    path = tmp_path / "a.png"
    path.write_bytes(png(zlib.compress(rows), interlaced=1, size=size))
    assert np.array_equal(rgb(path), pixels)
    path.write_bytes(png(zlib.compress(rows[:-1]), interlaced=1, size=size))
    with pytest.raises(DataError, match=r"a\.png: cannot be decoded"):
        rgb(path)


@pytest.mark.parametrize("mode", ["RGB", "P", "L", "I;16"])
def test_no_flipped_bit_of_a_png_changes_pixels_unsaid(tmp_path, mode):
    encoded = io.BytesIO()
    grey = PIXELS[:8, :8, 0].astype(np.uint16) * 257
    picture = Image.fromarray(grey) if mode == "I;16" else Image.fromarray(PIXELS[:8, :8]).convert(mode)
    picture.save(encoded, "PNG")
    path = tmp_path / "a.png"
    path.write_bytes(encoded.getvalue())
    whole, size = rgb(path), image_size(path)
    refused = 0
    for place in range(len(encoded.getvalue())):
        flipped = bytearray(encoded.getvalue())
        flipped[place] ^= 1 << place % 8
        path.write_bytes(flipped)
        try:
            assert np.array_equal(rgb(path), whole)
        except DataError:
            refused += 1
    assert refused > 0.9 * len(encoded.getvalue())
    assert size == (8, 8)


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "GIF"])
def test_animations_are_refused(tmp_path, kind):
    path = tmp_path / "a.png"
    frames = [Image.fromarray(PIXELS), Image.fromarray(255 - PIXELS)]
    frames[0].save(path, kind, save_all=True, append_images=frames[1:])
    with pytest.raises(DataError, match=r"a\.png: an animation of 2 frames; keep one frame, as PNG"):
        read_image(path)


@pytest.mark.parametrize("channels", ["grey", "grey with alpha", "colours", "colours with alpha"])
def test_all_sixteen_bits_are_read(tmp_path, channels):
    count = ("grey", "grey with alpha", "colours", "colours with alpha").index(channels) + 1
    values = np.random.default_rng(0).integers(0, 65536, (H, W, count)).astype(">u2")
    rows = b"".join(b"\0" + row.tobytes() for row in values)
    colour_type = {1: 0, 2: 4, 3: 2, 4: 6}[count]
    content = bytearray(png(zlib.compress(rows)))
    content[24], content[25] = 16, colour_type
    content[29:33] = struct.pack(">I", zlib.crc32(content[12:29]))
    (tmp_path / "a.png").write_bytes(content)
    found = rgb(tmp_path / "a.png")
    assert found.dtype == np.uint16
    assert np.array_equal(found, np.repeat(values[:, :, :1], 3, 2) if count < 3 else values[:, :, :3])


def test_damaged_exif_leaves_an_image_as_it_lies(tmp_path):
    path = tmp_path / "a.jpg"
    Image.fromarray(PIXELS).save(path, exif=b"Exif\0\0MM\0\x2a\xff\xff\xff\xffgarbage")
    assert image_size(path) == read_image(path).shape[1:] == (H, W)


@pytest.mark.parametrize("kind", ["pipe", "folder", "loop", "device"])
@pytest.mark.parametrize("read", [read_image, read_labels, read_map, image_size])
def test_what_is_no_regular_file_is_named_and_not_waited_for(tmp_path, kind, read):
    path = tmp_path / "a.png"
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    else:
        path.symlink_to("/dev/zero" if kind == "device" else path)
    with pytest.raises(DataError, match=r"a\.png: (no regular file|cannot be decoded: it cannot be read)"):
        read(path)


FUZZ = """
import faulthandler, io, sys
from pathlib import Path
import numpy as np
from PIL import Image
from datasets.base import DataError
from datasets.files.decoding import image_size
from datasets.files.images import read_image, read_labels, read_map

kind, folder, count = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])
random = np.random.default_rng(0)
smooth = Image.fromarray(random.integers(0, 256, (5, 7, 3), dtype=np.uint8)).resize((40, 30))
seeds, exif = [], Image.Exif()
exif[0x0112] = 6
for picture in (smooth, smooth.convert("L"), smooth.convert("P")):
    encoded = io.BytesIO()
    if kind in ("JPEG", "WEBP") and picture.mode == "P":
        picture = picture.convert("RGB")
    picture.save(encoded, kind, **({"exif": exif} if kind in ("JPEG", "PNG", "WEBP") else {}))
    seeds.append(encoded.getvalue())
outcomes = {"read": 0, "refused": 0}
path = folder / f"a.{kind.lower()}"
for trial in range(count):
    content = bytearray(seeds[trial % 3])
    head = random.random() < 0.5  # headers are a small part, and the most fragile
    reach = min(len(content), 120) if head else len(content)
    action = random.integers(4)
    for _ in range(random.integers(1, 6)):
        place = int(random.integers(reach))
        if action == 0:
            content[place] = random.integers(256)
        elif action == 1:
            content[place : place + 4] = int(random.choice([0, 1, 0xFFFF, 0x7FFFFFFF, 0xFFFFFFFF])).to_bytes(4, "big")
        elif action == 2:
            del content[place : place + int(random.integers(1, 20))]
            reach = min(reach, len(content))
        else:
            content[place:place] = random.bytes(int(random.integers(1, 20)))
    path.write_bytes(content)
    faulthandler.dump_traceback_later(20, exit=True)
    for read in (image_size, read_image, read_labels, read_map):
        try:
            read(path)
            outcomes["read"] += 1
        except DataError as error:
            assert "\\n" not in str(error) and str(path) in str(error), error
            outcomes["refused"] += 1
print(outcomes)
"""


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "BMP", "TIFF", "GIF"])
def test_two_thousand_mutations_end_in_an_image_or_one_line(tmp_path, kind):
    command = [sys.executable, "-W", "ignore", "-c", FUZZ, kind, str(tmp_path), "2000"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).parents[3])
    print(kind, done.stdout)
    assert done.returncode == 0, done.stderr[-2000:]
    assert "Traceback" not in done.stderr
