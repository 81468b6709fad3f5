"""Compiles every experiment for accelerators that are not here, and makes docs/hardware.md.

    python benchmarks/compiled.py --targets=h100,h100:8,v5e:2x4 --files=DIR
    python benchmarks/compiled.py --page      the page alone, from docs/results/compiled.json

Needs the extras `compile-gpu` and `compile-tpu`. Data sets of TFDS are looked for in
$TFDS_DATA_DIR, others in DIR, which has the folders that experiments name. Takes half a minute to
some minutes a case on two cores; cases that are in the file already are left as they are, unless
`--again` is given. `--only=TEXT` takes those whose name has the text.
"""

import json
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from absl import app, flags

from dlresearch.errors import Failure, UserError
from dlresearch.hardware import target as parse_target
from dlresearch.training.aot.process import compile_for
from dlresearch.training.aot.program import Program, roofline

TARGETS = flags.DEFINE_list("targets", ["h100", "h100:8", "v5e:2x4"], "What to compile for.")
FILES = flags.DEFINE_string("files", ".", "Folder of data that is not of TFDS.")
ONLY = flags.DEFINE_string("only", "", "Cases whose name holds this text.")
AGAIN = flags.DEFINE_bool("again", False, "Also cases that are in the file.")
PAGE = flags.DEFINE_bool("page", False, "Make the page only.")

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "docs/results/compiled.json"
_CIFAR = {"data.source": "synthetic(image=(32,32,3), length=50000)", "evaluators": "{}"}
_GRAY = {"data.source": "synthetic(image=(28,28,1), length=60000)", "evaluators": "{}"}

# An experiment with its arguments, and settings where data is not at hand: shapes are what counts.
CASES: Mapping[str, Mapping[str, str]] = {
    "cnn/imagenet.py:synthetic,batch_size=256": {},
    "cnn/imagenet.py:vit_s16,synthetic": {},
    "cnn/cifar10.py": {},
    "cnn/cifar10.py:resnet18": {},
    "cnn/cifar10.py:wrn28_10": {},
    "cnn/cifar10.py:speedrun94": {},
    "cnn/cifar10.py:speedrun96": {},
    "cnn/digits.py": {},
    "cnn/mnist.py": {},
    "cnn/fashion_mnist.py": _GRAY,
    "cnn/image_folder.py:path={files}/folders/brain_mri": {},
    "cnn/tumour.py:path={files}/folders/brain_mri": {},
    "self_supervised/cifar10.py:simclr": {},
    "self_supervised/cifar10.py:byol": {},
    "self_supervised/cifar10.py:dino": {},
    "self_supervised/cifar10.py:swav": {},
    "self_supervised/cifar10.py:moco_v2": {},
    "self_supervised/mnist.py:mae": {},
    "self_supervised/digits.py": {},
    "self_supervised/imagenet.py:byol,synthetic": {},
    "self_supervised/imagenet.py:dino,synthetic": {},
    "self_supervised/text.py:path={files}/raw/sst": {},
    "gan/cifar10.py": {"evaluators": "{}"},
    "gan/cifar10.py:dcgan": {"evaluators": "{}"},
    "gan/cifar10.py:sngan": {"evaluators": "{}"},
    "gan/cifar10.py:biggan": {"evaluators": "{}"},
    "gan/cifar10.py:stylegan2_ada": {"evaluators": "{}"},
    "gan/digits.py": {"evaluators": "{}"},
    "gan/fashion_mnist.py": _GRAY,
    "gan/gaussians.py": {"evaluators": "{}"},
    "gan/mnist.py": {"evaluators": "{}"},
    "gan/mnist.py:wgan_gp": {"evaluators": "{}"},
    "gan/mnist.py:sngan": {"evaluators": "{}"},
    "rnn/dates.py": {},
    "rnn/forecast.py": {},
    "rnn/jsb.py:path={files}/raw/jsb_chorales/jsb-chorales-quarter.json.gz": {},
    "rnn/multi30k.py:path={files}/raw/multi30k": {},
    "rnn/multi30k.py:transformer,path={files}/raw/multi30k": {},
    "rnn/ptb.py:path={files}/raw/ptb": {},
    "rnn/ptb.py:medium,path={files}/raw/ptb": {},
    "rnn/ptb.py:awd,path={files}/raw/ptb": {},
    "rnn/python_docs.py": {},
    "rnn/python_docs.py:subwords,rnn": {},
    "rnn/sst.py:path={files}/raw/sst": {},
    "rnn/tiny_shakespeare.py": {},
    "rnn/tiny_shakespeare.py:mingru": {},
    "rnn/tiny_shakespeare.py:large": {},
    "search/digits.py": {},
    "tabular/fraud.py:path={files}/raw/mammography/mammography.csv.gz": {},
    "tabular/house_prices.py:path={files}/raw/california_housing/housing.csv.gz": {},
    "tabular/house_prices.py:wide,path={files}/raw/california_housing/housing.csv.gz": {},
}


