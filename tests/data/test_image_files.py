"""A user's picture becomes what the models know, whatever its mode; what is none is refused."""

import numpy as np
import pytest
from PIL import Image

from seqmodels.data.image_files import place_digit, read_digit
from seqmodels.data.image_folder import read_image


def drawn(height=60, width=90):
    """An L-shaped stroke, in [0, 1], far from the middle."""
    ink = np.zeros((height, width))
    ink[5:35, 60:66] = 1
    ink[29:35, 60:80] = 1
    return ink


def saved(tmp_path, array, mode="L", name="digit.png"):
    path = tmp_path / name
    Image.fromarray(array).convert(mode).save(path)
    return path


def dark_on_light(ink):
    return (255 - 200 * ink).astype(np.uint8)


def test_cut_scaled_and_centred(tmp_path):
    digit = read_digit(saved(tmp_path, dark_on_light(drawn())), 28, 20)
    assert digit.shape == (28, 28, 1)
    assert digit.dtype == np.float32
    assert (digit.min(), digit.max()) == (0, 1)
    rows, columns = np.nonzero(digit[..., 0] > 0.5)
    assert rows.max() - rows.min() + 1 == 20
    assert columns.max() - columns.min() + 1 == pytest.approx(20 * 20 / 30, abs=1)
    centre = np.array([(np.arange(28) * digit[..., 0].sum(axis=1 - axis)).sum() for axis in (0, 1)])
    np.testing.assert_allclose(centre / digit.sum(), 13.5, atol=0.6)


def test_every_mode_gives_the_same(tmp_path):
    ink = drawn()
    light = dark_on_light(ink)
    want = read_digit(saved(tmp_path, light), 28, 20)
    for mode in ("RGB", "RGBA", "P", "CMYK", "1", "LA", "I", "F"):
        name = "digit.tiff" if mode in ("CMYK", "I", "F") else "digit.png"
        array = light if mode != "1" else ((1 - ink) * 255).astype(np.uint8)
        got = read_digit(saved(tmp_path, array, mode, name), 28, 20)
        np.testing.assert_allclose(got, want, atol=0.02, err_msg=mode)
    inverted = read_digit(saved(tmp_path, 255 - light), 28, 20)
    np.testing.assert_allclose(inverted, want, atol=0.02)
    clear = np.zeros((*ink.shape, 4), np.uint8)
    clear[..., 3] = 255 * ink
    np.testing.assert_allclose(read_digit(saved(tmp_path, clear, "RGBA"), 28, 20), want, atol=0.02)
    deep = tmp_path / "deep.png"
    Image.fromarray((60000 - 50000 * ink).astype(np.uint16)).save(deep)
    np.testing.assert_allclose(read_digit(deep, 28, 20), want, atol=0.02)


def test_turned_as_the_camera_says(tmp_path):
    light = dark_on_light(drawn())
    want = read_digit(saved(tmp_path, light), 28, 20)
    turned = Image.fromarray(np.rot90(light))
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned a quarter clockwise
    turned.save(tmp_path / "camera.png", exif=exif)
    np.testing.assert_allclose(read_digit(tmp_path / "camera.png", 28, 20), want, atol=0.02)


def test_an_image_of_the_set_stays_as_it_is():
    ink = np.zeros((28, 28))
    ink[4:24, 10:18] = 1
    np.testing.assert_allclose(place_digit(ink, 28, 20)[..., 0], ink)


@pytest.mark.parametrize("shape", [(1, 1), (1, 40), (40, 1), (3, 5)])
@pytest.mark.parametrize(("side", "box"), [(28, 20), (8, 8)])
def test_any_shape_fits(shape, side, box):
    digit = place_digit(np.ones(shape), side, box)
    assert digit.shape == (side, side, 1)
    assert digit.max() == 1
    assert np.isfinite(digit).all()


