"""Opening a stranger's file: the right picture or one typed error, and no metadata."""

import io
import os
import struct
import tracemalloc
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageCms, ImageOps, PngImagePlugin

from calcinosis.common.errors import PhotoError
from calcinosis.model import photo
from calcinosis.model.photo import NO_END_MARK, as_photo, open_photo
from tests.drawings import draw, encode

CODES = {
    "missing",
    "folder",
    "unreadable",
    "empty",
    "too_large",
    "unsupported_format",
    "not_an_image",
    "animated",
    "damaged",
}
PLACE = b"48.8584N"  # stands for whatever must not survive


def refusal(source: str | Path | bytes, name: str = "bump.jpg") -> PhotoError:
    """The error of a file that is none, with what every such error owes its reader."""
    with pytest.raises(PhotoError) as caught:
        open_photo(source, name=name)
    error = caught.value
    assert error.code in CODES
    assert error.name == name
    assert str(error) == f"{name}: {error.message}"
    assert ";" in error.message, "an error says what is wrong; and what to do"
    return error


def photo_or_error(content: bytes) -> Image.Image | PhotoError:
    """What becomes of bytes of which nobody knows whether a photo can be read from them."""
    try:
        found = open_photo(content)
    except PhotoError as error:
        return error
    assert found.mode == "RGB"
    assert set(found.info) <= {NO_END_MARK}  # which is ours, and nothing of the file's
    return found


def pixels(picture: Image.Image) -> np.ndarray:
    return np.asarray(picture, dtype=int)


