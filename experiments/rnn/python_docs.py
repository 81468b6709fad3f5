"""The documentation that every Python carries, character by character: nothing to download.

    dlresearch train --config=experiments/rnn/python_docs.py --workdir=runs/docs
    dlresearch generate --workdir=runs/docs --prompt="The \\"yield\\" statement" --length=400

About half a million characters, which differ from one version of Python to the next, so losses
compare within one only. A tenth of the topics is held out. A minute or two on a CPU; with
`unit=words` or `unit=subwords` the same network reads those. `bits_per_character` can be compared
between units, `loss` and `perplexity` cannot. What it reaches is in docs/results.md.
"""

from dlresearch.config import Choice, arguments, component, default_config


def get_config(arg=""):
    args = arguments(
        arg,
        unit=Choice("characters", "bytes", "words", "subwords"),
        cell=Choice("lstm", "gru", "rnn", "mingru", "minlstm"),
        epochs=4,
        width=256,
        seed=0,
    )
    config = default_config()
    config.seed = args.seed
    config.duration = f"{args.epochs} epochs"
    config.batch_size = 32
    config.task = component("language_model")
    config.model = component(
        "recurrent_language_model", cell=args.cell, width=args.width, layers=2, dropout=0.1
    )

    text = dict(unit=args.unit, length=64)
    if args.unit in ("characters", "words"):
        text["min_count"] = 5  # some stand in held-out topics alone
    config.data.source = component("python_docs", split="train", streams=32, **text)
    config.data.placement = "resident"

    config.optimizer.name = "adamw"
    config.optimizer.learning_rate = 5e-3
    config.optimizer.weight_decay = 1e-2
    config.optimizer.clip_norm = 1.0
    config.optimizer.schedule = component("cosine", warmup="5%")

    config.evaluators.test = dict(
        name="language_model",
        source=component("python_docs", split="test", streams=8, **text),
        every="1 epoch",
        batch_size=8,
    )
    config.checkpoint.every = "1 epoch"
    config.log.every = "50 steps"
    return config
