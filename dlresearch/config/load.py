"""Reads an experiment file and what the command line changes in it."""

import inspect
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

from ml_collections import ConfigDict

from dlresearch.config.catalog import add_current_directory
from dlresearch.config.fields import Component, options_of
from dlresearch.config.overrides import apply
from dlresearch.config.place import Place
from dlresearch.config.plain import config_dict, plain
from dlresearch.config.schema import Experiment
from dlresearch.config.user_code import user_code
from dlresearch.errors import UserError, suggest


def load(flag: str, overrides: Sequence[tuple[str, str]] = ()) -> ConfigDict:
    """The config of `path/to/file.py:arguments` with `overrides` (dotted path, text) applied.

    The `config.json` that a run left is taken as well.

    Every setting of the schema is there, with its default where nobody set it. Whole components
    are overridden before their parts, whatever the order. References between fields are resolved
    before overriding. UserError for whatever is wrong with the file, the arguments or an override;
    the values the file sets are checked by `validate`.
    """
    path, arguments = _file_and_arguments(flag)
    if path.suffix == ".json":
        if arguments:
            raise UserError(f"--config={path}:{arguments}: a JSON file takes no arguments")
        given = _read_json(path)
    else:
        given = _get_config(path, arguments)
    config = _complete(plain(given), Place("config", Experiment))
    return config_dict(apply(config, overrides)).lock()


def _file_and_arguments(flag: str) -> tuple[Path, str]:
    match = re.fullmatch(r"(.*?\.(?:py|json))(?::(.*))?", flag, re.DOTALL)
    if match is None:
        raise UserError(f"--config={flag}: give a Python file, such as experiments/cnn/digits.py")
    path = Path(match[1])
    if not path.is_file():
        if not path.parent.is_dir():
            raise UserError(f"--config={path}: there is no folder {path.parent}")
        others = [str(each) for each in path.parent.glob("*.py")]
        hint = f"; {suggest(str(path), others)}" if others else ""
        raise UserError(f"--config={path}: there is no such file{hint}")
    return path, match[2] or ""


def _read_json(path: Path) -> Any:
    try:
        content = json.loads(path.read_text("utf-8"))
    except ValueError as error:
        raise UserError(f"--config={path}: it is not JSON: {error}") from None
    if not isinstance(content, Mapping):
        raise UserError(f"--config={path}: it must hold settings by name, not {content!r}")
    return content


def _get_config(path: Path, arguments: str) -> Any:
    add_current_directory()
    module = ModuleType(f"experiment_{path.stem}")
    module.__file__ = str(path)
    with user_code(f"--config={path}"):
        exec(compile(path.read_text("utf-8"), path, "exec"), module.__dict__)
    function = getattr(module, "get_config", None)
    if not callable(function):
        raise UserError(f"{path}:1: the file must define get_config(arg='')")
    takes_arguments = bool(inspect.signature(function).parameters)
    if arguments and not takes_arguments:
        raise UserError(f"--config={path}:{arguments}: get_config of this file takes no arguments")
    with user_code(f"--config={path}"):
        config = function(arguments) if takes_arguments else function()
    if not isinstance(config, ConfigDict | Mapping):
        got = type(config).__name__
        raise UserError(f"{path}: get_config must return a ConfigDict, not {got}")
    return config


def _complete(node: Any, place: Place) -> Any:
    """The node with the schema's defaults for what it lacks, also in nested sections."""
    if not isinstance(node, Mapping) or Component in place.members:
        return node
    keys = node
    if section := place.section:
        node = plain(section()) | dict(node)
        keys = options_of(section) if section.component_kind else node
    return dict(node) | {key: _complete(node[key], place.child(key, node)) for key in keys}
