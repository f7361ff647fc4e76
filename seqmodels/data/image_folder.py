"""A user's own pictures: a folder of images and a file of captions."""

import csv
import os
import pathlib

import numpy as np

from seqmodels.data.captions import CaptionedImages
from seqmodels.storage import reading

COLUMNS = ("file", "caption")


def load(
    folder: str | os.PathLike[str], captions_file: str | os.PathLike[str], side: int
) -> tuple[CaptionedImages, list[str]]:
    """Reads the pictures that a file of captions names.

    Args:
      folder: of the images; it may have folders below.
      captions_file: CSV, or TSV where the name ends in .tsv, in UTF-8, with the columns `file` (a
        path below the folder) and `caption`. A picture may stand in several rows.
      side: height and width that the pictures are brought to.

    Returns:
      (captioned, files): the pictures (N, side, side, 3), captions in lower case with single
      spaces, and the file of each row.

    Raises:
      ValueError: in one line, if a column, a file or a caption is missing, or a file is no image.
    """
    files, captions = read_captions(captions_file)
    shape = (side, side, 3)
    images = {file: read_image(pathlib.Path(folder) / file, shape) for file in dict.fromkeys(files)}
    return CaptionedImages(np.stack([images[file] for file in files]), tuple(captions)), files


def read_captions(captions_file: str | os.PathLike[str]) -> tuple[list[str], list[str]]:
    """Reads a file of captions.

    Args:
      captions_file: as in `load`.

    Returns:
      (files, captions) of its rows, captions in lower case with single spaces.

    Raises:
      ValueError: in one line, if the file cannot be read, or a column, a file or a caption is
        missing.
    """
    path = pathlib.Path(captions_file)
    delimiter = "\t" if path.suffix.lower() == ".tsv" else ","
    try:
        text = reading.open_text(path, "utf-8-sig").read()
    except OSError as error:
        raise ValueError(f"captions_file: {path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ValueError(f"captions_file: {path}: is not UTF-8 text") from None
    rows = list(csv.DictReader(text.splitlines(), delimiter=delimiter))
    given = list(rows[0]) if rows else []
    if not set(COLUMNS) <= set(given):
        raise ValueError(
            f"captions_file: {path}: got columns {', '.join(map(str, given)) or 'none'}, expected "
            f"{' and '.join(COLUMNS)}"
        )
    files, captions = [], []
    for number, row in enumerate(rows, 2):
        file, caption = (" ".join((row[name] or "").split()) for name in COLUMNS)
        if not file or not caption:
            raise ValueError(f"captions_file: {path}: line {number}: expected a file and a caption")
        files.append(file)
        captions.append(caption.lower())
    return files, captions


def read_image(path: str | os.PathLike[str], shape: tuple[int, int, int]) -> np.ndarray:
    """Returns the picture in an image file in the shape that a model knows.

    Any mode and size: turned as its EXIF data say, laid on white where it is transparent, made
    gray for one channel or RGB for three, and scaled without regard to its proportions.

    Args:
      path: of the file.
      shape: (height, width, channels), 1 or 3 channels.

    Returns:
      uint8 array of that shape.

    Raises:
      ValueError: in one line, if the file is no image, or too large.
    """
    from PIL import Image  # of an extra, which digits in a row do not need

    from seqmodels.data.image_files import open_image

    height, width, depth = shape
    image = open_image(path)
    if image.mode.startswith("I"):  # 16 bits, which Pillow would cut off at 255
        image = Image.fromarray((np.asarray(image) // 256).clip(0, 255).astype(np.uint8))
    image = image.convert("RGBA")
    ground = Image.new("RGBA", image.size, "white")
    image = Image.alpha_composite(ground, image).convert("L" if depth == 1 else "RGB")
    if image.size != (width, height):
        image = image.resize((width, height), Image.Resampling.BOX)
    return np.asarray(image).reshape(shape).copy()
