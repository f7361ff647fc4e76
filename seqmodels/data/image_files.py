"""The user's pictures, of any mode, converted to the format of the training images."""

import io
import logging
import os
import warnings

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from seqmodels.storage import reading

MOST_PIXELS = 50_000_000
FULL_SCALES = (255, 65_535, 2**31 - 1)  # largest values of 8, 16 and 32 bits
LEAST_CONTRAST = 32  # of 255, mean of the visible pixels to white; below it the ground is black
# Pixels fainter than this share of the darkest ink are background.
FAINT = 0.2


def read_digit(path: str | os.PathLike[str], side: int, box: int) -> np.ndarray:
    """Returns the digit in an image file in the format of MNIST.

    The image may have any mode and size. It is rotated by its EXIF data. Transparent parts become
    white (black if the digit is invisible on white), colors become gray, and a light background is
    inverted. The ink is cut out, scaled to fit a square of `box` pixels, and centered by its center
    of mass. LeCun, Bottou, Bengio, Haffner 1998, section III.A.

    Args:
      path: the file.
      side: height and width of the result.
      box: the largest height and width of the digit, in pixels.

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
    """Returns the offset of a digit with which its center of mass is nearest to the middle."""
    center = np.sum(profile * (np.arange(size) + 0.5)) / np.sum(profile)
    return min(max(round(side / 2 - float(center)), 0), side - size)


class _TooLargeError(ValueError):
    """The picture has too many pixels to be decoded."""


def open_image(path: str | os.PathLike[str]) -> Image.Image:
    """Returns the picture in a file, decoded and turned as its EXIF data say.

    If a file holds several pictures, such as an animation, the first one is read, with a log
    message.

    Args:
      path: the file.

    Raises:
      ValueError: in one line, if the file is no image, is damaged, or is too large.
    """
    try:
        with warnings.catch_warnings():
            # The size is checked below, before the decoding; a damaged file raises anyway.
            warnings.simplefilter("ignore")
            with Image.open(io.BytesIO(reading.read_bytes(path, keep=False))) as image:
                if image.width * image.height > MOST_PIXELS:
                    raise _TooLargeError(
                        f"image: {path}: got {image.width}x{image.height} pixels, expected at most "
                        f"{MOST_PIXELS // 10**6} million"
                    )
                image.load()
                turned = ImageOps.exif_transpose(image)
                turned.format = image.format
                if getattr(image, "is_animated", False):
                    _say(path, "the first of several pictures in the file is read")
                return turned
    except _TooLargeError:
        raise
    except FileNotFoundError:
        raise ValueError(f"image: got {str(path)!r}, which is not there") from None
    except UnidentifiedImageError:
        raise ValueError(f"image: {path}: is no image that can be read") from None
    except Image.DecompressionBombError:
        raise ValueError(
            f"image: {path}: has more pixels than the {MOST_PIXELS // 10**6} million expected"
        ) from None
    except Exception as error:  # Pillow raises errors of many types for a damaged file
        reason = getattr(error, "strerror", None)
        if not reason:
            first = (str(error).splitlines() or [type(error).__name__])[0]
            raise ValueError(f"image: {path}: is damaged and cannot be read: {first}") from None
        raise ValueError(f"image: {path}: cannot be read: {reason}") from None


def to_8_bits(image: Image.Image, path: str | os.PathLike[str]) -> Image.Image:
    """Returns a picture of any mode in mode L or RGB.

    Integers of 16 bits are scaled from the range 0 to 65,535, floating-point numbers from 0 to 1.
    For 32-bit integers, and floats beyond 1, the range is the smallest of 8, 16 and 32 bits that
    holds all values. If some are negative or larger, it is the range of the values. A log message
    names the range. Transparent parts are laid on white, or on black if the picture would hardly be
    seen on white.

    Args:
      image: the result of `open_image`.
      path: its file, for messages.

    Raises:
      ValueError: if values are not finite, or Pillow cannot convert the mode.
    """
    if image.mode in ("I", "F") or image.mode.startswith("I;"):
        return Image.fromarray(_scaled(image, path))
    try:
        if not image.has_transparency_data:
            return image.convert("L" if image.mode in ("1", "L") else "RGB")
        layer = image.convert("RGBA")
    except ValueError as error:
        raise ValueError(f"image: {path}: got mode {image.mode}, expected RGB: {error}") from None
    gray, alpha = (np.asarray(band, np.float64) for band in (layer.convert("L"), layer.split()[3]))
    contrast = np.sum(alpha * (255 - gray)) / max(np.sum(alpha), 1)
    is_seen = contrast >= LEAST_CONTRAST or not alpha.any()
    ground = Image.new("RGBA", layer.size, "white" if is_seen else "black")
    return Image.alpha_composite(ground, layer).convert("RGB")


def _scaled(image: Image.Image, path: str | os.PathLike[str]) -> np.ndarray:
    """Returns the values of a gray picture of more than 8 bits as uint8."""
    values = _finite(image, path)
    low, high = float(values.min()), float(values.max())
    if image.mode.startswith("I;16") or (image.mode == "I" and image.format == "PNG"):
        low, top = 0.0, 65_535.0
    elif low < 0 or high > FULL_SCALES[-1]:
        top = high
    else:
        scales = (1, *FULL_SCALES) if image.mode == "F" else FULL_SCALES
        low, top = 0.0, float(next(scale for scale in scales if high <= scale))
    if top != 255 or low:
        _say(path, f"values from {low:g} to {top:g} (mode {image.mode}) are scaled to 0 to 255")
    scaled = np.rint((values - low) * (255 / max(top - low, 1e-300)))
    return scaled.clip(0, 255).astype(np.uint8)


def _finite(image: Image.Image, path: str | os.PathLike[str]) -> np.ndarray:
    values = np.asarray(image, np.float64)
    if not np.isfinite(values).all():
        raise ValueError(f"image: {path}: got values that are not finite, expected numbers")
    return values


def _say(path: str | os.PathLike[str], what: str) -> None:
    logging.getLogger(__name__).warning("image: %s: %s", path, what)


def _ink(image: Image.Image, path: str | os.PathLike[str]) -> np.ndarray:
    """Returns how much ink each pixel has, from 0 (the ground) to 1 (the strongest)."""
    if image.mode in ("I", "F") or image.mode.startswith("I;"):
        gray = _finite(image, path)  # only its contrast counts
    else:
        gray = np.asarray(to_8_bits(image, path).convert("L"), np.float64)
    # The background is the value of most edge pixels.
    edge = np.concatenate([gray[0], gray[-1], gray[:, 0], gray[:, -1]])
    ground = np.median(edge)
    ink = gray - ground
    if abs(ink.min()) > ink.max():
        ink = -ink
    if not ink.max() > 0:
        raise ValueError(f"image: {path}: is of one color, expected a digit")
    return np.clip(ink / ink.max(), 0, 1)
