"""Which network reads the digits of experiments/cnn/digits.py best with no more parameters?

    python -m launch sweep --config=experiments/search/digits.py --workdir=runs/networks
    --search=bayesian --trials=30 --objective=validation/loss --direction=minimize
    --sweep=':width=logint(8,64); :growth=choice(1,1.5,2); :stages=int(1,3); :convs=int(1,4);
    :kernel=choice(3,5); :activation=choice(relu,elu,gelu,silu); :head=choice(mean,flatten)'

A search must not see the test set, so it learns from three quarters of the training images and
is judged by the others; `fold` says which. A network over the budget is refused before it costs
anything. `test` is for what was found: all training images, judged by the test set. What was found,
and why one fold is not enough, is in docs/launch/sweeps.md.
"""

from dlresearch.config import Choice, arguments, component, default_config
from dlresearch.errors import Refused

IMAGE_SIZE, CLASSES = 8, 10


def get_config(arg=""):
    args = arguments(
        arg,
        judged_by=Choice("validation", "test"),
        width=32,
        growth=2.0,
        stages=2,
        convs=2,
        kernel=3,
        activation=Choice("relu", "elu", "gelu", "silu"),
        head=Choice("mean", "flatten"),
        budget=65_834,
        fold=0,
        epochs=30,
        seed=0,
    )
    widths = tuple(round(args.width * args.growth**stage) for stage in range(args.stages))
    count = parameters(widths, args.convs, args.kernel, args.head)
    if count > args.budget:
        raise Refused(f"{count:,} parameters, over the budget of {args.budget:,}")

    config = default_config()
    config.seed = args.seed
    config.duration = f"{args.epochs} epochs"
    config.batch_size = 64
    config.model = component(
        "convnet",
        widths=widths,
        convs_per_stage=args.convs,
        kernel_size=args.kernel,
        activation=args.activation,
        head=args.head,
    )

    images = component("digits", split="train")
    if args.judged_by == "test":
        learned, judged = images, component("digits", split="test")
    else:
        learned = component("subset", of=images, share=0.75, seed=args.fold)
        judged = component("subset", of=images, share=0.75, seed=args.fold, rest=True)
    config.data.source = learned
    config.data.placement = "resident"
    config.data.preprocess = (component("normalise", mean=(0.3,), std=(0.37,)),)
    config.data.augmentations = (component("shifted_crop", padding=1, mode="zeros"),)

    config.optimizer.name = "adamw"
    config.optimizer.learning_rate = 3e-3
    config.optimizer.weight_decay = 1e-2
    config.optimizer.schedule = component("cosine", warmup="5%")

    config.evaluators[args.judged_by] = dict(
        name="classification", source=judged, every="5 epochs", batch_size=360
    )
    config.checkpoint.every = "100%"
    config.log.every = "2 epochs"
    config.log.tensorboard = False
    return config


def parameters(widths, convs, kernel, head):
    """How many numbers the network learns: what a formula knows need not be built to be known."""
    count, inputs, size = 0, 1, IMAGE_SIZE
    for width in widths:
        for _ in range(convs):
            count += kernel**2 * inputs * width + 2 * width  # and a normalisation's scale and bias
            inputs = width
        size //= 2
    features = inputs * (size**2 if head == "flatten" else 1)
    return count + (features + 1) * CLASSES
