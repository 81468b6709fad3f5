"""Dates as people write them into ISO 8601, character by character; needs no download.

    dlresearch train --config=experiments/rnn/dates.py --workdir=runs/dates
    echo "the 5th of May, 1987" | dlresearch generate --workdir=runs/dates --attention_maps

A translator of two minutes on two cores, to see attention at work. No date of the test set is in
the training set, in any notation; `test/exact` is the share of them that is right to the last
character.
"""

from dlresearch.config import Choice, arguments, component, default_config


def get_config(arg=""):
    args = arguments(
        arg, attention=Choice("additive", "multiplicative"), dates=60_000, epochs=4, seed=0
    )
    config = default_config()
    config.seed = args.seed
    config.duration = f"{args.epochs} epochs"
    config.batch_size = 128
    config.task = component("translation", beam=1, max_length=12)
    config.model = component(
        "attention_seq2seq", width=128, embedding=32, attention=args.attention, dropout=0.0
    )
    config.data.source = component("dates", split="train", count=args.dates)
    config.data.placement = "resident"
    config.data.buckets = (12, 20, 32)

    config.optimizer.name = "adam"
    config.optimizer.learning_rate = 3e-3
    config.optimizer.clip_norm = 1.0
    config.optimizer.schedule = component("one_cycle")

    config.evaluators.test = dict(
        name="translation",
        source=component("dates", split="test", count=2000),
        every="50%",
        batch_size=500,
    )
    config.log.every = "50 steps"
    return config
