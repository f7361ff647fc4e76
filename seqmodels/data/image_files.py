"""A user's own picture of a digit, converted to the format of the training images."""

import io
import os
import warnings

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from seqmodels.storage import reading

MOST_PIXELS = 50_000_000
# Fainter than this share of the darkest ink is ground.
FAINT = 0.2


def read_digit(path: str | os.PathLike[str], side: int, box: int) -> np.ndarray:
    """Returns the digit in an image file as MNIST has its digits.

    Any mode and size: turned as its EXIF data say, laid on white where it is transparent, made
    gray, inverted where the ground is light, cut to the ink, scaled to a square of `box` pixels
    with its proportions kept, and moved until the ink's center of mass is in the middle (LeCun,
    Bottou, Bengio, Haffner 1998, section III.A).

    Args:
      path: of the file.
      side: height and width wanted.
      box: the most pixels that the digit is high or wide.

    Returns:
      float32 (side, side, 1) in [0, 1], ink 1.

    Raises:
      ValueError: in one line, if the file is no image, is too large, or is of one color.
    """
    return place_digit(_ink(open_image(path), path), side, box)


def place_digit(ink: np.ndarray, side: int, box: int) -> np.ndarray:
    """Returns a digit cut out, scaled and moved to the middle.

    Args:
      ink: (height, width) in [0, 1], ink 1, ground 0, with some ink.
      side: as in `read_digit`.
      box: as in `read_digit`.

    Returns:
      float32 (side, side, 1).
    """
    rows = np.flatnonzero(ink.max(axis=1) > FAINT)
    columns = np.flatnonzero(ink.max(axis=0) > FAINT)
    cut = ink[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    scale = box / max(cut.shape)
    height, width = (max(1, round(size * scale)) for size in cut.shape)
    resized = Image.fromarray(cut.astype(np.float32)).resize(
        (width, height), Image.Resampling.BOX if scale < 1 else Image.Resampling.BILINEAR
    )
    digit = np.clip(np.asarray(resized), 0, 1)
    digit = digit / max(digit.max(), FAINT)
    placed = np.zeros((side, side, 1), np.float32)
    top, left = (
        _offset(digit.sum(axis=1 - axis), side, size) for axis, size in enumerate((height, width))
    )
    placed[top : top + height, left : left + width, 0] = digit
    return placed


def _offset(profile: np.ndarray, side: int, size: int) -> int:
    """Returns where a digit begins so that its center of mass is in the middle, or near it."""
    center = np.sum(profile * (np.arange(size) + 0.5)) / np.sum(profile)
    return min(max(round(side / 2 - float(center)), 0), side - size)


def open_image(path: str | os.PathLike[str]) -> Image.Image:
    """Returns the picture in a file, decoded and turned as its EXIF data say.

    Args:
      path: of the file.

    Raises:
      ValueError: in one line, if the file is no image, is damaged, or is too large.
    """
    try:
        with warnings.catch_warnings():
            # Its size is checked below, before anything is decoded.
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            with Image.open(io.BytesIO(reading.read_bytes(path, keep=False))) as image:
                if image.width * image.height > MOST_PIXELS:
                    raise ValueError(
                        f"image: {path}: got {image.width}x{image.height} pixels, expected at most "
                        f"{MOST_PIXELS // 10**6} million"
                    )
                image.load()
                return ImageOps.exif_transpose(image)
    except FileNotFoundError:
        raise ValueError(f"image: got {str(path)!r}, which is not there") from None
    except UnidentifiedImageError:
        raise ValueError(f"image: {path}: is no image that can be read") from None
    except Image.DecompressionBombError:
        raise ValueError(
            f"image: {path}: has more pixels than the {MOST_PIXELS // 10**6} million expected"
        ) from None
    except (OSError, SyntaxError) as error:  # what Pillow raises for a damaged file
        reason = getattr(error, "strerror", None)
        told = f"cannot be read: {reason}" if reason else f"is damaged and cannot be read: {error}"
        raise ValueError(f"image: {path}: {told}") from None


def _ink(image: Image.Image, path: str | os.PathLike[str]) -> np.ndarray:
    """Returns how much ink each pixel has, from 0 (the ground) to 1 (the strongest)."""
    if image.mode in ("I", "F") or image.mode.startswith("I;"):
        gray = np.asarray(image, np.float64)
    else:
        if image.has_transparency_data:
            image = image.convert("RGBA")
            image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
        gray = np.asarray(image.convert("L"), np.float64)
    # The ground is what most of the edge is.
    edge = np.concatenate([gray[0], gray[-1], gray[:, 0], gray[:, -1]])
    ground = np.median(edge)
    ink = gray - ground
    if abs(ink.min()) > ink.max():
        ink = -ink
    if not ink.max() > 0:
        raise ValueError(f"image: {path}: is of one color, expected a digit")
    return np.clip(ink / ink.max(), 0, 1)
