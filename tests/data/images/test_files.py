"""Image files as pixels: every mode by hand, and one line for what is no image."""

import io
import struct
import warnings
import zlib

import numpy as np
import pytest
from PIL import Image

from attn_research.data.images import files
from attn_research.data.images.files import ImageFiles, decode

RED, GREEN, BLUE, WHITE = [255, 0, 0], [0, 255, 0], [0, 0, 255], [255, 255, 255]


def encode(image, kind, **options):
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def make(values, dtype=np.uint8, mode=None):
    image = Image.fromarray(np.array(values, dtype))
    return image.convert(mode) if mode else image


def pixels(data):
    return decode(data, "a.png").tolist()


def gray(*values):
    return [[[value] * 3 for value in values]]


def png(bits, kind, row, transparent=b""):
    """A PNG of one row of two pixels, in the file's own bits."""

    def chunk(name, data):
        return (
            struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        )

    header = struct.pack(">IIBBBBB", 2, 1, bits, kind, 0, 0, 0)
    parts = [
        chunk(b"IHDR", header),
        chunk(b"IDAT", zlib.compress(b"\0" + row)),
        chunk(b"IEND", b""),
    ]
    if transparent:
        parts.insert(1, chunk(b"tRNS", transparent))
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def tiff(bits, row, photometric=1, kind=1):
    """A TIFF of one row of four gray pixels."""
    tags = {
        256: 4,
        257: 1,
        258: bits,
        259: 1,
        262: photometric,
        273: 8,
        277: 1,
        278: 1,
        279: len(row),
    }
    tags[339] = kind
    body = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags.items())
    return (
        b"II*\0"
        + struct.pack("<I", 8 + len(row))
        + row
        + struct.pack("<H", len(tags))
        + body
        + bytes(4)
    )


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "PPM"])
def test_gray_of_16_bits_is_scaled_by_its_range(kind):
    image = make([[0, 257, 32768, 65535]], np.uint16)
    assert image.mode == "I;16"
    assert pixels(encode(image, kind)) == gray(0, 1, 128, 255)


def test_gray_of_16_bits_in_either_byte_order():
    big = Image.frombytes("I;16B", (4, 1), np.array([0, 257, 32768, 65535], ">u2").tobytes())
    assert pixels(encode(big, "TIFF")) == gray(0, 1, 128, 255)


def test_gray_of_16_bits_keeps_its_levels():
    """A ramp of all values becomes all 256 levels, evenly."""
    ramp = Image.fromarray(np.arange(65536, dtype=np.uint16).reshape(256, 256))
    found = decode(encode(ramp, "PNG"), "a.png")[..., 0].ravel()
    assert np.array_equal(np.unique(found), np.arange(256))
    assert np.abs(found - np.arange(65536) / 257).max() <= 0.5


def test_gray_of_other_widths_is_scaled_by_its_range():
    assert pixels(b"P5\n3 1\n1000\n" + np.array([0, 500, 1000], ">u2").tobytes()) == gray(
        0, 128, 255
    )
    assert pixels(b"P2\n3 1\n15\n0 7 15\n") == gray(0, 119, 255)
    twelve = int("".join(f"{v:012b}" for v in (0, 1365, 2730, 4095)), 2).to_bytes(6, "big")
    assert pixels(tiff(12, twelve)) == gray(0, 85, 170, 255)


def test_gray_of_16_bits_where_white_is_zero():
    row = np.array([0, 257, 32768, 65535], "<u2").tobytes()
    assert pixels(tiff(16, row)) == gray(0, 1, 128, 255)
    assert pixels(tiff(16, row, photometric=0)) == gray(255, 254, 127, 0)


@pytest.mark.parametrize(
    "data",
    [
        encode(make([[0, 70_000]], np.int32), "TIFF"),
        encode(make([[0.0, 0.5]], np.float32), "TIFF"),
        b"Pf\n2 1\n-1.0\n" + np.array([0, 0.5], "<f4").tobytes(),
        tiff(16, np.array([-5, 0, 5, 9], "<i2").tobytes(), kind=2),
    ],
    ids=["int32", "float32", "pfm", "signed 16"],
)
def test_pixels_without_a_range_of_their_own_are_refused(data):
    with pytest.raises(ValueError, match=r"^a\.png is no image .*no range of their own.*8 or 16"):
        pixels(data)