def checkers(width: int = 30, height: int = 20) -> Image.Image:
    """Four different corners, so that every turn shows."""
    picture = Image.new("RGB", (width, height), (200, 150, 130))
    picture.paste((250, 10, 10), (0, 0, width // 2, height // 2))
    picture.paste((10, 250, 10), (width // 2, 0, width, height // 2))
    picture.paste((10, 10, 250), (0, height // 2, width // 2, height))
    return picture


def exif_block(orientation: int = 1) -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = orientation
    exif[0x010F] = PLACE.decode()
    exif[0x8825] = {1: "N", 2: (48.0, 51.0, 30.0), 29: PLACE.decode()}
    return exif


def png_chunk(kind: bytes, content: bytes) -> bytes:
    checksum = zlib.crc32(kind + content)
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", checksum)


def png(width: int, height: int, depth: int, colour: int, rows: bytes) -> bytes:
    """A PNG written by hand, for what Pillow reads but does not write."""
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    body = png_chunk(b"IDAT", zlib.compress(rows))
    return b"\x89PNG\r\n\x1a\n" + png_chunk(b"IHDR", header) + body + png_chunk(b"IEND", b"")


# What is no photo


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (b"", "empty"),
        (b"not a picture, but a sentence", "not_an_image"),
        (bytes(1000), "not_an_image"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "not_an_image"),
        (b"%PDF-1.7\n", "unsupported_format"),
        (bytes(128) + b"DICM" + bytes(50), "unsupported_format"),
        (b"\0\0\0\x18ftypavif" + bytes(50), "unsupported_format"),
        (encode(checkers(), "BMP"), "unsupported_format"),
        (encode(checkers(), "TIFF"), "unsupported_format"),
        (encode(checkers(), "GIF"), "unsupported_format"),
        (
            encode(checkers(), "GIF", save_all=True, append_images=[checkers().rotate(90)]),
            "unsupported_format",
        ),
    ],
)
def test_what_is_no_photo_is_refused(content: bytes, code: str) -> None:
    assert refusal(content).code == code


def test_a_format_that_is_not_read_is_named() -> None:
    assert "AVIF" in refusal(b"\0\0\0\x18ftypavif" + bytes(50)).message


@pytest.mark.parametrize(
    ("start", "called"),
    [
        (b"\0\0\0\x0cJXL \r\n\x87\n", "a JPEG XL file"),
        (b"\xff\x0a\xfa\x1f", "a JPEG XL file"),
        (b"\0\0\0\x0cjP  \r\n\x87\n", "a JPEG 2000 file"),
        (b"\xff\x4f\xff\x51\0", "a JPEG 2000 file"),
        (b"8BPS\0\x01", "a Photoshop file (PSD)"),
        (b"II*\0\x10\0\0\0CR\x02\0", "a raw photo of a camera (CR2)"),
        (b"\0\0\0\x18ftypcrx \0\0\0\x01crx isom", "a raw photo of a camera (CR3)"),
        (b"\0\0\0\x18ftypavis\0\0\0\0avismsf1", "an AVIF file"),
        (b"\0\0\0\x18ftypisom\0\0\0\0mp41avc1", "a video"),
        (b"%PDF-1.7", "a PDF file"),
    ],
)
def test_a_picture_of_another_kind_is_called_what_it_is(start: bytes, called: str) -> None:
    error = refusal(start + bytes(200))
    assert error.code == "unsupported_format"
    assert error.message.startswith(f"is {called}; save it as")
    assert "DICOM" in refusal(bytes(128) + b"DICM").message


@pytest.mark.parametrize("file_format", ["PNG", "WEBP"])
def test_an_animation_is_refused(file_format: str) -> None:
    frames = [checkers().rotate(90), checkers().rotate(180)]
    content = encode(checkers(), file_format, save_all=True, append_images=frames, duration=100)
    assert refusal(content).code == "animated"


def test_a_folder_is_refused(tmp_path: Path) -> None:
    assert refusal(tmp_path).code == "folder"


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    assert refusal(tmp_path / "bump.jpg").code == "missing"


@pytest.mark.parametrize("name", ["bump\0.jpg", "b" * 5000 + ".jpg"])
def test_a_name_that_no_file_can_have_is_refused(name: str) -> None:
    assert refusal(name).code in {"unreadable", "missing"}


@pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() == 0, reason="the administrator may read every file"
)
def test_a_file_without_permission_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "bump.png"
    path.write_bytes(encode(checkers()))
    path.chmod(0)
    assert refusal(path).code == "unreadable"


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no pipes with a name")
def test_what_is_no_regular_file_is_never_opened(tmp_path: Path) -> None:
    pipe, link, photo_itself = (tmp_path / name for name in ("p.jpg", "l.png", "photo.png"))
    os.mkfifo(pipe)
    for path in (pipe, "/dev/zero"):  # to open the one takes a writer, and the other has no end
        error = refusal(path)
        assert error.code == "unreadable"
        assert "no regular file" in error.message
    photo_itself.write_bytes(encode(checkers()))
    link.symlink_to(photo_itself)
    assert open_photo(link).size == checkers().size


def test_the_name_is_the_path_unless_given(tmp_path: Path) -> None:
    with pytest.raises(PhotoError, match="bump") as caught:
        open_photo(tmp_path / "bump.jpg")
    assert caught.value.name == str(tmp_path / "bump.jpg")


# What is too large


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")  # it is what is refused
def test_a_decompression_bomb_is_refused_by_its_header() -> None:
    # 65,500 × 65,500 pixels in a file of 70 bytes; the second is between Pillow's own two caps.
    assert refusal(png(65_500, 65_500, 8, 2, b"")).code == "too_large"
    assert refusal(png(10_000, 10_000, 8, 2, b"")).code == "too_large"


def test_the_cap_is_where_it_is_said_to_be(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(photo, "MAX_PIXELS", 600)
    assert open_photo(encode(checkers(30, 20))).size == (30, 20)
    assert refusal(encode(checkers(31, 20))).code == "too_large"


def test_a_file_of_too_many_bytes_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = encode(checkers())
    path = tmp_path / "bump.png"
    path.write_bytes(content)
    monkeypatch.setattr(photo, "MAX_BYTES", len(content))
    assert open_photo(path).size == (30, 20)
    monkeypatch.setattr(photo, "MAX_BYTES", len(content) - 1)
    assert refusal(path).code == "too_large"
    assert refusal(content).code == "too_large"


# What is damaged


@pytest.mark.parametrize(
    ("file_format", "options"),
    [("JPEG", {}), ("JPEG", {"progressive": True}), ("PNG", {}), ("WEBP", {})],
)
def test_a_photo_cut_short_is_damaged_at_every_cut(file_format: str, options: dict) -> None:
    whole = encode(draw("milium"), file_format, exif=exif_block(), **options)
    for share in np.linspace(0.01, 0.95, 40):
        cut = whole[: int(share * len(whole))]
        code = refusal(cut).code
        assert code == "damaged", f"cut at {share:.0%}"


@pytest.mark.parametrize("mode", ["L", "P", "RGB"])
def test_a_chunk_of_the_wrong_length_behind_the_pixels_is_damage(mode: str) -> None:
    whole = encode(checkers().convert(mode), "PNG")
    kinds = (b"gAMA", b"cHRM", b"tRNS", b"iCCP", b"sRGB", b"pHYs", b"acTL", b"fcTL", b"fdAT")
    refused = set()
    for kind in kinds:
        for length in (0, 1, 5):
            content = whole[:-12] + png_chunk(kind, bytes(length)) + whole[-12:]
            found = photo_or_error(content)
            if isinstance(found, PhotoError):
                assert found.code == "damaged"
                refused.add(kind)
    assert {b"gAMA", b"cHRM"} <= refused


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"restart_marker_blocks": 4}])
def test_a_jpeg_that_lacks_its_end_mark_alone_is_read(options: dict) -> None:
    whole = encode(draw("milium"), "JPEG", exif=exif_block(6), **options)
    for lost in (1, 2):
        assert (pixels(open_photo(whole[:-lost])) == pixels(open_photo(whole))).all()


@pytest.mark.parametrize("kind", ["profile", "text", "packed text"])
def test_a_png_with_megabytes_of_metadata_is_read(kind: str) -> None:
    info = PngImagePlugin.PngInfo()
    options: dict = {"pnginfo": info, "exif": exif_block(6)}
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    if kind == "profile":
        options["icc_profile"] = srgb + bytes(3_000_000)
    else:
        info.add_text("comment", PLACE.decode() * 400_000, zip=kind == "packed text")
    bulky = encode(checkers(), "PNG", **options)
    if kind != "text":
        with pytest.raises(ValueError, match="too large"), Image.open(io.BytesIO(bulky)) as picture:
            picture.load()
    plain = encode(checkers(), "PNG", exif=exif_block(6))
    assert (pixels(open_photo(bulky)) == pixels(open_photo(plain))).all()
    assert refusal(bulky[: len(bulky) - 200]).code == "damaged"


def test_a_profile_that_unpacks_to_gigabytes_is_left_out() -> None:
    packed = zlib.compress(bytes(64 * 1024**2), 9)
    body = b"bomb\0\0" + packed
    chunk = len(body).to_bytes(4, "big") + b"iCCP" + body
    chunk += zlib.crc32(b"iCCP" + body).to_bytes(4, "big")
    plain = encode(checkers(), "PNG")
    start = plain.index(b"IDAT") - 4
    found = open_photo(plain[:start] + chunk + plain[start:])
    assert (pixels(found) == pixels(open_photo(plain))).all()


def test_a_cut_that_is_not_noticed_loses_nothing() -> None:
    whole = encode(draw("milium"), "JPEG")
    for lost in range(1, 40):
        found = photo_or_error(whole[:-lost])
        if isinstance(found, PhotoError):
            assert found.code == "damaged"
        else:
            assert (pixels(found) == pixels(open_photo(whole))).all()


DRAWN = [
    encode(checkers(), "JPEG", exif=exif_block(6)),
    encode(checkers(), "JPEG", progressive=True, comment=b"a comment"),
    encode(checkers().convert("CMYK"), "JPEG"),
    encode(checkers(), "PNG", exif=exif_block(6)),
    encode(checkers().convert("P"), "PNG", transparency=3),
    encode(checkers().convert("RGBA"), "WEBP", lossless=True, exif=exif_block(6)),
    encode(checkers(), "WEBP"),
]


@pytest.mark.filterwarnings("ignore::UserWarning")  # Pillow's, on what it reads past
@settings(max_examples=250)
@given(data=st.data())
def test_mutated_bytes_end_in_a_photo_or_in_an_error(data: st.DataObject) -> None:
    content = bytearray(data.draw(st.sampled_from(DRAWN)))
    for _ in range(data.draw(st.integers(1, 6))):
        place = data.draw(st.integers(0, len(content) - 1))
        # The first bytes say what the rest is: most harm is done there.
        place = place if data.draw(st.booleans()) else place % 300 % len(content)
        content[place : place + data.draw(st.integers(0, 4))] = data.draw(st.binary(max_size=4))
        if not content:
            break
    if data.draw(st.booleans()):
        del content[data.draw(st.integers(0, len(content))) :]
    found = photo_or_error(bytes(content))
    assert isinstance(found, Image.Image) or found.code in CODES


@settings(max_examples=100)
@given(content=st.binary(max_size=300))
def test_random_bytes_are_no_photo(content: bytes) -> None:
    refusal(content)


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")  # Pillow says so, and reads on
@settings(max_examples=150)
@given(garbage=st.binary(max_size=60), order=st.sampled_from([b"II*\0", b"MM\0*"]))
def test_garbage_in_exif_does_not_cost_the_photo(garbage: bytes, order: bytes) -> None:
    offset = struct.pack("<I" if order == b"II*\0" else ">I", 8)
    content = encode(checkers(), "JPEG", exif=b"Exif\0\0" + order + offset + garbage)
    assert sorted(open_photo(content).size) == [20, 30]


@pytest.mark.parametrize(
    "block", [b"Exif\0\0no TIFF at all", b"Exif\0\0", b"Exif\0\0II*\0\xff\xff\xff\xff"]
)
@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")  # the same
def test_exif_that_cannot_be_read_does_not_cost_the_photo(block: bytes) -> None:
    for file_format in ("JPEG", "PNG", "WEBP"):
        assert open_photo(encode(checkers(), file_format, exif=block)).size == (30, 20)


def test_exif_that_pillow_cannot_write_again_does_not_cost_the_photo() -> None:
    # Orientation 6, then a maker's name that claims to be a rational number.
    entries = struct.pack("<H", 2)
    entries += struct.pack("<HHIHH", 0x0112, 3, 1, 6, 0)
    entries += struct.pack("<HHII", 0x9C9B, 2, 4, 0) + struct.pack("<I", 0)
    for kind in range(14):
        block = bytearray(b"Exif\0\0II*\0\x08\0\0\0" + entries)
        block[14 + 2 + 12 + 2] = kind
        content = encode(checkers(), "JPEG", exif=bytes(block))
        assert open_photo(content).size == (20, 30)


# What is read right


@pytest.mark.parametrize("file_format", ["PNG", "JPEG", "WEBP"])
def test_the_extension_does_not_matter(tmp_path: Path, file_format: str) -> None:
    content = encode(checkers(), file_format)
    for name in ("bump.gif", "bump.txt", "bump"):
        path = tmp_path / name
        path.write_bytes(content)
        assert pixels(open_photo(path)).tolist() == pixels(open_photo(content)).tolist()


def test_names_of_every_kind_are_read(tmp_path: Path) -> None:
    for name in ("a bump.png", "Höcker – 皮膚.png", "-bump.png", "b%20.png", "'\"$HOME`.png"):
        path = tmp_path / name
        path.write_bytes(encode(checkers()))
        assert open_photo(path).size == (30, 20)
        assert open_photo(str(path)).size == (30, 20)


def test_one_pixel_is_a_photo() -> None:
    assert pixels(open_photo(encode(Image.new("RGB", (1, 1), (1, 2, 3))))).tolist() == [[[1, 2, 3]]]


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "LA", "P", "1"])
def test_every_mode_becomes_rgb(mode: str) -> None:
    picture = draw("other").convert("L").convert("RGB").convert(mode)
    found = open_photo(encode(picture))
    assert found.mode == "RGB"
    assert (pixels(found) == pixels(picture.convert("RGB"))).all()


