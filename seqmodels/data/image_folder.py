"""The user's pictures: a folder of images and a file of captions."""

import os
import pathlib

import numpy as np

from seqmodels.data.captions import CaptionedImages, read_captions


def load(
    folder: str | os.PathLike[str], captions_file: str | os.PathLike[str], side: int
) -> tuple[CaptionedImages, list[str]]:
    """Reads the pictures that a file of captions names.

    Args:
      folder: the folder of the images; it may have subfolders.
      captions_file: a table (`tables.read_table`) with the columns `file` (a path below the folder)
        and `caption`. A picture may occur in several rows.
      side: height and width of the scaled pictures.

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


def read_image(path: str | os.PathLike[str], shape: tuple[int, int, int]) -> np.ndarray:
    """Returns the picture in an image file, in the shape that a model reads.

    The image may have any mode and size. It is rotated by its EXIF data, and transparent parts
    become white (black behind a white drawing). It becomes gray for one channel or RGB for three.
    It is scaled to the shape, so its proportions may change. For more than 8 bits see
    `image_files.to_8_bits`.

    Args:
      path: the file.
      shape: (height, width, channels), 1 or 3 channels.

    Returns:
      uint8 array of that shape.

    Raises:
      ValueError: in one line, if the file is no image, or too large.
    """
    from PIL import Image  # an optional dependency

    from seqmodels.data.image_files import open_image, to_8_bits

    height, width, depth = shape
    image = to_8_bits(open_image(path), path).convert("L" if depth == 1 else "RGB")
    if image.size != (width, height):
        image = image.resize((width, height), Image.Resampling.BOX)
    return np.asarray(image).reshape(shape).copy()