def test_modes_of_8_bits_and_fewer():
    assert pixels(encode(make([[0, 255]]).convert("1"), "PNG")) == gray(0, 255)
    assert pixels(encode(make([[7, 9]]), "PNG")) == gray(7, 9)
    assert pixels(encode(Image.new("CMYK", (1, 1), (0, 255, 255, 0)), "TIFF")) == [[RED]]
    assert pixels(encode(Image.new("CMYK", (1, 1), (0, 255, 255, 0)), "JPEG")) == [[RED]]
    assert pixels(encode(Image.new("YCbCr", (1, 1), (76, 85, 255)), "TIFF")) == [[[254, 0, 0]]]
    assert np.ptp(pixels(encode(Image.new("LAB", (1, 1), (128, 128, 128)), "TIFF"))) <= 1


def palette():
    image = make([[0, 1, 2]]).convert("P")
    image.putpalette([*RED, *GREEN, *BLUE])
    return image


@pytest.mark.parametrize("kind", ["PNG", "GIF", "BMP", "TIFF"])
def test_a_palette_is_its_colors(kind):
    assert pixels(encode(palette(), kind)) == [[RED, GREEN, BLUE]]


def test_transparency_of_a_palette_shows_white():
    assert pixels(encode(palette(), "GIF", transparency=1)) == [[RED, WHITE, BLUE]]
    assert pixels(encode(palette(), "PNG", transparency=1)) == [[RED, WHITE, BLUE]]
    half = encode(palette(), "PNG", transparency=bytes([0, 128, 255]))
    assert pixels(half) == [[WHITE, [127, 255, 127], BLUE]]


@pytest.mark.parametrize(
    ("kind", "options"),
    [("PNG", {}), ("TIFF", {}), ("WEBP", {"lossless": True, "exact": True})],
)
def test_a_color_hidden_under_alpha_is_white(kind, options):
    image = make([[[*RED, 0], [*RED, 255], [*RED, 128]]])
    assert pixels(encode(image, kind, **options)) == [[WHITE, RED, [255, 127, 127]]]


def test_gray_with_alpha_lies_over_white():
    image = Image.fromarray(np.array([[[0, 0], [0, 255], [100, 128]]], np.uint8))
    assert image.mode == "LA"
    assert pixels(encode(image, "PNG")) == gray(255, 0, 177)
    both = struct.pack(">4H", 65535, 0, 32768, 65535)  # 16 bits of each
    assert pixels(png(16, 4, both)) == gray(255, 128)
    assert pixels(png(16, 6, struct.pack(">8H", 65535, 0, 0, 0, 257, 0, 0, 65535))) == [
        [WHITE, [1, 0, 0]]
    ]


def test_a_transparent_color_of_pixels_without_alpha_is_white():
    assert pixels(png(8, 0, bytes([7, 8]), struct.pack(">H", 7))) == gray(255, 8)
    assert pixels(png(8, 2, bytes([1, 2, 3, 1, 2, 4]), struct.pack(">3H", 1, 2, 3))) == [
        [WHITE, [1, 2, 4]]
    ]
    assert pixels(png(4, 0, bytes([0x34]), struct.pack(">H", 3))) == gray(255, 68)
    assert pixels(png(2, 0, bytes([0b01100000]), struct.pack(">H", 1))) == gray(255, 170)
    assert pixels(png(16, 0, struct.pack(">2H", 257, 514), struct.pack(">H", 257))) == gray(255, 2)
    wide = struct.pack(">6H", 65535, 0, 0, 257, 257, 257)
    assert pixels(png(16, 2, wide, struct.pack(">3H", 65535, 0, 0))) == [[WHITE, [1, 1, 1]]]


# What an image looks like upright whose file has these corners, by orientation.
CORNERS = {1: "abcd", 2: "badc", 3: "dcba", 4: "cdab", 5: "acbd", 6: "cadb", 7: "dbca", 8: "bdac"}


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "TIFF"])
@pytest.mark.parametrize("orientation", CORNERS)
def test_an_exif_orientation_is_applied(kind, orientation):
    levels = dict(zip("abcd", (0, 80, 160, 240), strict=True))
    block = np.kron(np.array([[0, 80], [160, 240]], np.uint8), np.ones((16, 8), np.uint8))
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"lossless": True} if kind == "WEBP" else {}
    found = decode(encode(make(block, mode="RGB"), kind, exif=exif, **options), "a")[..., 0]
    assert found.shape == ((32, 16) if orientation < 5 else (16, 32))
    corners = found[[1, 1, -2, -2], [1, -2, 1, -2]].astype(int)
    expected = [levels[corner] for corner in CORNERS[orientation]]
    assert np.abs(corners - expected).max() <= 3