def test_cmyk_keeps_its_colours() -> None:
    picture = draw("gouty_tophus")
    found = open_photo(encode(picture.convert("CMYK"), "JPEG", quality=95))
    assert np.abs(pixels(found) - pixels(picture)).mean() < 3


def test_sixteen_bits_of_grey_are_scaled_and_not_clipped() -> None:
    deep = np.array([[0, 257, 32768, 65535]], dtype=np.uint16)
    found = pixels(open_photo(encode(Image.fromarray(deep))))
    assert found[0, :, 0].tolist() == [0, 1, 128, 255]
    assert (found == found[..., :1]).all()


@pytest.mark.parametrize("mode", ["I;16", "I", "F"])
def test_sixteen_bits_of_grey_take_little_more_memory_than_the_picture(mode: str) -> None:
    deep = np.arange(1000 * 1500, dtype=np.int32).reshape(1000, 1500) % 65536
    picture = Image.fromarray(deep).convert(mode)
    tracemalloc.start()
    found = as_photo(picture)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < 14 * deep.size
    assert (pixels(found)[..., 0] == (deep / 257).round()).all()


def test_sixteen_bits_of_colour_are_scaled() -> None:
    row = b"\0" + struct.pack(">9H", 65535, 32768, 0, 0, 65535, 256, 512, 40000, 65535)
    found = pixels(open_photo(png(3, 1, 16, 2, row)))
    expected = np.array([[[255, 128, 0], [0, 255, 1], [2, 156, 255]]])
    assert np.abs(found - expected).max() <= 1


