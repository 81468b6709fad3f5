"""The built-in components by kind and name, and how any component's name becomes an object."""

import importlib
import os
import sys
from collections.abc import Callable
from fnmatch import fnmatchcase
from typing import Any, Protocol

from dlresearch.config.user_code import user_code
from dlresearch.errors import UserError, suggest

# Strings, not objects: `config` stands below the packages it names, and imports only what is used.
CATALOG: dict[str, dict[str, str]] = {
    "source": {
        "tfds": "dlresearch.data.tfds_source:TFDS",
        "image_folder": "dlresearch.data.image_folder:ImageFolder",
        "table": "dlresearch.data.table:Table",
        "arrays": "dlresearch.data.arrays:Arrays",
        "subset": "dlresearch.data.subset:Subset",
        "text": "dlresearch.data.text:Text",
        "python_docs": "dlresearch.data.python_docs:PythonDocs",
        "labelled_text": "dlresearch.data.labelled_text:LabelledText",
        "parallel_text": "dlresearch.data.parallel_text:ParallelText",
        "dates": "dlresearch.data.dates:Dates",
        "chorales": "dlresearch.data.chorales:Chorales",
        "digits": "dlresearch.data.embedded:Digits",
        "synthetic": "dlresearch.data.synthetic:Synthetic",
        "series": "dlresearch.data.series:Series",
        "waves": "dlresearch.data.series:Waves",
        "gaussians": "dlresearch.data.gaussians:Gaussians",
    },
    "transform": {
        "resize": "dlresearch.data.transforms:Resize",
        "resize_shorter": "dlresearch.data.transforms:ResizeShorter",
        "centre_crop": "dlresearch.data.transforms:CentreCrop",
        "random_resized_crop": "dlresearch.data.transforms:RandomResizedCrop",
        "select": "dlresearch.data.transforms:Select",
        "rename": "dlresearch.data.transforms:Rename",
    },
    "augmentation": {
        "flip": "dlresearch.data.augmentations:Flip",
        "alternating_flip": "dlresearch.data.augmentations:AlternatingFlip",
        "shifted_crop": "dlresearch.data.augmentations:ShiftedCrop",
        "random_resized_crop": "dlresearch.data.augmentations:RandomResizedCrop",
        "affine": "dlresearch.data.augmentations:Affine",
        "normalise": "dlresearch.data.augmentations:Normalise",
        "colour_jitter": "dlresearch.data.augmentations:ColourJitter",
        "grayscale": "dlresearch.data.augmentations:Grayscale",
        "solarise": "dlresearch.data.augmentations:Solarise",
        "posterise": "dlresearch.data.augmentations:Posterise",
        "autocontrast": "dlresearch.data.augmentations:Autocontrast",
        "equalise": "dlresearch.data.augmentations:Equalise",
        "gaussian_blur": "dlresearch.data.augmentations:GaussianBlur",
        "cutout": "dlresearch.data.augmentations:Cutout",
        "erasing": "dlresearch.data.augmentations:Erasing",
        "mixup": "dlresearch.data.augmentations:Mixup",
        "cutmix": "dlresearch.data.augmentations:CutMix",
        "rand_augment": "dlresearch.data.augmentations:RandAugment",
        "transpose": "dlresearch.data.augmentations:Transpose",
    },
    "model": {
        "mlp": "dlresearch.models.mlp:MLP",
        "convnet": "dlresearch.models.convnet:ConvNet",
        "resnet": "dlresearch.models.resnet:ResNet",
        "wide_resnet": "dlresearch.models.resnet:WideResNet",
        "convnext": "dlresearch.models.convnext:ConvNeXt",
        "vit": "dlresearch.models.vit:ViT",
        "airbench": "dlresearch.models.airbench:Airbench",
        "dcgan_generator": "dlresearch.models.gan.dcgan:DCGANGenerator",
        "dcgan_discriminator": "dlresearch.models.gan.dcgan:DCGANDiscriminator",
        "resnet_generator": "dlresearch.models.gan.resnet:ResNetGenerator",
        "resnet_discriminator": "dlresearch.models.gan.resnet:ResNetDiscriminator",
        "biggan_generator": "dlresearch.models.gan.biggan:BigGANGenerator",
        "biggan_discriminator": "dlresearch.models.gan.biggan:BigGANDiscriminator",
        "stylegan2_generator": "dlresearch.models.gan.stylegan2:StyleGAN2Generator",
        "stylegan2_discriminator": (
            "dlresearch.models.gan.stylegan2_discriminator:StyleGAN2Discriminator"
        ),
        "attention_seq2seq": "dlresearch.models.seq2seq:AttentionSeq2Seq",
        "transformer": "dlresearch.models.transformer:Transformer",
        "projector": "dlresearch.models.self_supervised:Projector",
        "prototypes": "dlresearch.models.self_supervised:Prototypes",
        "dino_head": "dlresearch.models.self_supervised:DINOHead",
        "transformer_encoder": "dlresearch.models.transformer_encoder:TransformerEncoder",
        "masked_token_head": (
            "dlresearch.models.self_supervised.masked_token_head:MaskedTokenHead"
        ),
        "mae_decoder": "dlresearch.models.self_supervised:MAEDecoder",
        "recurrent_classifier": "dlresearch.models.recurrent_classifier:RecurrentClassifier",
        "recurrent_forecaster": "dlresearch.models.recurrent_forecaster:RecurrentForecaster",
        "recurrent_frames": "dlresearch.models.recurrent_frames:RecurrentFrames",
        "recurrent_language_model": (
            "dlresearch.models.recurrent_language_model:RecurrentLanguageModel"
        ),
    },
    "optimizer": {
        "sgd": "dlresearch.optim.optimizers:sgd",
        "adam": "dlresearch.optim.optimizers:adam",
        "adamw": "dlresearch.optim.optimizers:adamw",
        "rmsprop": "dlresearch.optim.optimizers:rmsprop",
        "lars": "dlresearch.optim.optimizers:lars",
        "lamb": "dlresearch.optim.optimizers:lamb",
        "lion": "dlresearch.optim.optimizers:lion",
        "muon": "dlresearch.optim.optimizers:muon",
    },
    "schedule": {
        "constant": "dlresearch.optim.schedules:constant",
        "linear": "dlresearch.optim.schedules:linear",
        "cosine": "dlresearch.optim.schedules:cosine",
        "step": "dlresearch.optim.schedules:step",
        "one_cycle": "dlresearch.optim.schedules:one_cycle",
        "inverse_sqrt": "dlresearch.optim.schedules:inverse_sqrt",
    },
    "task": {
        "classification": "dlresearch.tasks.classification:Classification",
        "regression": "dlresearch.tasks.regression:Regression",
        "sequence_classification": (
            "dlresearch.tasks.sequence_classification:SequenceClassification"
        ),
        "polyphonic_music": "dlresearch.tasks.music:PolyphonicMusic",
        "forecasting": "dlresearch.tasks.forecasting:Forecasting",
        "language_model": "dlresearch.tasks.language_model:LanguageModel",
        "gan": "dlresearch.tasks.gan:GAN",
        "translation": "dlresearch.tasks.translation:Translation",
        "masked_language_model": (
            "dlresearch.tasks.self_supervised.masked_language_model:MaskedLanguageModel"
        ),
        "mae": "dlresearch.tasks.self_supervised.mae:MAE",
        "simclr": "dlresearch.tasks.self_supervised.simclr:SimCLR",
        "byol": "dlresearch.tasks.self_supervised.byol:BYOL",
        "supervised_contrastive": (
            "dlresearch.tasks.self_supervised.supervised_contrastive:SupervisedContrastive"
        ),
        "moco_v2": "dlresearch.tasks.self_supervised.moco_v2:MoCoV2",
        "moco_v3": "dlresearch.tasks.self_supervised.moco_v3:MoCoV3",
        "simsiam": "dlresearch.tasks.self_supervised.simsiam:SimSiam",
        "barlow_twins": "dlresearch.tasks.self_supervised.barlow_twins:BarlowTwins",
        "vicreg": "dlresearch.tasks.self_supervised.vicreg:VICReg",
        "swav": "dlresearch.tasks.self_supervised.swav:SwAV",
        "dino": "dlresearch.tasks.self_supervised.dino:DINO",
        "nnclr": "dlresearch.tasks.self_supervised.nnclr:NNCLR",
    },
    "view": {
        "flip": "dlresearch.evaluation.views:Flip",
        "flip_and_shift": "dlresearch.evaluation.views:FlipAndShift",
    },
    "evaluator": {
        "classification": "dlresearch.evaluation.classification:ClassificationEvaluator",
        "probabilities": "dlresearch.evaluation.probabilities:ProbabilitiesEvaluator",
        "regression": "dlresearch.evaluation.regression:RegressionEvaluator",
        "polyphonic_music": "dlresearch.evaluation.music:PolyphonicMusicEvaluator",
        "forecasting": "dlresearch.evaluation.forecasting:ForecastingEvaluator",
        "language_model": "dlresearch.evaluation.language_model:LanguageModelEvaluator",
        "translation": "dlresearch.evaluation.translation:TranslationEvaluator",
        "masked_language_model": (
            "dlresearch.evaluation.self_supervised.masked_language_model:"
            "MaskedLanguageModelEvaluator"
        ),
        "knn": "dlresearch.evaluation.self_supervised.knn:KNNEvaluator",
        "linear_probe": "dlresearch.evaluation.self_supervised.linear_probe:LinearProbeEvaluator",
        "few_shot": "dlresearch.evaluation.self_supervised.few_shot:FewShotEvaluator",
        "features": "dlresearch.evaluation.self_supervised.features:FeaturesEvaluator",
        "representation": (
            "dlresearch.evaluation.self_supervised.representation:RepresentationEvaluator"
        ),
        "samples": "dlresearch.evaluation.gan.pictures:SamplesEvaluator",
        "classification_accuracy_score": (
            "dlresearch.evaluation.gan.accuracy_score:ClassificationAccuracyScoreEvaluator"
        ),
        "nearest_neighbours": "dlresearch.evaluation.gan.neighbours:NearestNeighboursEvaluator",
        "modes": "dlresearch.evaluation.gan.modes:ModesEvaluator",
        "discriminator": "dlresearch.evaluation.gan.discriminator:DiscriminatorEvaluator",
        "sample_quality": "dlresearch.evaluation.gan.quality:SampleQualityEvaluator",
        "views": "dlresearch.evaluation.self_supervised.views_picture:ViewsEvaluator",
        "feature_neighbours": (
            "dlresearch.evaluation.self_supervised.feature_neighbours:FeatureNeighboursEvaluator"
        ),
        "feature_map": "dlresearch.evaluation.self_supervised.feature_map:FeatureMapEvaluator",
        "attention_maps": (
            "dlresearch.evaluation.self_supervised.attention_maps:AttentionMapsEvaluator"
        ),
        "reconstructions": (
            "dlresearch.evaluation.self_supervised.reconstructions:ReconstructionsEvaluator"
        ),
    },
}


