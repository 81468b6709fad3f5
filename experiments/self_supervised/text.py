"""Fill in the holes of a text, without labels (BERT, Devlin et al. 2019, arXiv:1810.04805); then
tell the sentiment of film reviews with what was learned.

    dlresearch train --config=experiments/self_supervised/text.py:path=sst --workdir=runs/mlm
    dlresearch train --config=experiments/self_supervised/text.py:finetune,path=sst,start=runs/mlm \
        --workdir=runs/finetuned
    dlresearch train --config=experiments/self_supervised/text.py:scratch,path=sst \
        --workdir=runs/scratch

`path` is a folder with `stsa.binary.{train,dev,test}.gz`, see experiments/rnn/sst.py; the first
command reads the training sentences without their classes. It can also be a text file, of which
the last twentieth is held out, and without it the text is the documentation that every Python
carries: nothing to download. A classifier has the vocabulary of the run it starts from, so other
texts help as far as they have the words of film reviews.

`finetune` and `scratch` differ in how the network begins, and in nothing else where both have read
the same sentences. The test sentences are evaluated once, at the end.
"""

from pathlib import Path

from dlresearch.config import Choice, arguments, component, default_config


def get_config(arg=""):
    args = arguments(
        arg,
        variant=Choice("pretrain", "finetune", "scratch"),
        path=None,
        start="runs/mlm",
        epochs=None,
        seed=0,
    )
    config = default_config()
    config.seed = args.seed
    config.batch_size = 64
    config.model = component("transformer_encoder", width=128, layers=2, heads=4, hidden=512)
    config.data.placement = "resident"
    config.optimizer.name = "adamw"
    config.optimizer.weight_decay = 0.01
    config.optimizer.clip_norm = 1.0
    config.optimizer.schedule = component("cosine", warmup="10%")
    config.log.every = "1 epoch"
    if args.variant == "pretrain":
        pretrain(config, args)
    else:
        classify(config, args)
    return config


def pretrain(config, args):
    config.task = component("masked_language_model")
    config.duration = f"{args.epochs or 20} epochs"
    config.optimizer.learning_rate = 2e-3
    words = dict(unit="words", min_count=2, length=63)
    if args.path is None:
        config.data.source = component("python_docs", split="train", **words)
        held_out = component("python_docs", split="test", **words)
    elif Path(args.path).is_dir():
        config.data.source, held_out = sentences(args, "train", min_count=2), sentences(args, "dev")
        config.data.buckets = (24, 56)
    else:
        words.update(path=args.path, held_out=0.05, lowercase=True)
        config.data.source = component("text", split="train", **words)
        held_out = component("text", split="test", **words)
    config.evaluators.held_out = dict(
        name="masked_language_model", source=held_out, every="25%", batch_size=64
    )


def classify(config, args):
    config.task = component("sequence_classification")
    config.model.update(dropout=0.3, word_dropout=0.3)
    config.duration = f"{args.epochs or 6} epochs"
    config.optimizer.learning_rate = 5e-4
    config.average.decay = 0.99
    config.data.source = sentences(args, "train", min_count=2)
    config.data.buckets = (24, 56)
    if args.variant == "finetune":
        config.data.source = sentences(args, "train", vocabulary=args.start)
        config.start_from.path = args.start
    for name, split in {"validation": "dev", "test": "test"}.items():
        config.evaluators[name] = dict(
            name="classification",
            source=sentences(args, split),
            every="1 epoch" if name == "validation" else "100%",
            batch_size=256,
        )


def sentences(args, split, **vocabulary):
    path = f"{args.path or 'sst'}/stsa.binary.{split}.gz"
    return component("labelled_text", path=path, max_length=56, **vocabulary)