def test_sixteen_bits_with_transparency_are_read() -> None:
    row = b"\0" + struct.pack(">8H", 65535, 0, 0, 65535, 0, 0, 0, 0)
    assert pixels(open_photo(png(2, 1, 16, 6, row))).tolist() == [[[255, 0, 0], [255, 255, 255]]]


def test_transparent_parts_are_white() -> None:
    picture = Image.new("RGBA", (2, 1), (200, 0, 0, 255))
    picture.putpixel((1, 0), (200, 0, 0, 0))
    for content in (
        encode(picture),
        encode(picture, "WEBP", lossless=True, exact=True),
    ):
        assert pixels(open_photo(content)).tolist() == [[[200, 0, 0], [255, 255, 255]]]
    half = Image.new("RGBA", (1, 1), (0, 0, 0, 128))
    assert pixels(open_photo(encode(half)))[0, 0, 0] == pytest.approx(127, abs=1)


def test_a_palette_with_transparency_is_laid_over_white() -> None:
    picture = Image.new("P", (3, 1))
    picture.putpalette([200, 0, 0, 0, 200, 0, 0, 0, 200])
    picture.putdata([0, 1, 2])
    one = open_photo(encode(picture, transparency=1))
    assert pixels(one).tolist() == [[[200, 0, 0], [255, 255, 255], [0, 0, 200]]]
    several = open_photo(encode(picture, transparency=b"\xff\x00\x80"))
    assert pixels(several)[0, 0].tolist() == [200, 0, 0]
    assert pixels(several)[0, 1].tolist() == [255, 255, 255]
    assert pixels(several)[0, 2] == pytest.approx([127, 127, 227], abs=1)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("file_format", ["PNG", "JPEG", "WEBP"])
