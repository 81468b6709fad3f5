"""CIFAR-10, from a plain convolutional network to the speed runs.

    dlresearch train --config=experiments/cnn/cifar10.py:speedrun94,data_dir=DIR --workdir=runs/94

DIR is the folder of TFDS sets; without it, TFDS's own default. What each variant has reached here,
in how many epochs and how long, is in docs/results.md.

- plain: no residuals, no tricks, AdamW; 10 epochs.
- resnet18: He et al. 2016 with the stem for small images, SGD, cosine; 200 epochs. The README of
  kuangliu/pytorch-cifar has 95.11 % for its pre-activation twin.
- wrn28_10: Wide ResNet 28-10 with dropout, 200 epochs (Zagoruyko and Komodakis 2016,
  arXiv:1605.07146: 96.11 %).
- speedrun94: 94 % in 8 epochs, the airbench recipe with Muon (Jordan 2024, arXiv:2404.00498, and
  its repository: 94.01 % in 2.59 s on an A100, in PyTorch).
- speedrun96: 31 epochs, the recipe of airbench96 (the same: 96.01 %, mean of 400 runs).
  Ours leaves batch statistics out of Lookahead, and its cutout may reach over the border.

On accelerators add `--config.precision=bfloat16`.
"""

from dlresearch.config import Choice, arguments, component, default_config

EPOCHS = {"plain": 10, "resnet18": 200, "wrn28_10": 200, "speedrun94": 8, "speedrun96": 31}


def get_config(arg=""):
    args = arguments(arg, variant=Choice(*EPOCHS), epochs=None, seed=0, data_dir=None)
    config = default_config()
    config.seed = args.seed
    config.duration = f"{args.epochs or EPOCHS[args.variant]} epochs"
    config.batch_size = 128

    config.data.source = component("tfds", dataset="cifar10", split="train", data_dir=args.data_dir)
    config.data.placement = "resident"
    config.data.preprocess = (
        # Means and standard deviations of the training pixels, by channel.
        component("normalise", mean=(0.4914, 0.4822, 0.4465), std=(0.2470, 0.2435, 0.2616)),
    )
    config.data.augmentations = (component("flip"), component("shifted_crop", padding=4))

    config.evaluators.test = dict(
        name="classification",
        source=component("tfds", dataset="cifar10", split="test", data_dir=args.data_dir),
        every="1 epoch",
        at_start=True,
        batch_size=500,
    )
    config.checkpoint.every = "1 epoch"
    config.log.every = "100 steps"
    VARIANTS[args.variant](config)
    return config


def plain(config):
    config.model = component("convnet", widths=(32, 64, 128), convs_per_stage=1)
    config.optimizer.name = "adamw"
    config.optimizer.learning_rate = 5e-3
    config.optimizer.weight_decay = 1e-2
    config.optimizer.schedule = component("one_cycle")


def resnet18(config):
    config.model = component("resnet", depth=18, stem="cifar")
    thorough(config, component("cosine"))


def wrn28_10(config):
    config.model = component("wide_resnet", depth=28, widen=10, dropout=0.3)
    thorough(config, component("step", milestones=("30%", "60%", "80%"), factor=0.2))


def thorough(config, schedule):
    config.optimizer = component(
        "sgd",
        nesterov=True,
        learning_rate=0.1,
        weight_decay=5e-4,
        decay_patterns=(".*",),
        schedule=schedule,
    )


def speedrun94(config):
    """Rates are those of the recipe, whose loss is a sum over the batch; ours is the mean."""
    config.batch_size = batch_size = 2000
    config.task.label_smoothing = 0.2
    # A last layer that starts with a standard deviation of 1, divided by its 256 inputs, is one
    # that starts as usual, 16 * sqrt(3) times smaller, with this factor and a 768th of the rate.
    config.model = component("airbench", output_scale=16 * 3**0.5 / 256)
    config.data.augmentations = (
        component("alternating_flip"),
        component("shifted_crop", padding=2),
    )
    config.optimizer.groups = {
        "whitening": sgd(0.053 * batch_size, until="3 epochs", parameters=("whiten/bias",)),
        "biases": sgd(0.053 * batch_size, parameters=("groups_.*/bias",)),
        "head": sgd(0.67 * batch_size / 768, parameters=("head/.*",)),
    }
    config.optimizer.name = "muon"
    config.optimizer.learning_rate = 0.24
    config.optimizer.schedule = component("linear")
    config.optimizer.beta = 0.6
    config.optimizer.ns_steps = 3
    config.optimizer.rms = None
    config.optimizer.fixed_norm = True
    config.log.every = "5 steps"
    views_at_the_end(config)


def sgd(learning_rate, parameters, until="100%"):
    """Nesterov's, with a decay of 0.004 a step at the peak rate."""
    return component(
        "sgd",
        parameters=parameters,
        learning_rate=learning_rate,
        schedule=component("linear", until=until),
        momentum=0.85,
        nesterov=True,
        weight_decay=0.004 / learning_rate,
        decay_patterns=(".*",),
    )


def speedrun96(config):
    """The recipe gives rates and decay for 1,024 examples at the length of steps with momentum."""
    config.batch_size = 1024
    config.task.label_smoothing = 0.2
    config.model = component(
        "airbench", widths=(128, 512, 512), convs_per_group=3, residual=True, momentum=0.9
    )
    config.data.augmentations = (
        component("alternating_flip"),
        component("shifted_crop", padding=4),
        component("cutout", size=12, fill=121),  # the mean level
    )
    momentum = 0.85
    steps = 1 + 1 / (1 - momentum)
    rate, decay = 9.0 / steps, 0.012 / steps
    shared = dict(momentum=momentum, nesterov=True, decay_patterns=(".*",))
    config.optimizer = component(
        "sgd",
        learning_rate=rate,
        weight_decay=decay / rate,
        schedule=component("one_cycle", peak="10%", start=0.2, final=0.0, anneal="linear"),
        **shared,
    )
    config.optimizer.groups = {
        "biases": component(
            "sgd",
            parameters=("groups_.*/bias",),
            learning_rate=64 * rate,
            weight_decay=decay / (64 * rate),
            schedule=config.optimizer.schedule,
            **shared,
        )
    }
    config.optimizer.lookahead = dict(every=5, decay=0.95**5, power=3.0)
    views_at_the_end(config)


def views_at_the_end(config):
    """The mean over flips and shifts by a pixel costs six times as much, so only for the last."""
    config.evaluators.one_view = config.evaluators.test.copy_and_resolve_references()
    config.evaluators.test.views = component("flip_and_shift")
    config.evaluators.test.every = "100%"
    config.evaluators.test.at_start = False


VARIANTS = {
    "plain": plain,
    "resnet18": resnet18,
    "wrn28_10": wrn28_10,
    "speedrun94": speedrun94,
    "speedrun96": speedrun96,
}
