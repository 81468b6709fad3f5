"""Images as squares of pixels, and back."""

from jaxtyping import Array, Shaped


def patchify(
    images: Shaped[Array, "batch height width channels"], size: int
) -> Shaped[Array, "batch rows columns pixels"]:
    """The pixels of each square of `size` x `size`, row by row, the channels of a pixel together;
    `size` divides height and width.
    """
    batch, height, width, channels = images.shape
    squares = images.reshape(batch, height // size, size, width // size, size, channels)
    return squares.swapaxes(2, 3).reshape(batch, height // size, width // size, -1)


def unpatchify(
    patches: Shaped[Array, "batch rows columns pixels"], channels: int
) -> Shaped[Array, "batch height width channels"]:
    """The inverse of `patchify`."""
    batch, rows, columns, pixels = patches.shape
    size = round((pixels // channels) ** 0.5)
    squares = patches.reshape(batch, rows, columns, size, size, channels)
    return squares.swapaxes(2, 3).reshape(batch, rows * size, columns * size, channels)