def test_refused(tmp_path):
    (tmp_path / "text.png").write_text("hello")
    (tmp_path / "empty.png").write_bytes(b"")
    whole = saved(tmp_path, dark_on_light(drawn(400, 500))).read_bytes()
    (tmp_path / "half.png").write_bytes(whole[: len(whole) // 2])
    blank = saved(tmp_path, np.full((9, 9), 255, np.uint8), name="blank.png")
    large = tmp_path / "large.png"
    Image.new("1", (9000, 9000)).save(large)
    huge = tmp_path / "huge.png"
    Image.new("1", (20000, 20000)).save(huge)
    for path, message in {
        tmp_path / "nothing.png": "which is not there",
        tmp_path: "cannot be read: Is a directory",
        tmp_path / "text.png": "is no image",
        tmp_path / "empty.png": "is no image",
        tmp_path / "half.png": "cannot be read",
        blank: "is of one color, expected a digit",
        large: "got 9000x9000 pixels, expected at most 50 million",
        huge: "more pixels than the 50 million expected",
    }.items():
        with pytest.raises(ValueError, match=message) as caught:
            read_digit(path, 28, 20)
        assert "\n" not in str(caught.value)


RAMP = np.linspace(0, 1, 12).reshape(3, 4)
BYTES = np.rint(255 * RAMP)


@pytest.mark.parametrize(
    ("values", "said"),
    [
        (RAMP.astype(np.float32), "values from 0 to 1 "),
        (BYTES.astype(np.float32), None),
        ((65_535 * RAMP).astype(np.float32), "values from 0 to 65535 "),
        ((2 * RAMP - 1).astype(np.float32), "values from -1 to 1 "),
        (BYTES.astype(np.int32), None),
        (np.rint(65_535 * RAMP).astype(np.int32), "values from 0 to 65535 "),
        ((RAMP * (2**31 - 1)).astype(np.int32), "values from 0 to 2.14748e+09 "),
        ((40_000 * RAMP - 20_000).astype(np.int32), "values from -20000 to 20000 "),
        (np.rint(65_535 * RAMP).astype(np.uint16), "values from 0 to 65535 "),
    ],
)
def test_more_than_8_bits_are_scaled_by_the_range(tmp_path, caplog, values, said):
    path = tmp_path / "deep.tiff"
    Image.fromarray(values).save(path)
    got = read_image(path, (3, 4, 1))[..., 0]
    np.testing.assert_allclose(got, BYTES, atol=1)
    assert (said or "scaled") in caplog.text if said else not caplog.text


def test_a_faint_picture_of_16_bits_stays_faint(tmp_path):
    Image.fromarray(np.full((2, 2), 257 * 3, np.uint16)).save(tmp_path / "faint.png")
    assert read_image(tmp_path / "faint.png", (2, 2, 1)).tolist() == [[[3]] * 2] * 2


@pytest.mark.parametrize("mode", ["RGBA", "LA", "PA", "P"])
@pytest.mark.parametrize("color", ["white", "black", "yellow"])
def test_transparent_parts_contrast_with_the_drawing(tmp_path, mode, color):
    alpha = Image.fromarray((255 * drawn()).astype(np.uint8))
    picture = Image.new("RGBA", alpha.size, color)
    picture.putalpha(alpha)
    path = tmp_path / ("drawn.gif" if mode == "P" else "drawn.png")
    picture.convert(mode if mode in ("RGBA", "LA") else "RGBA").save(path)
    want = read_digit(saved(tmp_path, dark_on_light(drawn())), 28, 20)
    np.testing.assert_allclose(read_digit(path, 28, 20), want, atol=0.02)
    shown = read_image(path, (60, 90, 3)).astype(int)
    assert abs(shown[20, 62] - shown[50, 5]).max() > 200


@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_orientation_of_a_camera(tmp_path, orientation):
    picture = np.arange(0, 240, 10, np.uint8).reshape(4, 6)
    turned = {
        1: picture, 2: picture[:, ::-1], 3: picture[::-1, ::-1], 4: picture[::-1], 5: picture.T,
        6: np.rot90(picture, -1), 7: np.rot90(picture, 2).T, 8: np.rot90(picture),
    }[orientation]  # fmt: skip
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(picture).save(tmp_path / "camera.tiff", exif=exif)
    got = read_image(tmp_path / "camera.tiff", (*turned.shape, 1))[..., 0]
    np.testing.assert_array_equal(got, turned)


def test_colors_of_a_printer(tmp_path):
    red = Image.new("RGB", (8, 8), (220, 10, 20)).convert("CMYK")
    red.save(tmp_path / "red.jpg", quality=95)
    red.save(tmp_path / "red.tiff")
    for name in ("red.jpg", "red.tiff"):
        np.testing.assert_allclose(
            read_image(tmp_path / name, (1, 1, 3))[0, 0], (220, 10, 20), atol=8
        )


@pytest.mark.parametrize("name", ["moving.gif", "moving.png", "moving.webp", "pages.tiff"])
def test_the_first_of_several_pictures(tmp_path, caplog, name):
    frames = [Image.new("RGB", (6, 6), color) for color in ("red", "blue", "lime")]
    frames[0].save(tmp_path / name, save_all=True, append_images=frames[1:])
    red, _, blue = read_image(tmp_path / name, (1, 1, 3))[0, 0].tolist()
    assert red > 200
    assert blue < 50
    assert f"{name}: the first of several pictures in the file is read" in caplog.text


@pytest.mark.parametrize("kind", ["png", "jpg", "gif", "bmp", "tiff", "webp", "ppm"])
def test_truncated_files_are_named(tmp_path, kind):
    noise = np.random.default_rng(0).integers(0, 255, (40, 40, 3), np.uint8)
    path = tmp_path / f"half.{kind}"
    Image.fromarray(noise).save(path)
    whole = path.read_bytes()
    for kept in (len(whole) // 2, len(whole) // 5, 30):
        path.write_bytes(whole[:kept])
        with pytest.raises(ValueError, match=rf"image: .*half.{kind}: ") as caught:
            read_image(path, (4, 4, 3))
        assert "\n" not in str(caught.value)


def test_values_that_are_not_finite(tmp_path):
    Image.fromarray(np.array([[0, np.nan]], np.float32)).save(tmp_path / "nan.tiff")
    for read in (lambda p: read_digit(p, 28, 20), lambda p: read_image(p, (1, 2, 1))):
        with pytest.raises(ValueError, match=r"nan.tiff: got values that are not finite"):
            read(tmp_path / "nan.tiff")
