"""A user's picture becomes what the models know, whatever its mode; what is none is refused."""

import numpy as np
import pytest
from PIL import Image

from seqmodels.data.image_files import place_digit, read_digit


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
