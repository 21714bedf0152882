"""Any image, upright: every kind of file and array means the same pixels, or one sentence says what is wrong."""

import struct
import zlib

import numpy as np
import pytest
from pictures import photo, pixels_of, save
from PIL import Image

from pose_regression.errors import PoseError
from pose_regression.inference.photographs import load_upright


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp", ".tif"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_is_honoured_and_boxes_are_in_upright_pixels(predictor, tmp_path, suffix, orientation):
    upright, box = photo(3, 140, 96), (20, 30, 80, 90)
    # How a camera stores a picture that is to be shown with this orientation.
    back = {2: "FLIP_LEFT_RIGHT", 3: "ROTATE_180", 4: "FLIP_TOP_BOTTOM", 5: "TRANSPOSE", 6: "ROTATE_90"}
    back |= {7: "TRANSVERSE", 8: "ROTATE_270"}
    stored = Image.fromarray(upright)
    if orientation > 1:
        stored = stored.transpose(Image.Transpose[back[orientation]])
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {".jpg": {"quality": 100, "subsampling": 0}, ".webp": {"lossless": True}}.get(suffix, {})
    path = save(tmp_path / f"a{suffix}", stored, exif=exif, **options)

    tolerance = 4 if suffix == ".jpg" else 0
    assert np.abs(load_upright(path).astype(int) - upright).max() <= tolerance
    found = pixels_of([*predictor.predict(path, box), *predictor.predict(path, people="whole")])
    expected = pixels_of([*predictor.predict(upright, box), *predictor.predict(upright, people="whole")])
    np.testing.assert_allclose(found, expected, atol=1.5 if suffix == ".jpg" else 2e-3)
    with Image.open(path) as image:
        np.testing.assert_allclose(pixels_of(predictor.predict(image, box)), expected[:1], atol=2)


def test_kinds_of_pictures(predictor, tmp_path):
    rgb = photo(4)
    grey = np.asarray(Image.fromarray(rgb).convert("L"))
    grey_rgb = np.repeat(grey[..., None], 3, axis=2)
    cases = {
        "grey.png": (Image.fromarray(grey), grey_rgb),
        "grey.jpg": (Image.fromarray(grey), grey_rgb),
        "deep.png": (Image.fromarray(grey.astype(np.uint16) * 257), grey_rgb),
        "deep.tif": (Image.fromarray(grey.astype(np.uint16) * 257), grey_rgb),
        "opaque.png": (Image.fromarray(rgb).convert("RGBA"), rgb),
        "palette.png": (Image.fromarray(grey).convert("P"), grey_rgb),
        "cmyk.jpg": (Image.fromarray(rgb).convert("CMYK"), rgb),
        "cmyk.tif": (Image.fromarray(rgb).convert("CMYK"), rgb),
        "picture.bmp": (Image.fromarray(rgb), rgb),
    }
    for name, (image, expected) in cases.items():
        path = save(tmp_path / name, image, **({"quality": 98} if name.endswith("jpg") else {}))
        assert np.abs(load_upright(path).astype(int) - expected).max() <= (12 if name.endswith("jpg") else 1), name
        reference = predictor.predict(expected, people="whole")[0].pixels
        assert np.abs(predictor.predict(path, people="whole")[0].pixels - reference).max() < 2.5, name
        assert np.abs(predictor.predict(image, people="whole")[0].pixels - reference).max() < 0.1, name


def test_the_bytes_of_a_file_are_the_file(predictor, tmp_path):
    for suffix in (".jpg", ".png", ".bmp"):
        path = save(tmp_path / f"a{suffix}", photo(1))
        content = path.read_bytes()
        np.testing.assert_array_equal(
            pixels_of(predictor.predict(content, people="whole")), pixels_of(predictor.predict(path, people="whole"))
        )
        np.testing.assert_array_equal(load_upright(content), load_upright(path))
    with pytest.raises(PoseError, match=r"images\[1\] is empty"):
        predictor.predict([content, b""], people="whole")
    with pytest.raises(PoseError, match=r"images\[0\] is not an image of a known format"):
        predictor.predict(b"no picture")