def test_a_photo_stands_upright(orientation: int, file_format: str) -> None:
    upright = checkers()
    # How a camera stores what it was held for, by the EXIF standard's own words: where the stored
    # rows and columns begin, seen from the upright picture.
    stored = {
        1: upright,
        2: ImageOps.mirror(upright),
        3: upright.rotate(180),
        4: ImageOps.flip(upright),
        5: ImageOps.mirror(upright.rotate(-90, expand=True)),
        6: upright.rotate(90, expand=True),
        7: ImageOps.mirror(upright.rotate(90, expand=True)),
        8: upright.rotate(-90, expand=True),
    }[orientation]
    options = {"lossless": True} if file_format == "WEBP" else {"quality": 95, "subsampling": 0}
    found = open_photo(encode(stored, file_format, exif=exif_block(orientation), **options))
    assert found.size == upright.size
    assert np.abs(pixels(found) - pixels(upright)).mean() < 3


@pytest.mark.parametrize("orientation", [0, 9, 65535])
def test_an_orientation_that_does_not_exist_changes_nothing(orientation: int) -> None:
    found = open_photo(encode(checkers(), exif=exif_block(orientation)))
    assert (pixels(found) == pixels(checkers())).all()


def test_a_phones_picture_with_previews_is_its_first_picture() -> None:
    preview = Image.new("RGB", (8, 8))
    content = encode(checkers(), "MPO", save_all=True, append_images=[preview], quality=95)
    found = open_photo(content)
    assert found.size == (30, 20)
    assert np.abs(pixels(found) - pixels(checkers())).mean() < 12