def test_gray_of_16_bits_is_turned_as_well():
    exif = Image.Exif()
    exif[0x0112] = 3
    for kind in ("PNG", "TIFF"):
        assert pixels(encode(make([[0, 65535]], np.uint16), kind, exif=exif)) == gray(255, 0)


def test_a_damaged_exif_block_has_no_orientation():
    data = encode(make([[[9, 9, 9]] * 2]), "JPEG", exif=b"Exif\0\0MM\0*\0\0\xff\xff\0\0")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert pixels(data) == gray(9, 9)


@pytest.mark.parametrize("kind", ["GIF", "TIFF", "WEBP", "PNG"])
def test_the_first_of_several_frames_is_read(kind):
    first, second = (Image.new("RGB", (8, 8), color) for color in ("red", "blue"))
    options = {"lossless": True} if kind == "WEBP" else {}
    data = encode(first, kind, save_all=True, append_images=[second], **options)
    assert pixels(data) == [[RED] * 8] * 8


def test_a_wrong_suffix_does_no_harm(tmp_path):
    path = tmp_path / "a.jpg"
    path.write_bytes(encode(make([[[1, 2, 3]]]), "PNG"))
    assert ImageFiles((path,), 1)[:].tolist() == [[[[1, 2, 3]]]]


def bomb():
    """A PNG whose text becomes very much when decompressed."""
    text = b"zTXta\0\0" + zlib.compress(bytes(1 << 22))
    data = png(8, 0, b"ab")
    chunk = struct.pack(">I", len(text) - 4) + text + struct.pack(">I", zlib.crc32(text))
    return data[:33] + chunk + data[33:]


DAMAGED = {
    "no image": b"no image",
    "empty": b"",
    "a truncated PNG": encode(make(np.random.default_rng(0).integers(0, 255, (9, 9))), "PNG")[:-30],
    "a truncated JPEG": encode(Image.new("RGB", (64, 64)), "JPEG")[:-30],
    "a broken chunk": png(8, 0, b"ab").replace(b"IDAT", b"\0\0\0\0"),
    "no data": png(8, 0, b"ab")[:33],
    "much text": bomb(),
    "a PostScript file": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n",
    "an icon": b"\0\0\1\0\1\0",
}


@pytest.mark.parametrize("kind", DAMAGED)
def test_a_damaged_file_is_one_line_that_names_it(kind):
    with pytest.raises(ValueError, match=r"^folder/a\.png is no image") as raised:
        decode(DAMAGED[kind], "folder/a.png")
    assert "\n" not in str(raised.value) and "0x" not in str(raised.value)


def test_an_image_of_too_many_pixels_is_refused_before_they_are_decoded(tmp_path, monkeypatch):
    data = png(8, 0, b"ab")
    for width in (9000, 2**31 - 1):
        header = b"IHDR" + struct.pack(">II", width, 9000) + data[24:29]
        large = data[:12] + header + struct.pack(">I", zlib.crc32(header)) + data[33:]
        with pytest.raises(ValueError, match=r"a\.png is no image .*pixels"):
            pixels(large)
    path = tmp_path / "a.png"
    path.write_bytes(data)
    monkeypatch.setattr(files, "MAX_BYTES", len(data) - 1)
    with pytest.raises(ValueError, match=r"a\.png has \d+ bytes, more than"):
        ImageFiles((path,), 2)[:]


def test_a_split_that_stays_files_is_checked_at_once(tmp_path):
    for number in range(4):
        (tmp_path / f"{number}.png").write_bytes(
            DAMAGED["no data"] if number == 3 else png(8, 0, b"ab")
        )
    paths = tuple(sorted(tmp_path.iterdir()))
    ImageFiles(paths[:3], 2).check()
    with pytest.raises(ValueError, match=r"3\.png is no image"):
        ImageFiles(paths, 2).check()
