"""Points that a Python file names: `--sweep_file=x.py`.

def sweep():
    for width in (16, 32):
        yield {"model.widths": (width, 2 * width), "seed": width}
"""

from collections.abc import Iterable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

from dlresearch.config.plain import plain
from dlresearch.config.user_code import user_code
from dlresearch.errors import UserError
from launch.sweeps.grammar import MOST_POINTS, Overrides, key_of


def from_file(path: Path) -> list[Overrides]:
    """What `sweep()` of a file yields, in its order.

    Raises:
      UserError: no such file or function, what it raises, something that is no settings by name.
    """
    flag = f"--sweep_file={path}"
    if not path.is_file():
        raise UserError(f"{flag}: there is no such file")
    module = ModuleType(f"sweep_{path.stem}")
    module.__file__ = str(path)
    with user_code(flag):
        exec(compile(path.read_text("utf-8"), path, "exec"), module.__dict__)
    function = getattr(module, "sweep", None)
    if not callable(function):
        raise UserError(f"{flag}: the file must define sweep(), which yields settings by name")
    points = []
    with user_code(flag):
        yielded: Any = function()
        if not isinstance(yielded, Iterable):
            raise UserError(f"{flag}: sweep() must yield settings by name, not return {yielded!r}")
        for each in yielded:
            points.append(_overrides(each, f"{flag}, point {len(points)}"))
            if len(points) > MOST_POINTS:
                raise UserError(f"{flag}: {MOST_POINTS:,} runs are the most")
    if not points:
        raise UserError(f"{flag}: sweep() yields nothing")
    return points


def _overrides(point: Any, place: str) -> Overrides:
    if not isinstance(point, Mapping) or not point:
        raise UserError(
            f'{place}: yield settings by name, such as {{"seed": 1}}, not {str(point)[:60]!r}'
        )
    pairs: dict[str, str] = {}
    for name, value in point.items():
        key = key_of(name) if isinstance(name, str) else None
        if key is None:
            raise UserError(f"{place}: {name!r} is no setting, such as 'optimizer.learning_rate'")
        if key in pairs:
            raise UserError(f"{place}: {key} is set twice")
        pairs[key] = _text(value, f"{place}: {key}")
    return tuple(pairs.items())


def _text(value: Any, place: str) -> str:
    """A value as one would type it."""
    value = _plain(plain(value), place)
    return value if isinstance(value, str) else repr(value)


def _plain(value: Any, place: str) -> Any:
    """The value with NumPy's numbers and arrays as Python's, which are written as one types
    them."""
    value = plain(value.tolist()) if hasattr(value, "tolist") else value
    if isinstance(value, Mapping):
        return {str(key): _plain(each, place) for key, each in value.items()}
    if isinstance(value, tuple):
        return tuple(_plain(each, place) for each in value)
    if value is None or isinstance(value, bool | int | float | str):
        return value
    kind = type(value).__name__
    raise UserError(f"{place}: a number, text, tuple or component is needed, not a {kind}")
