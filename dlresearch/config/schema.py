"""Every field an experiment can set: its type, its default and what it means.

`default_config()` turns this into the `ConfigDict` that experiment files fill in; `validate()`
turns a filled-in one into a frozen `Experiment`, which is all the rest of the code ever reads.
There is no default anywhere else.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from dlresearch.config.durations import Duration
from dlresearch.config.fields import Component, Section, option


@dataclass(frozen=True)
class Views(Section):
    first: tuple[Component, ...] = option(
        (), "Augmentations that make the first view of an image.", kind="augmentation"
    )
    second: tuple[Component, ...] | None = option(
        None,
        "Those of the second view; None makes it as the first, with draws of its own.",
        kind="augmentation",
    )
    local: tuple[Component, ...] = option(
        (), "Those of further views, usually of small parts: multi-crop.", kind="augmentation"
    )
    local_count: int = option(0, "How many views `local` makes of each image.", at_least=0)


@dataclass(frozen=True)
class Data(Section):
    source: Component = option(
        Component("digits", split="train"), "Where training examples come from.", kind="source"
    )
    transforms: tuple[Component, ...] = option(
        (), "Applied on the host, one example at a time, in this order.", kind="transform"
    )
    preprocess: tuple[Component, ...] = option(
        (),
        "Applied on the device to every batch, in training and evaluation, after `augmentations`.",
        kind="augmentation",
    )
    augmentations: tuple[Component, ...] = option(
        (),
        "Applied on the device to training batches, as the source gives them.",
        kind="augmentation",
    )
    views: Views = option(
        Views,
        "Views of the images of training batches, for self-supervised learning; made on the device"
        " after `augmentations`, and preprocessed.",
    )
    resolution: tuple[tuple[Duration, int], ...] = option(
        (),
        "Pairs (from when, pixels): training images are resized to this height and width on the"
        " device, after `augmentations`: `(('0%', 128), ('40%', 160), ('80%', 192))`.",
    )
    placement: str = option(
        "streamed",
        "`resident` holds the whole set on the device, `streamed` reads it as it goes.",
        choices=("resident", "streamed"),
    )
    workers: int = option(
        0, "Processes that read and transform examples; 0 uses threads.", at_least=0
    )
    oversample: float = option(
        0.0,
        "Repeat examples of rare classes: n of a class become n * (N / n)^oversample an epoch, with"
        " N those of the largest class. 0 is off, 1 makes classes equal, and an epoch longer.",
        at_least=0,
    )
    buckets: tuple[int, ...] = option(
        (),
        "Widths, in tokens, of batches of sequences: a batch has examples of about one length, and"
        " is cut to the first of these that holds them. Empty leaves all as wide as the source.",
    )
    prefetch: int = option(2, "Batches prepared ahead of the step that needs them.", at_least=0)


@dataclass(frozen=True)
class Update(Section):
    """A component with shared fields: keys not listed here are arguments of the named optimizer."""

    component_kind = "optimizer"

    name: str = option("adam", "Which optimizer.")
    learning_rate: float = option(1e-3, "Peak learning rate.", at_least=0)
    schedule: Component = option(
        Component("constant"), "How the learning rate changes over the run.", kind="schedule"
    )
    weight_decay: float = option(
        0.0,
        "Weight decay: decoupled where the optimizer defines it so, else an L2 gradient.",
        at_least=0,
    )
    decay_patterns: tuple[str, ...] = option(
        (r".*(kernel|embedding)",), "Parameter paths (regular expressions) that decay."
    )
    arguments: Mapping[str, object] = option({}, "Arguments of the named optimizer.")


@dataclass(frozen=True)
class ParameterGroup(Update):
    parameters: tuple[str, ...] = option(
        (), "Parameter path patterns of the group; no parameter may be in two."
    )


@dataclass(frozen=True)
class LookaheadOptions(Section):
    every: int = option(
        0, "Steps between two moves of the slow parameters to the fast ones; 0 is off.", at_least=0
    )
    decay: float = option(
        0.5, "How much of the slow parameters stays; the fast ones go on from them.", at_least=0
    )
    power: float = option(
        0.0, "The decay grows with (step / all steps) to this power; 0 is constant.", at_least=0
    )


@dataclass(frozen=True)
class Optimizer(Update):
    groups: Mapping[str, ParameterGroup] = option(
        {}, "Parameters with an optimizer, learning rate or schedule of their own, by name."
    )
    learning_rate_factors: tuple[tuple[str, float], ...] = option(
        (), "Pairs (parameter path pattern, factor on the learning rate); the first match counts."
    )
    layer_decay: float = option(
        1.0,
        "For fine-tuning: multiply the learning rate by this for each layer below the last; 1 is"
        " off, 0.65 to 0.75 is usual for a vision transformer (Bao et al. 2021).",
        at_least=0,
    )
    freeze: tuple[str, ...] = option((), "Parameter path patterns that are not trained.")
    clip_norm: float | None = option(
        None, "Scale gradients down to this global norm where they exceed it.", at_least=0
    )
    lookahead: LookaheadOptions = option(
        LookaheadOptions, "Slow parameters that follow the fast ones (Zhang et al. 2019)."
    )


@dataclass(frozen=True)
class Evaluator(Section):
    """A component with shared fields: keys not listed here are arguments of the named evaluator."""

    component_kind = "evaluator"

    name: str = option("classification", "Which evaluator.")
    source: Component = option(
        Component("digits", split="test"), "The examples to evaluate on.", kind="source"
    )
    transforms: tuple[Component, ...] | None = option(
        None, "Host transforms; None takes those of the training data.", kind="transform"
    )
    views: Component | None = option(
        None,
        "Test-time augmentation: predictions are means over such views of each image.",
        kind="view",
    )
    at_start: bool = option(False, "Evaluate before the first step, too.")
    every: Duration = option(
        Duration.parse("1 epoch"), "How often to evaluate; always also at the end."
    )
    batch_size: int | None = option(
        None,
        "Examples at a time, rounded up to a multiple of the devices that share a batch; None takes"
        " the training batch.",
        at_least=1,
    )
    arguments: Mapping[str, object] = option({}, "Arguments of the named evaluator.")


@dataclass(frozen=True)
class Average(Section):
    decay: float = option(
        0.0, "Decay of the parameter average used in evaluation; 0 is off.", at_least=0
    )
    warmup: bool = option(
        True, "Use min(decay, (1 + step) / (10 + step)), so that the first steps do not linger."
    )


@dataclass(frozen=True)
class StartFrom(Section):
    path: str | None = option(
        None,
        "What the network begins with: a run folder, or one of its checkpoints; or a file `.npz` or"
        " `.safetensors`. Of a self-supervised run it is the backbone, and a head begins at random."
        " None draws all at random. Read when a run starts, never when it resumes.",
    )
    checkpoint: str = option(
        "newest", "Of a run folder: `newest`, `best` as its config says, or the number of a step."
    )
    average: bool = option(
        True, "Take the average that evaluation used, where the checkpoint has one."
    )
    format: str = option(
        "auto",
        "Names in a file: `own` are parameter paths, `torchvision` are those of PyTorch's ResNet,"
        " which timm has too; `auto` looks at them.",
        choices=("auto", "own", "torchvision"),
    )
    rules: tuple[tuple[str, str], ...] = option(
        (),
        "Pairs (pattern, replacement) that turn paths there into paths here, which begin with the"
        " player: `('model/(.*)', r'online/encoder/\\1')`. The first whose pattern matches the"
        " whole path counts; without a match a path stays as it is.",
    )
    skip: tuple[str, ...] = option(
        (), "Path patterns of what is here and begins at random all the same, such as a new head."
    )
    missing: str = option(
        "error",
        "What is here, and neither there nor skipped: an `error`, or `allow` it to begin at"
        " random.",
        choices=("error", "allow"),
    )


@dataclass(frozen=True)
class Mesh(Section):
    data: int = option(
        -1,
        "Devices over which the batch is split and each of which has all parameters; -1, in one of"
        " `data`, `fsdp` and `tensor`, takes all that are left.",
        at_least=-1,
    )
    fsdp: int = option(
        1,
        "Devices over which the batch is split, and parameters, optimizer state and averages, too.",
        at_least=-1,
    )
    tensor: int = option(
        1,
        "Devices over which single layers are split; they share the examples.",
        at_least=-1,
    )
    rules: tuple[tuple[str, str], ...] = option(
        (),
        "Pairs (parameter path pattern, how it is split); the first match counts, before the"
        " built-in rules. Paths begin with the player: `model/Dense_0/kernel`. How: a word for each"
        " axis, `-`, `fsdp`, `tensor` or `fsdp+tensor`, such as `- tensor`; or the single word"
        " `fsdp`, the largest axis that divides, or `replicated`.",
    )
    fsdp_min_size: int = option(
        16384,
        "Arrays with fewer elements are whole on every device: splitting them costs more messages"
        " than it saves memory.",
        at_least=0,
    )


@dataclass(frozen=True)
class Checkpoint(Section):
    every: Duration = option(Duration.parse("10%"), "How often to save; always also at the end.")
    best: str | None = option(
        None, "Metric, such as `test/accuracy`, whose best checkpoint is kept beside the newest."
    )
    best_is: str = option(
        "highest", "Which value of `best` is best.", choices=("highest", "lowest")
    )


@dataclass(frozen=True)
class Log(Section):
    every: Duration = option(
        Duration.parse("50 steps"), "How often training metrics are recorded, as means."
    )
    tensorboard: bool = option(True, "Write TensorBoard event files.")


@dataclass(frozen=True)
class Experiment(Section):
    seed: int = option(0, "Every random number of the run follows from it.", at_least=0)
    duration: Duration = option(Duration.parse("10 epochs"), "How long to train.")
    batch_size: int = option(128, "Examples of one step, over all devices.", at_least=1)
    task: Component = option(Component("classification"), "What is learned.", kind="task")
    model: Component = option(Component("mlp"), "The network.", kind="model")
    data: Data = option(Data, "Examples and what is done to them.")
    optimizer: Optimizer = option(Optimizer, "How parameters are updated.")
    optimizers: Mapping[str, Optimizer] = option(
        {}, "Optimizers by player, for tasks with several; a player not listed uses `optimizer`."
    )
    evaluators: Mapping[str, Evaluator] = option({}, "Evaluators by name, the prefix of metrics.")
    start_from: StartFrom = option(StartFrom, "Weights to begin with, for fine-tuning.")
    average: Average = option(Average, "Moving average of the parameters for evaluation.")
    accumulate: int = option(1, "Parts into which a batch is split to save memory.", at_least=1)
    remat: str = option(
        "none",
        "What is computed again for the gradient, not kept: `none`; `dots`, all but matrix products"
        " and convolutions; `blocks`, all but the inputs of a network's blocks.",
        choices=("none", "dots", "blocks"),
    )
    precision: str = option(
        "float32",
        "Type of activations; parameters, normalisation statistics and losses stay float32.",
        choices=("float32", "bfloat16", "float16"),
    )
    nonfinite: str = option(
        "stop",
        "A step whose loss or gradient is not finite is never applied; then `stop` or `skip` it.",
        choices=("stop", "skip"),
    )
    steps_per_call: int | None = option(
        None,
        "Steps in one dispatch; None: 1 on CPU, 10 on accelerators with resident data.",
        at_least=1,
    )
    deterministic: bool = option(
        False, "On GPUs use only deterministic operations, for bit-exact resume; slower."
    )
    mesh: Mesh = option(Mesh, "How devices are arranged.")
    checkpoint: Checkpoint = option(Checkpoint, "When to save, and what to keep.")
    log: Log = option(Log, "When to record training metrics.")
