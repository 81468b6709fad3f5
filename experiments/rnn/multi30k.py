"""Multi30k: captions of photographs from German into English, or the other way round.

    dlresearch train --config=experiments/rnn/multi30k.py:gru,path=DIR --workdir=runs/multi30k
    dlresearch generate --workdir=runs/multi30k --input=sentences.de --output=sentences.en

DIR holds `train`, `val` and `test_2016_flickr`, each as `.de.gz` and `.en.gz` (data/task1/raw of
github.com/multi30k/dataset). With `data_dir=DIR` instead it is the folder of TFDS sets; see
docs/data.md for how to prepare this one.

29,000 training sentences, lower-cased, in 5,000 subwords a language. The scores are sacrebleu's:
`bleu_lowercase` compares without case, and is the one that published figures are nearest to; `bleu`
of the text as it is loses all capitals; train with `lowercase=False` where that matters.

- gru, lstm: a bidirectional encoder, additive attention with input feeding.
- transformer: three layers of 256, to compare with.

Published for German to English on the test set of 2016, all lower-cased but with tokenisers and
searches of their own: 28.3 for a GRU with attention over words and 36.5 for a Transformer
(github.com/bentrevett/pytorch-seq2seq), 33.5 for an LSTM with attention over subwords
(huggingface.co/msarmi9/multi30k). What these variants reach here is in docs/results.md.
"""

from dlresearch.config import Choice, arguments, component, default_config

FILES = {"train": "train", "validation": "val", "test": "test_2016_flickr"}


def get_config(arg=""):
    args = arguments(
        arg,
        variant=Choice("gru", "lstm", "transformer"),
        direction=Choice("de-en", "en-de"),
        path="multi30k",
        data_dir=None,
        lowercase=True,
        epochs=20,
        seed=0,
    )
    config = default_config()
    config.seed = args.seed
    config.duration = f"{args.epochs} epochs"
    config.batch_size = 128
    config.task = component("translation", label_smoothing=0.1)
    source, target = args.direction.split("-")

    def pairs(split):
        if args.data_dir is not None:
            place = dict(dataset="multi30k", split=split, data_dir=args.data_dir)
            place |= dict(source=source, target=target)
        else:
            place = {
                f"{side}_path": f"{args.path}/{FILES[split]}.{language}.gz"
                for side, language in (("source", source), ("target", target))
            }
        return component(
            "parallel_text",
            **place,
            vocabulary_size=5000,
            lowercase=args.lowercase,
            max_length=64,
        )

    config.data.source = pairs("train")
    config.data.placement = "resident"
    config.data.buckets = (10, 12, 14, 16, 18, 20, 24, 28, 36, 48)

    config.optimizer.name = "adam"
    config.optimizer.learning_rate = 1e-3
    config.optimizer.clip_norm = 1.0
    if args.variant == "transformer":
        config.model = component("transformer", dropout=0.3)
        config.optimizer.b2 = 0.98
        config.optimizer.schedule = component("cosine", warmup="10%")
    else:
        config.model = component(
            "attention_seq2seq", cell=args.variant, width=384, embedding=256, dropout=0.4
        )
        config.optimizer.schedule = component("cosine", warmup="2%")
    config.average.decay = 0.999

    # Nothing is chosen on the test set: it is translated once, at the end.
    for split, every in {"validation": "20%", "test": "100%"}.items():
        config.evaluators[split] = dict(
            name="translation",
            source=pairs(split),
            every=every,
            batch_size=100,
            lowercase=args.lowercase,
        )
    config.checkpoint.every = "10%"
    config.log.every = "50 steps"
    return config
