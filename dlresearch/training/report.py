"""report.html: one page on a run, made from the files of its folder and nothing else."""

import base64
import html
import io
import json
from collections import defaultdict
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import quote

from dlresearch.errors import UserError
from dlresearch.training.artifacts import IMAGES, newest_files
from dlresearch.training.console import duration
from dlresearch.training.records import read_records
from dlresearch.training.workdir import Workdir, read_json

_STYLE = """
body { font: 15px/1.5 sans-serif; max-width: 60em; margin: 2em auto; padding: 0 1em; color: #222 }
table { border-collapse: collapse } td, th { padding: .15em 1.2em .15em 0; text-align: left }
td.number { text-align: right; font-variant-numeric: tabular-nums }
pre { background: #f4f4f4; padding: 1em; overflow: auto; font-size: 13px }
.plots { display: flex; flex-wrap: wrap } .plots svg { width: 28em; height: auto }
figure { margin: 1em 0 } figure img { max-width: 100% }
"""


def write_report(workdir: Workdir, result: Mapping[str, Any] | None = None) -> None:
    """Write `report.html` for what has been recorded so far.

    Args:
      result: what result.json holds, or will hold; None reads it.

    Raises:
      UserError: the folder holds no run.
    """
    config = read_json(workdir.config)
    if config is None:
        raise UserError(f"--workdir: {workdir.path} holds no run")
    history = read_records(workdir.metrics)
    result = result or read_json(workdir.result) or {"status": "not finished"}
    page = "\n".join(_page(workdir, config, history, result))
    target = workdir.report
    temporary = target.with_suffix(".tmp")
    temporary.write_text(page)
    temporary.replace(target)


def _page(
    workdir: Workdir,
    config: Mapping[str, Any],
    history: Mapping[int, Mapping[str, float]],
    result: Mapping[str, Any],
) -> Iterator[str]:
    title = html.escape(workdir.path.name)
    yield f"<!doctype html><html lang=en><meta charset=utf-8><title>{title}</title>"
    yield f"<style>{_STYLE}</style><h1>{title}</h1>"
    facts = {name: result[name] for name in ("status", "step", "seed", "device") if name in result}
    if "wall_seconds" in result:
        facts["time"] = duration(result["wall_seconds"])
    yield _table(facts)
    yield "<h2>Final metrics</h2>"
    yield _table(result.get("metrics", {}))
    if about := result.get("about"):
        yield "<h3>Measured with</h3>"
        yield _table(about)
    yield "<h2>Curves</h2><div class=plots>"
    yield from _plots(history)
    yield "</div>"
    yield from _files(workdir)
    yield "<h2>Config</h2>"
    yield f"<pre>{html.escape(json.dumps(config, indent=2))}</pre>"
    environment = read_json(workdir.environment) or {}
    yield f"<h2>Environment</h2><pre>{html.escape(json.dumps(environment, indent=2))}</pre></html>"


def _table(rows: Mapping[str, Any]) -> str:
    cells = "".join(
        f"<tr><th>{html.escape(name)}<td class=number>"
        f"{f'{value:.6g}' if isinstance(value, float) else html.escape(str(value))}"
        for name, value in rows.items()
    )
    return f"<table>{cells}</table>"


def _files(workdir: Workdir) -> Iterator[str]:
    """What evaluators made last: pictures in the page itself, and links to the rest."""
    newest = list(newest_files(workdir.artifacts))
    if not newest:
        return
    yield "<h2>Files of the newest evaluations</h2>"
    pictures = [each for each in newest if each[1].suffix.lower() in IMAGES]
    for step, file in pictures:
        name = html.escape(f"{file.parent.parent.name}/{file.stem}, step {step}")
        content = base64.b64encode(file.read_bytes()).decode()
        kind = IMAGES[file.suffix.lower()]
        yield f"<figure><img alt='' src='data:{kind};base64,{content}'>"
        yield f"<figcaption>{name}</figcaption></figure>"
    for each in newest:
        if each not in pictures:
            path = each[1].relative_to(workdir.path).as_posix()
            yield f"<p><a href='{quote(path)}'>{html.escape(path)}</a>"


def _plots(history: Mapping[int, Mapping[str, float]]) -> Iterator[str]:
    """One plot for each kind of metric: `train/loss` and `test/loss` share one."""
    curves: dict[str, dict[str, list[tuple[int, float]]]] = defaultdict(lambda: defaultdict(list))
    for step in sorted(history):
        for name, value in history[step].items():
            if value is not None and not name.endswith("/examples"):
                curves[name.split("/")[-1]][name].append((step, value))
    for kind in sorted(curves):
        yield _plot(kind, curves[kind])


def _plot(title: str, curves: Mapping[str, list[tuple[int, float]]]) -> str:
    from matplotlib.figure import Figure  # slow to import, and only wanted here

    # Fixed margins: to find them by drawing would take as long as all else of a plot.
    figure = Figure(figsize=(5, 3))
    axes = figure.subplots(gridspec_kw={"left": 0.17, "right": 0.97, "bottom": 0.16, "top": 0.91})
    for name, points in curves.items():
        steps, values = zip(*points, strict=True)
        axes.plot(steps, values, marker="." if len(points) < 30 else "", label=name)
    axes.set(title=title, xlabel="step")
    axes.grid(alpha=0.3)
    axes.legend(fontsize="small")
    picture = io.StringIO()
    figure.savefig(picture, format="svg")
    text = picture.getvalue()
    return text[text.index("<svg") :]  # without the XML header, which HTML does not want