# Colour


def rgb_profile(primaries: list[tuple[float, float, float]], gamma: float) -> bytes:
    """A matrix profile (ICC.1:2010): the XYZ of red, green and blue under D50, and one gamma."""

    def fixed(value: float) -> bytes:
        return struct.pack(">i", round(value * 65536))

    def xyz(values: tuple[float, float, float]) -> bytes:
        return b"XYZ " + bytes(4) + b"".join(map(fixed, values))

    curve = b"curv" + bytes(4) + struct.pack(">IH", 1, round(gamma * 256)) + bytes(2)
    text = b"desc" + bytes(4) + struct.pack(">I", 6) + b"drawn\0" + bytes(78)
    tags = [
        (b"desc", text),
        (b"cprt", b"text" + bytes(4) + b"CC0\0"),
        (b"wtpt", xyz((0.9642, 1.0, 0.8249))),
        *zip((b"rXYZ", b"gXYZ", b"bXYZ"), map(xyz, primaries), strict=True),
        *((name, curve) for name in (b"rTRC", b"gTRC", b"bTRC")),
    ]
    table, body = struct.pack(">I", len(tags)), b""
    start = 128 + 4 + 12 * len(tags)
    for name, content in tags:
        table += name + struct.pack(">II", start + len(body), len(content))
        body += content + bytes(-len(content) % 4)
    header = struct.pack(
        ">I4sI4s4s4s", start + len(body), b"none", 0x02400000, b"mntr", b"RGB ", b"XYZ "
    )
    header += struct.pack(">6H4s", 2026, 1, 1, 0, 0, 0, b"acsp") + bytes(28)
    header += fixed(0.9642) + fixed(1.0) + fixed(0.8249)
    return header + bytes(128 - len(header)) + table + body


# Display P3's primaries (Apple, "Display P3") and Adobe RGB (1998)'s, adapted to D50.
DISPLAY_P3 = [(0.5151, 0.2412, -0.0011), (0.2920, 0.6922, 0.0419), (0.1571, 0.0666, 0.7841)]
ADOBE_RGB = [(0.6097, 0.3111, 0.0195), (0.2053, 0.6257, 0.0609), (0.1492, 0.0632, 0.7446)]
SRGB_D50 = [(0.4361, 0.2225, 0.0139), (0.3851, 0.7169, 0.0971), (0.1431, 0.0606, 0.7141)]


def converted(colour: tuple[int, int, int], primaries: list, gamma: float) -> np.ndarray:
    """The colour in sRGB, worked out by hand: linear light, two matrices, the sRGB curve."""
    linear = (np.array(colour) / 255) ** gamma
    light = np.linalg.inv(np.array(SRGB_D50).T) @ np.array(primaries).T @ linear
    light = light.clip(0, 1)
    curved = np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)
    return 255 * curved


