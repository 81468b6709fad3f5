"""What generators and discriminators can make and read; the rest is named in one line."""

from jaxtyping import Array, Float, Int, Shaped

from dlresearch.errors import UserError
from dlresearch.models.checks import check_images

SMALLEST_START = 4
"""Side of the smallest image that is doubled; the largest is one less than twice that."""


def doublings(size: int, model: str) -> tuple[int, int]:
    """`(start, count)` with `size = start * 2**count`, a start from 4 to 7 and a count above 0.

    Raises UserError for a size that is not of this form.
    """
    start, count = size, 0
    while start % 2 == 0 and start // 2 >= SMALLEST_START:
        start, count = start // 2, count + 1
    if count == 0 or start >= 2 * SMALLEST_START:
        raise UserError(
            f"size={size}: {model} makes sizes that are 4, 5, 6 or 7 doubled some times, such as"
            " 28, 32, 48, 64, 128, 256, 512 and 1024; use a transform that resizes"
        )
    return start, count


def check_classes(num_classes: int) -> None:
    """0 stands for a network without classes."""
    if num_classes < 0:
        raise UserError(f"num_classes={num_classes}: must be at least 1, or 0 for none")


def check_latent(latent: Float[Array, "..."], model: str) -> None:
    """Raises UserError for what is no batch of vectors."""
    if latent.ndim != 2:
        raise UserError(f"{model} reads vectors [batch, latent], not an array {list(latent.shape)}")


def check_label(label: Int[Array, " batch"] | None, num_classes: int, model: str) -> None:
    """Raises UserError for a label that is there or missing against `num_classes`."""
    if num_classes and label is None:
        raise UserError(f"{model} with num_classes={num_classes} needs a label for each image")
    if not num_classes and label is not None:
        raise UserError(f"{model} with num_classes=0 reads no labels; set num_classes")


def check_square(images: Shaped[Array, "..."], model: str, halvings: int) -> None:
    """Raises UserError for what is no batch of square images, or not to be halved so many times."""
    check_images(images, model)
    height, width = images.shape[1:3]
    if height != width or height % 2**halvings or height == 0:
        raise UserError(
            f"images of {height}x{width}: {model} halves square images {halvings} times; use a"
            " transform that resizes them, or other widths"
        )


def check_attention(attention: tuple[int, ...], sides: list[int], model: str) -> None:
    """Raises UserError for a side at which no block of the network leaves its images."""
    for side in attention:
        if side not in sides:
            listed = ", ".join(map(str, sorted(set(sides))))
            raise UserError(
                f"attention={attention}: {model} has no images with sides of {side}, but {listed}"
            )
