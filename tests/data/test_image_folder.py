"""A user's own pictures: every mode comes to one form, every mistake to one line."""

import numpy as np
import pytest
from PIL import Image

from seqmodels.data import image_folder


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "deep").mkdir()
    Image.new("RGB", (10, 6), (255, 0, 0)).save(tmp_path / "red.png")
    Image.new("L", (4, 4), 100).save(tmp_path / "deep" / "grey.png")
    return tmp_path


def table(folder, text, name="captions.csv"):
    (folder / name).write_text(text, encoding="utf-8")
    return folder / name


def test_rows_in_their_order(folder):
    text = 'caption,file,more\n"Red,  all of it",red.png,x\nGREY,deep/grey.png,y\nred,red.png,z\n'
    captioned, files = image_folder.load(folder, table(folder, text), 8)
    assert captioned.captions == ("red, all of it", "grey", "red")
    assert files == ["red.png", "deep/grey.png", "red.png"]
    assert captioned.images.shape == (3, 8, 8, 3)
    assert captioned.images.dtype == np.uint8
    assert (captioned.images[0] == [255, 0, 0]).all()
    assert (captioned.images[1] == 100).all()


def test_tabs_byte_order_mark_and_other_scripts(folder):
    path = table(folder, "\ufefffile\tcaption\nred.png\tאבג, 🍎\n", "captions.tsv")
    assert image_folder.load(folder, path, 4)[0].captions == ("אבג, 🍎",)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "I;16", "F"])
@pytest.mark.parametrize("depth", [1, 3])
def test_every_mode_is_taken(tmp_path, mode, depth):
    path = tmp_path / ("picture.tif" if mode in ("CMYK", "F", "I;16") else "picture.png")
    Image.new("L", (9, 5), 0).convert("RGB" if mode == "CMYK" else "L").convert(mode).save(path)
    found = image_folder.read_image(path, (4, 6, depth))
    assert (found.shape, found.dtype) == ((4, 6, depth), np.uint8)
    assert (found == 0).all()


def test_sixteen_bits_are_scaled(tmp_path):
    Image.fromarray(np.full((4, 4), 32_768, np.uint16)).save(tmp_path / "deep.png")
    found = image_folder.read_image(tmp_path / "deep.png", (4, 4, 3))
    assert np.unique(found).tolist() == [128]


def test_what_is_transparent_is_white_and_what_fits_stays(tmp_path):
    Image.new("RGBA", (4, 4), (0, 0, 0, 0)).save(tmp_path / "clear.png")
    assert (image_folder.read_image(tmp_path / "clear.png", (4, 4, 3)) == 255).all()
    pixels = np.random.default_rng(0).integers(0, 256, (5, 7, 3), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "noise.png")
    np.testing.assert_array_equal(
        image_folder.read_image(tmp_path / "noise.png", (5, 7, 3)), pixels
    )


def test_turned_as_the_camera_says(tmp_path):
    picture = Image.fromarray(np.array([[0, 255]], np.uint8))
    exif = picture.getexif()
    exif[0x0112] = 6  # to be turned by a quarter
    picture.save(tmp_path / "turned.png", exif=exif)
    assert image_folder.read_image(tmp_path / "turned.png", (2, 1, 1))[:, 0, 0].tolist() == [0, 255]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "captions.csv, which is empty"),
        ("file,text\nred.png,red\n", "got columns file, text, expected file and caption"),
        ("file,caption\nred.png,red\nred.png,\n", "line 3: expected a file and a caption"),
        ("file,caption\nred.png\n", "line 2: expected a file and a caption"),
        ("file,caption\nblue.png,blue\n", "blue.png.*which is not there"),
        ("file,caption\ncaptions.csv,red\n", "is no image that can be read"),
    ],
)
def test_mistakes_are_named(folder, text, message):
    with pytest.raises(ValueError, match=message) as raised:
        image_folder.load(folder, table(folder, text), 8)
    assert "\n" not in str(raised.value)


def test_files_that_cannot_be_read(folder):
    with pytest.raises(ValueError, match=r"captions_file: .*No such file"):
        image_folder.load(folder, folder / "none.csv", 8)
    (folder / "latin.csv").write_bytes("file,caption\nred.png,größe\n".encode("latin-1"))
    with pytest.raises(ValueError, match="is not UTF-8 text"):
        image_folder.load(folder, folder / "latin.csv", 8)
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64), np.uint8)).save(
        folder / "whole.png"
    )
    (folder / "half.png").write_bytes((folder / "whole.png").read_bytes()[:2000])
    with pytest.raises(ValueError, match=r"half.png: is damaged"):
        image_folder.read_image(folder / "half.png", (4, 4, 1))
    with pytest.raises(ValueError, match="deep"):
        image_folder.read_image(folder / "deep", (4, 4, 1))