@pytest.mark.parametrize("primaries", [DISPLAY_P3, ADOBE_RGB])
@pytest.mark.parametrize("colour", [(208, 160, 136), (96, 48, 40), (230, 220, 180)])
def test_a_colour_profile_is_applied(primaries: list, colour: tuple[int, int, int]) -> None:
    expected = converted(colour, primaries, 2.2)
    assert np.abs(expected - colour).max() > 3, "the profile makes a difference"
    picture = Image.new("RGB", (2, 2), colour)
    profile = rgb_profile(primaries, 2.2)
    for content in (
        encode(picture, "PNG", icc_profile=profile),
        encode(picture, "JPEG", icc_profile=profile, quality=100),
        encode(picture, "WEBP", icc_profile=profile, lossless=True),
        encode(picture.quantize(2), "PNG", icc_profile=profile),
        encode(picture.convert("RGBA"), "PNG", icc_profile=profile),
    ):
        assert pixels(open_photo(content))[0, 0] == pytest.approx(expected, abs=1.5)


def test_an_srgb_profile_changes_nothing() -> None:
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    found = open_photo(encode(draw("milium"), icc_profile=profile))
    assert np.abs(pixels(found) - pixels(draw("milium"))).max() <= 1


@pytest.mark.parametrize("mode", ["RGB", "L", "RGBA", "LA", "P"])
def test_a_broken_profile_is_left_aside(mode: str) -> None:
    picture = draw("milium").convert(mode)
    good = rgb_profile(DISPLAY_P3, 2.2)
    for profile in (b"garbage", good[:100], good[:128] + bytes(len(good) - 128)):
        found = open_photo(encode(picture, icc_profile=profile))
        assert (pixels(found) == pixels(picture.convert("RGB"))).all()


def test_a_profile_of_another_mode_is_left_aside() -> None:
    picture = draw("milium").convert("L")
    found = open_photo(encode(picture, icc_profile=rgb_profile(DISPLAY_P3, 2.2)))
    assert (pixels(found) == pixels(picture.convert("RGB"))).all()


# Metadata


def files_full_of_metadata() -> list[bytes]:
    picture = draw("milium")
    text = PngImagePlugin.PngInfo()
    text.add_text("Location", PLACE.decode())
    text.add_itxt("XML:com.adobe.xmp", f"<x:xmpmeta>{PLACE.decode()}</x:xmpmeta>")
    xmp = b"<x:xmpmeta>" + PLACE + b"</x:xmpmeta>"
    profile = rgb_profile(DISPLAY_P3, 2.2).replace(b"drawn\0", PLACE[:5] + b"\0")
    thumbnail = encode(Image.new("RGB", (16, 16)), "JPEG", comment=PLACE)
    with_thumbnail = exif_block(6).tobytes() + thumbnail
    return [
        encode(picture, "JPEG", exif=exif_block(6), comment=PLACE, xmp=xmp, icc_profile=profile),
        encode(picture, "JPEG", exif=with_thumbnail),
        encode(picture, "PNG", exif=exif_block(6), pnginfo=text, icc_profile=profile, dpi=(72, 72)),
        encode(picture, "WEBP", exif=exif_block(6), xmp=xmp, icc_profile=profile),
    ]


@pytest.mark.parametrize("content", files_full_of_metadata())
def test_no_metadata_survives(content: bytes) -> None:
    assert PLACE in content or PLACE[:5] in content
    found = open_photo(content)
    assert not found.info
    assert not found.getexif()
    for file_format in ("JPEG", "PNG", "WEBP"):
        saved = encode(found, file_format)
        assert PLACE[:5] not in saved
        for mark in (b"Exif", b"eXIf", b"EXIF", b"ICC_PROFILE", b"iCCP", b"xmp"):
            assert mark not in saved
    with Image.open(io.BytesIO(encode(found, "PNG"))) as again:
        again.load()
        assert not again.info


def test_a_picture_that_is_open_already_is_treated_alike() -> None:
    for content in files_full_of_metadata():
        with Image.open(io.BytesIO(content)) as picture:
            found = as_photo(picture)
        assert not found.info
        assert (pixels(found) == pixels(open_photo(content))).all()
