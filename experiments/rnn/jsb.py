"""Bach's chorales in quarter notes: an LSTM that predicts which of 88 notes sound next.

    dlresearch train
    --config=experiments/rnn/jsb.py:path=jsb-chorales-quarter.json.gz --workdir=runs/jsb
    dlresearch generate --workdir=runs/jsb --length=64 --count=4

`jsb-chorales-quarter.json` (from github.com/czhuang/JSB-Chorales-dataset; split of
Boulanger-Lewandowski et al. 2012, arXiv:1206.6392): 229 pieces to train on, 76 to validate, 77 to
test. All of them stand in C major or C minor already, so that the augmentation `transpose` would
only ask for keys that the test does not have.

Reference: 8.45 nats a frame for an LSTM and 8.10 for a temporal convolutional network, of about
300,000 parameters each (Bai et al. 2018, arXiv:1803.01271, table 1). `test/nll_frame` is counted as
theirs: the sum over notes, the mean over all frames of all pieces but the first of each.
What this reaches is in docs/results.md.
"""

from dlresearch.config import arguments, component, default_config


def get_config(arg=""):
    args = arguments(arg, path="jsb-chorales-quarter.json.gz", epochs=150, seed=0)
    config = default_config()
    config.seed = args.seed
    config.duration = f"{args.epochs} epochs"
    config.batch_size = 16
    config.task = component("polyphonic_music")
    config.model = component("recurrent_frames", width=200, dropout=0.35)

    config.data.source = component("chorales", path=args.path, split="train")
    config.data.placement = "resident"
    config.data.buckets = (64, 160)

    config.optimizer.name = "adamw"
    config.optimizer.learning_rate = 3e-3
    config.optimizer.weight_decay = 1e-2
    config.optimizer.clip_norm = 1.0
    config.optimizer.schedule = component("cosine", warmup="5%")
    config.average.decay = 0.99

    for name, split in {"validation": "valid", "test": "test"}.items():
        config.evaluators[name] = dict(
            name="polyphonic_music",
            source=component("chorales", path=args.path, split=split),
            every="20%" if name == "validation" else "100%",
            batch_size=16,
        )
    config.log.every = "5%"
    return config
