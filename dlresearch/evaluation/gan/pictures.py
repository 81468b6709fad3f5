"""Generated images to look at: on fixed latents, between them, and over the course of a run."""

from collections.abc import Callable, Iterable, Mapping

import jax
import numpy as np
from jaxtyping import Array, Float, Int, Shaped

from dlresearch.data import EXAMPLE
from dlresearch.errors import UserError, suggest
from dlresearch.evaluation.evaluator import Predict, _Compiled
from dlresearch.evaluation.gan.generating import Generating
from dlresearch.evaluation.grid import captioned, from_png, grid, png
from dlresearch.tasks import Batch, Variables, require

PICTURES = ("grid", "strip", "interpolation", "truncation", "real")

_MOST_IN_FILM = 16  # steps
_MOST_CLASSES = 10  # that get a row each where nobody says how many rows there are
_ROWS = 8  # where there are no classes


class SamplesEvaluator(_Compiled):
    """Pictures only, on the same latents at every step; reads one batch.

    Files: `grid.png`, `rows` x `columns` samples; `strip.png`, one row of samples; `real.png`, the
    first examples; `interpolation.png`, in each row the way from one latent to another along the
    sphere (White 2016, arXiv:1609.04468); `truncation.png`, in each row the same latents, truncated
    to the number at its left. After several steps also `film.png`, the strips of up to 16 of them,
    with the step at the left.

    Where the source has classes, each row of the grid has one of its own, and so has each of the
    interpolation; the samples of the strip, and of a row of the truncation, go through the classes.
    A model without classes ignores this.

    Args:
      rows: of the grid; None makes one for each of up to ten classes, or else eight. Of more
        classes it shows as many, evenly chosen.
      columns: samples in a row.
      pictures: which to make, of `grid`, `strip`, `interpolation`, `truncation` and `real`.
      truncations: the rows of `truncation.png`.
      scale: pixels of a picture that one of an image has along each side.
      image: key of the images.
      labels: key of the classes.
      num_classes: None takes what the source says; 0 takes no notice of classes.
      latent: size of a latent; None leaves the interpolation out.

    Raises:
      UserError: a picture that is not known, a number that cannot be, or what is generated is no
        image.
    """

    def __init__(
        self,
        rows: int | None = None,
        columns: int = 10,
        pictures: tuple[str, ...] = PICTURES,
        truncations: tuple[float, ...] = (0.25, 0.5, 0.75, 1.0),
        scale: int = 2,
        image: str = "image",
        labels: str = "label",
        num_classes: int | None = None,
        latent: int | None = None,
    ):
        super().__init__()
        for name in pictures:
            if name not in PICTURES:
                raise UserError(f"pictures: there is no {name!r}; {suggest(name, PICTURES)}")
        numbers = {"rows": 1 if rows is None else rows, "columns": columns, "scale": scale}
        for name, number in numbers.items():
            if number < 1:
                raise UserError(f"{name}={number}: must be at least 1")
        if not all(truncation > 0 for truncation in truncations):
            raise UserError(f"truncations={tuple(truncations)}: make them positive")
        self.classes = num_classes or 0
        self.rows = rows or (min(self.classes, _MOST_CLASSES) if self.classes else _ROWS)
        self.columns, self.pictures, self.truncations = columns, tuple(pictures), truncations
        self.scale, self.image, self.labels, self.latent = scale, image, labels, latent
        self._generating = Generating(image)

    def run(
        self, predict: Predict, variables: Variables, batches: Iterable[Batch]
    ) -> Mapping[str, bytes]:
        batch = next(iter(batches))

        def generate(**rows: Shaped[np.ndarray, "row ..."]) -> Shaped[np.ndarray, "row ..."]:
            if not self.classes or self.labels not in batch:
                rows.pop(self.labels)
            return self._generating(predict, variables, batch, rows)

        made: dict[str, bytes] = {}
        if "grid" in self.pictures:
            made["grid.png"] = self._picture(generate(**self._grid_rows()))
        if "strip" in self.pictures:
            made["strip.png"] = self._picture(generate(**self._strip_rows()))
        if "interpolation" in self.pictures and self.latent:
            made["interpolation.png"] = self._picture(generate(**self._interpolation_rows()))
        if "truncation" in self.pictures and self.truncations:
            made["truncation.png"] = self._truncated(generate)
        if "real" in self.pictures:
            found = self._call_step("real", self._real, (), batch)
            real, mask = (np.asarray(each) for each in jax.device_get(found))
            made["real.png"] = self._picture(real[mask][: self.rows * self.columns])
        return made

    def over_training(self, files: Mapping[int, Mapping[str, bytes]]) -> Mapping[str, bytes]:
        """`film.png`, from the strips of all steps so far; nothing while there is only one."""
        steps = sorted(step for step, made in files.items() if "strip.png" in made)
        if len(steps) < 2:
            return {}
        chosen = np.linspace(0, len(steps) - 1, min(len(steps), _MOST_IN_FILM)).round().astype(int)
        shown = [steps[place] for place in chosen]
        strips = [from_png(files[step]["strip.png"]) for step in shown]
        return {"film.png": png(captioned(strips, [f"{step:,}" for step in shown]))}

    def _real(self, nothing: tuple[()], batch: Batch) -> tuple[Array, Array]:
        del nothing
        return require(batch, self.image, "images"), batch["mask"]

    def _picture(self, images: Shaped[np.ndarray, "image height width channels"]) -> bytes:
        rows = [
            images[first : first + self.columns] for first in range(0, len(images), self.columns)
        ]
        return png(grid(rows, self.scale))

    def _truncated(self, generate: Callable[..., np.ndarray]) -> bytes:
        images = [
            generate(**self._strip_rows(), truncation=np.full(self.columns, each, np.float32))
            for each in self.truncations
        ]
        captions = [f"{each:g}" for each in self.truncations]
        return png(captioned([grid([row], self.scale) for row in images], captions))

    # --- what stands in the rows of a batch -----------------------------------------------------

    def _grid_rows(self) -> dict[str, Int[np.ndarray, " row"]]:
        return {
            EXAMPLE: np.arange(self.rows * self.columns, dtype=np.int32),
            self.labels: np.repeat(self._classes(self.rows), self.columns),
        }

    def _strip_rows(self) -> dict[str, Int[np.ndarray, " row"]]:
        return {
            EXAMPLE: np.arange(self.columns, dtype=np.int32),
            self.labels: self._classes(self.columns),
        }

    def _interpolation_rows(self) -> dict[str, Shaped[np.ndarray, "row ..."]]:
        ends = np.random.default_rng(0).standard_normal((2, self.rows, self.latent or 0))
        latents = np.concatenate(
            [between(first, last, self.columns) for first, last in zip(*ends, strict=True)]
        )
        return {**self._grid_rows(), "latent": latents.astype(np.float32)}

    def _classes(self, count: int) -> Int[np.ndarray, " row"]:
        """So many classes: the first ones over and over, or evenly chosen where there are more."""
        places = np.arange(count)
        if count < self.classes:
            return (places * self.classes // count).astype(np.int32)
        return (places % max(self.classes, 1)).astype(np.int32)


def between(
    first: Float[np.ndarray, " latent"], last: Float[np.ndarray, " latent"], count: int
) -> Float[np.ndarray, "count latent"]:
    """Spherical interpolation (Shoemake 1985; White 2016, arXiv:1609.04468, section 2.1), both ends
    among the `count` latents.
    """
    cosine = first @ last / (np.linalg.norm(first) * np.linalg.norm(last))
    angle = np.arccos(np.clip(cosine, -1, 1))
    share = np.linspace(0, 1, count)[:, None]
    if np.sin(angle) < 1e-6:  # almost the same direction: the formula divides by zero there
        return (1 - share) * first + share * last
    return (np.sin((1 - share) * angle) * first + np.sin(share * angle) * last) / np.sin(angle)
