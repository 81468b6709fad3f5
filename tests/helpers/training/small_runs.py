"""Small runs for tests: configs, and a way to train one in this process or in another."""

import contextlib
import json
import shutil
import subprocess
from collections import defaultdict
from pathlib import Path
from typing import Any
from unittest import mock

import jax
import numpy as np
from jax.sharding import SingleDeviceSharding
from ml_collections import ConfigDict

from dlresearch import preemption
from dlresearch.config import component, default_config, to_dict, validate
from dlresearch.training import Result, Setup, loop, open_workdir, train
from dlresearch.training.checkpoints import Checkpoints
from dlresearch.training.records import read_records
from helpers.processes import free_port, start_python


def classification_config() -> ConfigDict:
    """24 steps on scikit-learn's digits; averages, accumulation and augmentation are on."""
    config = default_config()
    config.duration = "24 steps"
    config.batch_size = 32
    config.accumulate = 2
    config.average.decay = 0.9
    config.model = component("convnet", widths=(4,), convs_per_stage=1, head="flatten", dropout=0.1)
    config.data.placement = "resident"
    config.data.preprocess = (component("normalise"),)
    config.data.augmentations = (component("shifted_crop", padding=1),)
    config.optimizer.schedule = component("cosine", warmup="4 steps")
    config.evaluators.test = dict(
        name="classification",
        source=component("digits", split="test"),
        every="8 steps",
        batch_size=100,
    )
    config.checkpoint.every = "6 steps"
    config.log.every = "5 steps"
    return config


def regression_config() -> ConfigDict:
    """The same for a target that is a number: how dark an image is."""
    config = classification_config()
    config.task = component("regression", inputs="image", target="darkness")
    config.model = component("mlp", hidden=(16,), norm="batch", dropout=0.1)
    config.data.source = component("helpers.training.toy_sources:Darkness", split="train")
    config.evaluators.test = dict(
        name="regression",
        target="darkness",
        source=component("helpers.training.toy_sources:Darkness", split="test"),
        every="8 steps",
        batch_size=100,
    )
    return config


def language_model_config() -> ConfigDict:
    """An LSTM that carries its state on from step to step. An epoch ends after 16 of them."""
    config = classification_config()
    config.task = component("language_model")
    config.model = component("recurrent_language_model", width=16, layers=2, dropout=0.1)
    config.data.preprocess, config.data.augmentations = (), ()
    config.data.source = component(
        "helpers.training.toy_sources:ShortText",
        characters=4000,
        length=8,
        streams=config.batch_size,
    )
    config.evaluators.test = dict(
        name="language_model",
        source=component(
            "helpers.training.toy_sources:ShortText", characters=1000, length=50, streams=8, seed=1
        ),
        every="8 steps",
        batch_size=8,
    )
    return config


def translation_config() -> ConfigDict:
    """Attention, in batches of several widths; the last microbatch has fewer tokens than others."""
    config = classification_config()
    config.task = component("translation", beam=2, max_length=12, label_smoothing=0.1)
    config.model = component("attention_seq2seq", width=16, embedding=8, dropout=0.1)
    config.data.preprocess, config.data.augmentations = (), ()
    config.data.source = component("dates", split="train", count=200)
    config.data.buckets = (20,)
    config.evaluators.test = dict(
        name="translation",
        source=component("dates", split="test", count=50),
        every="12 steps",
        batch_size=40,
    )
    return config


def gan_config() -> ConfigDict:
    """StyleGAN2 with all that a GAN can have a state of: adaptive augmentation, two regularisers
    that are due at some steps only, a mean style, an average.
    """
    config = classification_config()
    small = {"channel_max": 4, "mapping_layers": 1}
    config.task = component(
        "gan",
        discriminator=component("stylegan2_discriminator", **small),
        latent=4,
        conditional=True,
        r1=1.0,
        penalty_every=2,
        path_length=2.0,
        path_length_every=2,
        ada="color",
        ada_target=-0.9,
        ada_images=2000,
        average_half_life=100,
        average_ramp=0.5,
    )
    config.model = component("stylegan2_generator", style_width=4, **small)
    config.average.decay, config.accumulate = 0.0, 1
    config.data.preprocess, config.data.augmentations = (), (component("flip"),)
    config.evaluators.test = dict(
        name="discriminator",
        source=component("digits", split="test"),
        every="8 steps",
        batch_size=100,
    )
    return config


def dcgan_config() -> ConfigDict:
    """A small one, with two updates of the discriminator, a lazy penalty and an average."""
    config = gan_config()
    config.task = component(
        "gan",
        discriminator=component("dcgan_discriminator", widths=(8,), norm="none"),
        latent=8,
        conditional=True,
        repeats=2,
        r1=1.0,
        penalty_every=2,
        average_half_life=100,
    )
    config.model = component("dcgan_generator", widths=(4, 8))
    config.data.augmentations = ()
    config.evaluators.test.update(name="helpers.training.toy_evaluators:Size", key="real_logit")
    return config


def self_supervised_config(task: str, **arguments: Any) -> ConfigDict:
    """Two views of each digit, and an online probe with an optimizer of its own."""
    config = classification_config()
    config.task = component(task, **arguments)
    config.model = component("convnet", widths=(4,), convs_per_stage=1, head="flatten")
    config.data.augmentations = ()
    config.data.views.first = (component("shifted_crop", padding=1),)
    config.average.decay, config.accumulate = 0.0, 1
    config.optimizer.learning_rate = 1e-2
    config.optimizer.groups.probe = component("adam", parameters=("probe/.*",), learning_rate=0.1)
    return config