class Named(Protocol):
    """A Component, or a section that is one, such as `Optimizer`."""

    @property
    def name(self) -> str: ...


def names(kind: str, pattern: str = "*") -> list[str]:
    """The built-in names of a kind, in the order of the catalogue.

    Args:
      kind: such as `model`.
      pattern: with the wildcards of a shell, such as `*resnet*`.
    """
    return [name for name in CATALOG[kind] if fnmatchcase(name, pattern)]


def target_of(component: Named, kind: str, path: str) -> Callable[..., Any]:
    """The class or function that a component names.

    Raises UserError, with `path` in front, for an unknown name and for a failing import.
    """
    name = component.name
    where = f"{path}.name"
    if ":" in name:
        return _imported(name, where)
    if name not in CATALOG[kind]:
        hint = suggest(name, CATALOG[kind])
        raise UserError(f"{where}: no {kind} is called {name!r}; {hint} (or package.module:Name)")
    module_name, attribute = CATALOG[kind][name].split(":")
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("dlresearch"):
            raise  # A fault of ours: the traceback is wanted.
        raise UserError(f"{where}: {name} needs the package {error.name!r}; install it") from error
    return getattr(module, attribute)


def _imported(name: str, where: str) -> Callable[..., Any]:
    module_name, _, attribute = name.partition(":")
    add_current_directory()
    with user_code(f"{where}: cannot import {module_name!r}"):
        module = importlib.import_module(module_name)
    target = getattr(module, attribute, None)
    if target is None:
        public = (each for each in vars(module) if not each.startswith("_"))
        raise UserError(
            f"{where}: {module_name} has no {attribute!r}; {suggest(attribute, public)}"
        )
    if not callable(target):
        raise UserError(f"{where}: {name} is neither a class nor a function")
    return target


def add_current_directory() -> None:
    """Makes modules of the current directory importable, as `python -m` does."""
    if not {"", os.getcwd()} & set(sys.path):
        sys.path.insert(0, os.getcwd())