def main(_: Sequence[str]) -> None:
    known = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    if not PAGE.value:
        for text in TARGETS.value:
            for case, settings in CASES.items():
                name = case.replace("{files}/", "")
                if ONLY.value not in name or (text in known.get(name, {}) and not AGAIN.value):
                    continue
                known.setdefault(name, {})[text] = _compiled(case, settings, text)
                RESULTS.write_text(_one_line_each(known))
                print(name, text, known[name][text].get("error", "compiles"), flush=True)
    (ROOT / "docs/hardware.md").write_text(page(known))


def _one_line_each(known: Mapping[str, Any]) -> str:
    """JSON with a line for each experiment."""
    lines = (f"{json.dumps(name)}: {json.dumps(of)}" for name, of in sorted(known.items()))
    return "{\n" + ",\n".join(lines) + "\n}\n"


def _compiled(case: str, settings: Mapping[str, str], text: str) -> dict[str, Any]:
    """The figures of a case, or the error that ended it."""
    config = f"{ROOT}/experiments/{case.format(files=Path(FILES.value).absolute())}"
    made = {"jax": version("jax"), "jaxlib": version("jaxlib")}
    with tempfile.TemporaryDirectory() as folder:
        figures = Path(folder) / "figures.json"
        began = time.monotonic()
        try:
            compile_for(text, parse_target(text), config, tuple(settings.items()), figures)
        except (UserError, Failure) as error:
            if not figures.exists():  # where it does, the step compiles and does not fit
                return {"error": str(error).replace(f"{ROOT}/", ""), **made}
        except RuntimeError as error:  # a fault of ours
            return {"error": str(error).splitlines()[-1], **made}
        seconds = round(time.monotonic() - began)
        return {**json.loads(figures.read_text()), "seconds": seconds, **made}


def page(known: Mapping[str, Mapping[str, Any]]) -> str:
    """docs/hardware.md: what stands in hardware_page.md, and a table for each target."""
    text = (ROOT / "benchmarks/hardware_page.md").read_text()
    return text.replace("{tables}", "\n".join(_tables(known)))


def _tables(known: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    targets = sorted({text for figures in known.values() for text in figures})
    for text in targets:
        target = parse_target(text)
        rows = {name: figures[text] for name, figures in sorted(known.items()) if text in figures}
        compiles = sum("error" not in row for row in rows.values())
        versions = sorted({row["jaxlib"] for row in rows.values()})
        yield f"### {target.label}\n"
        yield f"{compiles} of {len(rows)} compile, with jaxlib {', '.join(versions)}.\n"
        yield (
            "| experiment | examples a step | memory, of it temporaries (GiB) | GFLOP | GB moved |"
            " at least (ms) | products and convolutions by | evaluators | compiling (s) |"
        )
        yield "|---|---|---|---|---|---|---|---|---|"
        for name, row in rows.items():
            yield _row(name, row, text)
        yield ""


def _row(name: str, row: Mapping[str, Any], text: str) -> str:
    if "error" in row:
        return f"| {name} | **{row['error'][:300]}** | | | | | | | |"
    device, plan = parse_target(text).device, row["plan"]
    step, *evaluators = (Program(**each) for each in row["programs"])
    assert device.bandwidth is not None
    seconds, bound = roofline(step, device.peak(plan["precision"]), device.bandwidth)
    steps = plan["steps"]
    by = ", ".join(f"{count} {who}" for who, count in sorted(step.operations.items()))
    largest = max((each.memory for each in evaluators), default=0)
    judged = f"{len(evaluators)}, {largest / 2**30:.2f} GiB" if evaluators else "not compiled"
    cells = (
        name,
        f"{plan['examples']:,}, {plan['precision']}",
        f"{step.memory / 2**30:.2f}, {step.temporaries / 2**30:.2f}"
        + ("" if row["fits"] else ": **does not fit**"),
        f"{step.flops / steps / 1e9:,.4g}",
        f"{step.moved / steps / 1e9:,.3g}",
        f"{1e3 * seconds / steps:.3g}, {bound}",
        by + (f" ({step.note})" if step.note else ""),
        judged,
        f"{step.seconds:.0f}",
    )
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    app.run(main)
