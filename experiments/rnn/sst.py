"""Sentiment of film reviews: a recurrent network on sentences alone, without pretrained vectors.

    dlresearch train --config=experiments/rnn/sst.py:path=sst --workdir=runs/sst

A folder with `stsa.binary.{train,dev,test}.gz`, a line a sentence: 0 or 1, a space, words (the
Stanford Sentiment Treebank, Socher et al. 2013; from
github.com/AcademiaSinicaNLPLab/sentiment_dataset): 6,920 sentences to train on, 872 to validate,
1,821 to test. The classes of phrases, which the treebank also has, are not used. Published figures
are mostly with them or with pretrained vectors, such as 84.9 % for an LSTM and 87.5 % in both
directions (Tai et al. 2015, arXiv:1503.00075), and do not compare.

Dropout, weight decay, pooling and the moving average were chosen on the validation sentences, and
the test sentences are evaluated once, at the end. What this reaches is in docs/results.md.
"""

from dlresearch.config import arguments, component, default_config


def get_config(arg=""):
    args = arguments(arg, path="sst", epochs=8, seed=0)
    config = default_config()
    config.seed = args.seed
    config.duration = f"{args.epochs} epochs"
    config.batch_size = 64
    config.task = component("sequence_classification")
    config.model = component(
        "recurrent_classifier",
        embedding=128,
        width=64,
        pooling="mean",
        word_dropout=0.4,
        embedding_dropout=0.5,
        dropout=0.5,
    )

    sentences = dict(min_count=2, max_length=56)
    config.data.source = component(
        "labelled_text", path=f"{args.path}/stsa.binary.train.gz", **sentences
    )
    config.data.placement = "resident"
    config.data.buckets = (24, 56)

    config.optimizer.name = "adamw"
    config.optimizer.learning_rate = 2e-3
    config.optimizer.weight_decay = 0.1
    config.optimizer.clip_norm = 1.0
    config.optimizer.schedule = component("cosine", warmup="5%")
    config.average.decay = 0.995

    for name, split in {"validation": "dev", "test": "test"}.items():
        config.evaluators[name] = dict(
            name="classification",
            source=component(
                "labelled_text", path=f"{args.path}/stsa.binary.{split}.gz", **sentences
            ),
            every="2 epochs" if name == "validation" else "100%",
            batch_size=256,
        )
    config.log.every = "1 epoch"
    return config
