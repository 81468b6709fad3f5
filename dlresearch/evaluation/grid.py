"""Images side by side in one picture."""

import io
from collections.abc import Sequence

import numpy as np
from jaxtyping import Shaped, UInt8
from PIL import Image, ImageDraw, ImageFont

from dlresearch.errors import UserError

GAP = 2  # white pixels between images
_LETTER = 16  # size of captions


def to_bytes(images: Shaped[np.ndarray, "*rows height width channels"]) -> UInt8[np.ndarray, "..."]:
    """Images as uint8 with three channels.

    Args:
      images: uint8, or floating-point numbers from -1 (black) to 1; what is beyond is cut off.

    Raises:
      UserError: neither one channel nor three, or no such numbers.
    """
    if images.ndim < 3 or images.shape[-1] not in (1, 3):
        raise UserError(
            f"an example is {list(images.shape[1:])}; pictures are made of images [height,"
            " width, channel] with 1 or 3 channels"
        )
    if images.dtype != np.uint8:
        if not np.issubdtype(images.dtype, np.floating) and images.dtype.name != "bfloat16":
            raise UserError(f"images are {images.dtype}; pictures are made of uint8, or of floats")
        levels = 127.5 * (np.clip(images.astype(np.float32), -1, 1) + 1)
        images = np.round(np.nan_to_num(levels)).astype(np.uint8)
    return np.broadcast_to(images, (*images.shape[:-1], 3))


def stretched(
    images: Shaped[np.ndarray, "*rows height width channels"],
    like: Shaped[np.ndarray, "*others height width channels"] | None = None,
) -> Shaped[np.ndarray, "*rows height width channels"]:
    """Floats from -1, the least number among these images, to 1, the greatest; uint8 as it is.

    What a source gives as floats may have any unit.

    Args:
      like: take least and greatest of these images instead.
    """
    if images.dtype == np.uint8:
        return images
    values = (images if like is None else like).astype(np.float32)
    values = values[np.isfinite(values)]
    low, high = (values.min(), values.max()) if values.size else (0.0, 1.0)
    return 2 * (images.astype(np.float32) - low) / max(high - low, np.finfo(np.float32).tiny) - 1


def grid(
    rows: Sequence[Sequence[Shaped[np.ndarray, "height width channels"]] | np.ndarray],
    scale: int = 1,
) -> UInt8[np.ndarray, "height width 3"]:
    """Rows of images of one size, `GAP` white pixels between them.

    Args:
      rows: each from left to right; a shorter one is filled up with white.
      scale: pixels of the picture that one of an image has along each side.
    """
    coloured = [to_bytes(np.asarray(row)) for row in rows]
    height, width = (size * scale + GAP for size in coloured[0].shape[1:3])
    columns = max(len(row) for row in coloured)
    canvas = np.full((len(rows) * height - GAP, columns * width - GAP, 3), 255, np.uint8)
    for number, row in enumerate(coloured):
        for column, image in enumerate(row):
            top, left = number * height, column * width
            large = image.repeat(scale, axis=0).repeat(scale, axis=1)
            canvas[top : top + height - GAP, left : left + width - GAP] = large
    return canvas


def captioned(
    pictures: Sequence[UInt8[np.ndarray, "height width 3"]], captions: Sequence[str]
) -> UInt8[np.ndarray, "height width 3"]:
    """Pictures below each other, `GAP` white pixels between them, each with text at its left."""
    font = ImageFont.load_default(_LETTER)
    margin = max(int(np.ceil(font.getlength(caption))) for caption in captions) + 3 * GAP
    height = sum(len(picture) + GAP for picture in pictures) - GAP
    width = margin + max(picture.shape[1] for picture in pictures)
    canvas = Image.new("RGB", (width, height), "white")
    draw, top = ImageDraw.Draw(canvas), 0
    for picture, caption in zip(pictures, captions, strict=True):
        canvas.paste(Image.fromarray(picture), (margin, top))
        middle = top + len(picture) // 2
        draw.text((margin - 2 * GAP, middle), caption, "black", font, anchor="rm")
        top += len(picture) + GAP
    return np.asarray(canvas)


def png(picture: UInt8[np.ndarray, "height width 3"]) -> bytes:
    """The picture as a PNG file."""
    content = io.BytesIO()
    Image.fromarray(picture).save(content, "png")
    return content.getvalue()


def from_png(content: bytes) -> UInt8[np.ndarray, "height width 3"]:
    """The inverse of `png`."""
    return np.asarray(Image.open(io.BytesIO(content)).convert("RGB"))