def byol_config() -> ConfigDict:
    """The target's momentum changes over the run."""
    return self_supervised_config("byol", projector=(16, 8), predictor=(16, 8))


def moco_config() -> ConfigDict:
    """With a queue whose end falls inside a batch, and an average."""
    return self_supervised_config("moco_v2", projector=(16, 8), queue=80, momentum=0.9)


def dino_config() -> ConfigDict:
    """With local views, a teacher, a centre, a schedule of temperatures and a layer that is frozen
    at first.
    """
    config = self_supervised_config(
        "dino",
        outputs=16,
        hidden=(
            256,
        ),  # published for wide ones, their start leaves next to nothing in a narrow one
        head_norm=True,
        bottleneck=8,
        momentum=0.9,
        teacher_warmup=0.5,
        last_layer_frozen=0.2,
    )
    config.data.views.local = (component("random_resized_crop", size=(4, 4)),)
    config.data.views.local_count = 2
    config.model.head = "mean"
    return config


def mae_config() -> ConfigDict:
    """Other patches are hidden in every step and every microbatch."""
    config = self_supervised_config("mae", decoder_width=8, decoder_depth=1, decoder_heads=2)
    config.model = component("vit", width=8, depth=1, heads=2, patch_size=2, positions="sincos")
    config.accumulate = 2
    return config


def toy_config(name: str) -> ConfigDict:
    """As above, for a task of `toy_tasks`."""
    config = classification_config()
    config.task = component(f"helpers.training.toy_tasks:{name}")
    config.evaluators = {}
    config.average.decay = 0.0
    return config


def run(
    config: ConfigDict | Setup, path: Path, stop_at: int | None = None, report: bool = False
) -> Result:
    """Train in this process, as the entry point would; preempted at the `stop_at`-th place
    where it can be.

    A `Setup` saves building it again, where a run is resumed and another test shows that a new one
    is the same. Without `report`, no report.html is written: its plots can take longer than all
    else.
    """
    preemption.reset()
    if stop_at is not None:
        preemption.await_agreement()
        preemption.agree(lambda first: stop_at, "a test")
    setup = config if isinstance(config, Setup) else Setup(validate(config))
    with contextlib.ExitStack() as stack:
        if not report:
            stack.enter_context(mock.patch.object(loop, "write_report"))
        return train(setup, open_workdir(str(path)))


def final_state(path: Path) -> dict[str, np.ndarray]:
    """Every array of the newest checkpoint, by path."""
    checkpoints = Checkpoints(path / "checkpoints", lambda step: None, read_only=True)
    step, here = checkpoints.steps()[-1], SingleDeviceSharding(jax.devices()[0])
    wanted = {
        name: jax.ShapeDtypeStruct(spec.shape, spec.dtype, sharding=here)
        for name, spec in checkpoints.arrays(step).items()
    }
    arrays = checkpoints.restore_arrays(wanted, step)
    checkpoints.close()
    return {name: np.asarray(array) for name, array in arrays.items()}


def assert_same_run(one: Path, other: Path) -> None:
    """All arrays of the newest checkpoints, and metrics.jsonl, are the same to the bit."""
    expected, actual = final_state(one), final_state(other)
    assert expected.keys() == actual.keys()
    for path, values in expected.items():
        np.testing.assert_array_equal(actual[path], values, err_msg=path)
    assert (other / "metrics.jsonl").read_bytes() == (one / "metrics.jsonl").read_bytes()


def differences(one: Path, other: Path) -> dict[tuple[int, str], float]:
    """Of every metric at every step of two runs, by step and name, in parts of the largest value of
    that metric: what comes close to zero has no scale of its own.
    """
    expected, actual = (read_records(folder / "metrics.jsonl") for folder in (one, other))
    assert expected.keys() == actual.keys()
    largest: dict[str, float] = defaultdict(float)
    for step, metrics in expected.items():
        assert metrics.keys() == actual[step].keys(), step
        for name, value in metrics.items():
            largest[name] = max(largest[name], abs(value))
    return {
        (step, name): abs(actual[step][name] - value) / (largest[name] or 1.0)
        for step, metrics in expected.items()
        for name, value in metrics.items()
    }


def assert_same_curve(one: Path, other: Path, tolerance: float) -> None:
    """No metric differs at any step by more than the tolerance, as a part of its largest value."""
    for (step, name), difference in differences(one, other).items():
        assert difference <= tolerance, (step, name, difference)


def write_config(config: ConfigDict, path: Path) -> Path:
    """The config as a file that --config takes."""
    path.write_text(json.dumps(to_dict(config)))
    return path


def copy_without_checkpoint(folder: Path, copy: Path, step: int) -> None:
    """The folder of a run, as if it had been killed before it had saved its last step."""
    shutil.copytree(folder, copy)
    shutil.rmtree(copy / f"checkpoints/{step}")
    (copy / "result.json").unlink()


def start(config: Path, workdir: Path, *flags: str, devices: int = 1) -> subprocess.Popen:
    """`python -m dlresearch.train` in a process of its own."""
    files = f"--config={config}", f"--workdir={workdir}"
    return start_python("-m", "dlresearch.train", *files, *flags, devices=devices)


def start_processes(
    config: Path, workdir: Path, count: int, devices: int = 1, flags: tuple[str, ...] = ()
) -> list[subprocess.Popen]:
    """One run of so many processes on this machine."""
    together = f"--coordinator_address=localhost:{free_port()}", f"--num_processes={count}"
    return [
        start(config, workdir, *together, f"--process_id={number}", *flags, devices=devices)
        for number in range(count)
    ]