def test_transparency_lies_over_black(predictor, tmp_path):
    pixels = np.full((40, 40, 4), 200, np.uint8)
    pixels[:, :20, 3], pixels[:, 20:, 3] = 0, 128
    expected = np.zeros((40, 40, 3))
    expected[:, 20:] = 200 * 128 / 255
    indexed = Image.fromarray(np.full((40, 40), 7, np.uint8), "P")
    indexed.putpalette([200] * 768)
    path = save(tmp_path / "a.png", pixels)
    for image in (path, Image.fromarray(pixels), pixels, (pixels / 255).astype(np.float32)):
        assert np.abs(load_upright(image) - expected).max() <= 1
    assert load_upright(save(tmp_path / "p.png", indexed, transparency=7)).max() == 0
    found, wanted = (
        predictor.predict(path, people="whole")[0],
        predictor.predict(np.rint(expected).astype(np.uint8), people="whole")[0],
    )
    np.testing.assert_allclose(found.pixels, wanted.pixels, atol=0.5)


def test_heic_is_read(tmp_path):
    pytest.importorskip("pillow_heif", reason="pillow-heif is not installed: HEIC is not tested")
    pixels = photo(3, 140, 96)
    Image.fromarray(pixels).save(tmp_path / "a.heic", "HEIF", quality=95)
    assert np.abs(load_upright(tmp_path / "a.heic").astype(int) - pixels).mean() < 4


def test_arrays_of_every_type_mean_the_same(predictor):
    image = photo(5)
    expected = predictor.predict(image, people="whole")[0].pixels
    for same in (image / 255, (image / 255).astype(np.float32), image.astype(np.uint16) * 257):
        np.testing.assert_allclose(predictor.predict(same, people="whole")[0].pixels, expected, atol=0.02)
    batch = np.stack([photo(5), photo(6)])
    np.testing.assert_array_equal(
        pixels_of(predictor.predict(batch, people="whole")), pixels_of(predictor.predict(list(batch), people="whole"))
    )
    grey = image[..., :1]
    np.testing.assert_array_equal(
        predictor.predict(grey, people="whole")[0].pixels, predictor.predict(grey[..., 0], people="whole")[0].pixels
    )


def png_header(width: int, height: int) -> bytes:
    """A PNG that announces its size and has nearly no pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0")) + chunk(b"IEND", b"")


@pytest.mark.parametrize(
    "content, message",
    [
        (b"", "is empty"),
        (b"no image", "known format"),
        (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "damaged, or needs pip install pillow-heif: it is HEIC"),
        (b"\xff\xd8\xff\xe0", "known format|damaged"),
        (png_header(14_001, 15_000), "14001 x 15000 pixels, more than 210000000"),
        (png_header(1 << 30, 1 << 30), "more than 210000000"),
        (png_header(100, 100), "truncated or damaged"),
        (None, "No such file"),
        ("folder", "Is a directory|Permission denied"),
    ],
    ids=["empty", "text", "heic", "stub", "large", "bomb", "truncated", "missing", "folder"],
)
@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_files_that_cannot_be_used_are_one_sentence(predictor, tmp_path, content, message):
    path = tmp_path / "it.png"
    if content == "folder":
        path.mkdir()
    elif content is not None:
        path.write_bytes(content)
    with pytest.raises(PoseError, match=message) as error:
        predictor.predict(path, people="whole")
    assert str(error.value).startswith(str(path)) and "\n" not in str(error.value)


@pytest.mark.parametrize(
    "image, message",
    [
        (photo(0) / 1.0, r"\[0, 1\].*to 25"),
        (photo(0) / 127.5 - 1, r"\[0, 1\]"),
        (np.full((20, 20, 3), np.nan), r"\[0, 1\]"),
        (photo(0).astype(np.int64), "int64"),
        (np.zeros((20, 20, 2), np.uint8), r"\(20, 20, 2\)"),
        (np.zeros((0, 20, 3), np.uint8), r"\(0, 20, 3\)"),
        ([None], "NoneType"),
        ([{}], "dict"),
        (Image.new("F", (20, 20)), "mode 'F'"),
    ],
)
def test_wrong_arrays_are_one_sentence(predictor, image, message):
    with pytest.raises(PoseError, match=message):
        predictor.predict(image, people="whole")


@pytest.mark.slow
def test_a_phone_of_200_megapixels_passes_and_pils_own_limit_is_left_alone(predictor, tmp_path):
    size, before = (16320, 12240), Image.MAX_IMAGE_PIXELS
    path = tmp_path / "large.png"
    Image.new("L", size, 128).save(path, compress_level=1)
    (pose,) = predictor.predict(path, (8000, 6000, 9000, 7000))
    assert ((pose.pixels > 5000) & (pose.pixels < 12000)).all()
    assert Image.MAX_IMAGE_PIXELS == before
