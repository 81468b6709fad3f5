"""Penn Treebank, word by word: 10,000 words, 930,000 tokens (Mikolov's version).

    dlresearch train --config=experiments/rnn/ptb.py:small,path=DIR --workdir=runs/ptb

DIR holds `ptb.train.txt.gz`, `ptb.valid.txt.gz` and `ptb.test.txt.gz`, or, with `suffix=""`, the
same unpacked. The perplexity counts the end of each line as a word, as is the custom. Published
test perplexities: 115 for two LSTM layers of 200 without dropout, 82.7 for 650 with dropout
(Zaremba et al. 2014, arXiv:1409.2329), 57.3 for AWD-LSTM (Merity et al. 2017, arXiv:1708.02182).
What these variants reach here is in docs/results.md.

- small: two layers of 256, for a CPU: tied embeddings, locked dropout, Adam and an average of the
  weights.
- medium: two layers of 650 and the recipe of Zaremba et al., for a GPU.
- awd: three layers of 1150 with the regularisation of AWD-LSTM, for a GPU. All windows have 70
  tokens, where the paper draws their length, and the weights are averaged exponentially from the
  start, where it begins when the validation loss stalls.
"""

from dlresearch.config import Choice, arguments, component, default_config

BATCH = {"small": 32, "medium": 20, "awd": 80}


def get_config(arg=""):
    args = arguments(arg, variant=Choice(*BATCH), path=".", suffix=".gz", epochs=None, seed=0)
    config = default_config()
    config.seed = args.seed
    config.batch_size = BATCH[args.variant]
    config.task = component("language_model")
    config.data.placement = "resident"
    length = VARIANTS[args.variant](config)
    if args.epochs is not None:
        config.duration = f"{args.epochs} epochs"

    def text(split, streams):
        path = f"{args.path}/ptb.{split}.txt{args.suffix}"
        words = dict(unit="words", end_of_line=True)
        return component("text", path=path, length=length, streams=streams, **words)

    config.data.source = text("train", config.batch_size)
    for name, split in {"validation": "valid", "test": "test"}.items():
        config.evaluators[name] = dict(
            name="language_model", source=text(split, 10), every="1 epoch", batch_size=10
        )
    config.checkpoint.every = "1 epoch"
    config.log.every = "100 steps"
    return config


def small(config):
    config.duration = "16 epochs"
    config.model = component(
        "recurrent_language_model",
        width=256,
        layers=2,
        tied=True,
        input_dropout=0.3,
        dropout=0.3,
        output_dropout=0.3,
        locked=True,
        word_dropout=0.1,
    )
    config.optimizer.name = "adamw"
    config.optimizer.learning_rate = 3e-3
    config.optimizer.weight_decay = 1e-2
    config.optimizer.clip_norm = 0.5
    config.optimizer.schedule = component("cosine", warmup="5%")
    config.average.decay = 0.999
    return 35


def medium(config):
    config.duration = "39 epochs"
    config.model = component(
        "recurrent_language_model",
        width=650,
        layers=2,
        tied=False,
        input_dropout=0.5,
        dropout=0.5,
        output_dropout=0.5,
    )
    config.optimizer.name = "sgd"
    # A rate of 1 and a norm of 5 in the paper, whose loss is the sum over the 35 steps.
    config.optimizer.learning_rate = 35.0
    config.optimizer.clip_norm = 5 / 35
    config.optimizer.momentum = 0.0
    milestones = tuple(f"{epoch} epochs" for epoch in range(6, 39))
    config.optimizer.schedule = component("step", milestones=milestones, factor=1 / 1.2)
    return 35


def awd(config):
    config.duration = "500 epochs"
    config.model = component(
        "recurrent_language_model",
        width=1150,
        layers=3,
        embedding=400,
        tied=True,
        word_dropout=0.1,
        input_dropout=0.4,
        dropout=0.25,
        output_dropout=0.4,
        locked=True,
        weight_drop=0.5,
        activation_penalty=2.0,
        slowness_penalty=1.0,
    )
    config.optimizer.name = "sgd"
    config.optimizer.learning_rate = 30.0
    config.optimizer.momentum = 0.0
    config.optimizer.weight_decay = 1.2e-6
    config.optimizer.decay_patterns = (".*",)
    config.optimizer.clip_norm = 0.25
    config.average.decay = 0.9995
    return 70


VARIANTS = {"small": small, "medium": medium, "awd": awd}
