"""Published ways to make views, for `config.data.views` of an experiment.

    config.data.views = views("simclr")
    config.data.views = views("byol", size=32, blur=0.0)
    config.data.views = views("dino", size=32, local_size=16, local_count=4)

A recipe is a line of numbers in a table, and `RECIPES` says where each comes from. Crops are
bilinear in all of them, where some of the sources have bicubic ones.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from types import MappingProxyType
from typing import Any

from ml_collections import ConfigDict

from dlresearch.config import component
from dlresearch.errors import UserError, suggest


@dataclass(frozen=True)
class Pipeline:
    """The numbers of one view, in the order in which they are applied; a part whose probability is
    0 is left out.

    Attributes:
      area: smallest and largest part of the image that a crop shows; None does not crop.
      affine: arguments of `affine`; None leaves it out.
      flip: probability.
      strengths: of brightness, contrast, saturation and hue.
      jitter: probability that they change.
      grey: probability that the colour is taken out.
      blur: probability of a blur of 0.1 to 2 pixels, whatever the size of the image.
      solarise: probability.
    """

    area: tuple[float, float] | None = (0.08, 1.0)
    affine: Mapping[str, Any] | None = None
    flip: float = 0.5
    strengths: tuple[float, float, float, float] = (0.4, 0.4, 0.2, 0.1)
    jitter: float = 0.8
    grey: float = 0.2
    blur: float = 0.0
    solarise: float = 0.0

    def components(self, size: int | None = None) -> tuple[ConfigDict, ...]:
        """The augmentations.

        Args:
          size: height and width of the view; None keeps those of the image.
        """
        crop = {"area": self.area} | ({} if size is None else {"size": (size, size)})
        names = ("brightness", "contrast", "saturation", "hue")
        jitter = dict(zip(names, self.strengths, strict=True))
        parts = (
            (self.area is not None, component("random_resized_crop", **crop)),
            (self.affine is not None, component("affine", **(self.affine or {}))),
            (self.flip, component("flip", probability=self.flip)),
            (self.jitter, component("colour_jitter", **jitter, probability=self.jitter)),
            (self.grey, component("grayscale", probability=self.grey)),
            (self.blur, component("gaussian_blur", probability=self.blur)),
            (self.solarise, component("solarise", probability=self.solarise)),
        )
        return tuple(part for used, part in parts if used)


@dataclass(frozen=True)
class Recipe:
    """The views of an image.

    Attributes:
      second: None makes the second view as the first.
      local: None has no local views.
      single: there is no second view; it is the image as it is, and costs nothing, as no task that
        learns from one view reads it.
      sizes: of the views, and of local ones, as published.
      local_count: local views of an image.
    """

    source: str
    first: Pipeline
    second: Pipeline | None = None
    local: Pipeline | None = None
    single: bool = False
    sizes: tuple[int, int | None] = (224, None)
    local_count: int = 0


_STRONG = (0.8, 0.8, 0.8, 0.2)
_SIMCLR = Pipeline(strengths=_STRONG, blur=0.5)
_MOCO = Pipeline(area=(0.2, 1.0), strengths=(0.4, 0.4, 0.4, 0.1), blur=0.5)
_BYOL = (Pipeline(blur=1.0), Pipeline(blur=0.1, solarise=0.2))
_NO_COLOUR: Mapping[str, Any] = MappingProxyType({"jitter": 0.0, "grey": 0.0})
_DINO = tuple(replace(view, area=(0.4, 1.0)) for view in _BYOL)

RECIPES: Mapping[str, Recipe] = MappingProxyType(
    {
        "simclr": Recipe("Chen et al. 2020, arXiv:2002.05709, appendix A", _SIMCLR),
        "moco_v2": Recipe(
            "Chen et al. 2020, arXiv:2003.04297, and facebookresearch/moco; SimSiam's, too", _MOCO
        ),
        "byol": Recipe(
            "Grill et al. 2020, arXiv:2006.07733, appendix B; those of Barlow Twins and MoCo v3,"
            " too",
            *_BYOL,
        ),
        "vicreg": Recipe(
            "Bardes et al. 2022, arXiv:2105.04906, appendix C.1: BYOL's, alike for both views",
            Pipeline(blur=0.5, solarise=0.1),
        ),
        "swav": Recipe(
            "Caron et al. 2020, arXiv:2006.09882, appendix A, and facebookresearch/swav",
            replace(_SIMCLR, area=(0.14, 1.0)),
            local=replace(_SIMCLR, area=(0.05, 0.14)),
            sizes=(224, 96),
            local_count=6,
        ),
        "dino": Recipe(
            "Caron et al. 2021, arXiv:2104.14294, and facebookresearch/dino (areas divided at 0.4)",
            *_DINO,
            local=Pipeline(area=(0.05, 0.4), blur=0.5),
            sizes=(224, 96),
            local_count=8,
        ),
        "mae": Recipe(
            "He et al. 2022, arXiv:2111.06377, appendix A.1",
            Pipeline(area=(0.2, 1.0), **_NO_COLOUR),
            single=True,
        ),
        "cifar": Recipe(
            "vturrisi/solo-learn, scripts/pretrain/cifar: asymmetric",
            Pipeline(),
            Pipeline(solarise=0.2),
            sizes=(32, None),
        ),
        "cifar_simclr": Recipe(
            "vturrisi/solo-learn, scripts/pretrain/cifar: symmetric", _SIMCLR, sizes=(32, None)
        ),
        "cifar_vicreg": Recipe(
            "vturrisi/solo-learn, scripts/pretrain/cifar: vicreg",
            Pipeline(area=(0.2, 1.0), solarise=0.1),
            sizes=(32, None),
        ),
        "digits": Recipe(
            "ours, for grey digits such as MNIST's, which have neither colour nor a mirror image",
            Pipeline(
                area=(0.4, 1.0),
                affine=MappingProxyType(
                    {"degrees": 15.0, "translate": (0.1, 0.1), "scale": (0.8, 1.2), "shear": 10.0}
                ),
                flip=0.0,
                **_NO_COLOUR,
            ),
            sizes=(28, None),
        ),
    }
)


def views(
    recipe: str,
    size: int | None = None,
    local_size: int | None = None,
    local_count: int | None = None,
    strength: float = 1.0,
    **changes: Any,
) -> dict[str, Any]:
    """What `config.data.views` takes.

    Args:
      recipe: a name in `RECIPES`.
      size: height and width of the two views; None takes what was published.
      local_size: likewise of local views.
      local_count: how many local views; None takes what was published, 0 leaves them out.
      strength: factor of the strengths of brightness, contrast, saturation and hue; SimCLR has 0.5
        for CIFAR-10 (arXiv:2002.05709, appendix B.9).
      **changes: numbers of `Pipeline`, for all views: `blur=0.0`.

    Raises:
      UserError: an unknown name, or local views where the recipe has none.
    """
    if recipe not in RECIPES:
        raise UserError(f"views: there is no recipe {recipe!r}; {suggest(recipe, RECIPES)}")
    names = [field.name for field in fields(Pipeline)]
    for name in changes:
        if name not in names:
            raise UserError(f"views: a recipe has no {name!r}; {suggest(name, names)}")
    chosen = RECIPES[recipe]
    if chosen.local is None and (local_size or local_count):
        raise UserError(f"views: {recipe!r} has no local views; take 'swav' or 'dino'")
    count = chosen.local_count if local_count is None else local_count

    def made(pipeline: Pipeline, size: int | None) -> tuple[ConfigDict, ...]:
        strengths = tuple(strength * each for each in pipeline.strengths)
        return replace(pipeline, **({"strengths": strengths} | changes)).components(size)

    size = size or chosen.sizes[0]
    second = () if chosen.single else None
    return {
        "first": made(chosen.first, size),
        "second": second if chosen.second is None else made(chosen.second, size),
        "local": ()
        if not count
        else made(chosen.local or chosen.first, local_size or chosen.sizes[1]),
        "local_count": count,
    }
