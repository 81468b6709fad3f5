"""Shakespeare, character by character: 1.1 million of them, of 65 kinds.

    dlresearch train --config=experiments/rnn/tiny_shakespeare.py:data_dir=DIR
    --workdir=runs/shakespeare
    dlresearch generate --workdir=runs/shakespeare --prompt="ROMEO:"

DIR is the folder of TFDS sets; without it, TFDS's own default. `lstm`, `gru` and `mingru` (Feng et
al. 2024, arXiv:2410.01201) differ in the cell alone; they are small and take minutes on a CPU.
`large` is an LSTM network with dropout that takes its time. The text is cut in streams, and what
the network carries goes on from window to window.

`validation` is the last tenth of the text, TFDS's validation and test splits together, as in
nanoGPT; its README has a loss of 1.88 after about 3 minutes on a CPU and, as the best of a run,
1.4697 after 3 minutes on an A100, both with a Transformer. What these reach at their final step is
in docs/results.md.
"""

from dlresearch.config import Choice, arguments, component, default_config

CELLS = {"lstm": "lstm", "gru": "gru", "mingru": "mingru", "large": "lstm"}


def get_config(arg=""):
    args = arguments(arg, variant=Choice(*CELLS), epochs=None, seed=0, data_dir=None)
    large = args.variant == "large"
    config = default_config()
    config.seed = args.seed
    config.duration = f"{args.epochs or (10 if large else 3)} epochs"
    config.batch_size = 32
    config.task = component("language_model")
    config.model = component(
        "recurrent_language_model",
        cell=CELLS[args.variant],
        width=384 if large else 256,
        layers=2,
        embedding=128 if large else 64,
        tied=False,
        dropout=0.3 if large else 0.0,
        output_dropout=0.3 if large else 0.0,
    )

    text = dict(dataset="tiny_shakespeare", data_dir=args.data_dir)
    config.data.source = component(
        "text", split="train", length=128 if large else 64, streams=config.batch_size, **text
    )
    config.data.placement = "resident"

    config.optimizer.name = "adamw"
    config.optimizer.learning_rate = 3e-3 if large else 5e-3
    config.optimizer.weight_decay = 1e-2
    config.optimizer.clip_norm = 1.0
    config.optimizer.schedule = component("cosine", warmup="5%")

    config.evaluators.validation = dict(
        name="language_model",
        source=component("text", split="validation+test", length=128, streams=16, **text),
        every="1 epoch",
        batch_size=16,
    )
    config.checkpoint.every = "1 epoch"
    config.log.every = "100 steps"
    return config
