"""What an experiment is: its schema, its file, the command line, and the components it names.

Everything here reads text and checks it; nothing here knows what a model or a dataset is.
"""

from dlresearch.config.arguments import Choice, arguments
from dlresearch.config.build import bind, build, build_all
from dlresearch.config.catalog import names, target_of
from dlresearch.config.durations import Duration
from dlresearch.config.fields import Component, Section, option, options_of
from dlresearch.config.load import load
from dlresearch.config.overrides import setting_called, split_overrides
from dlresearch.config.plain import (
    component,
    config_hash,
    default_config,
    differences,
    to_dict,
)
from dlresearch.config.points import Point, read_points
from dlresearch.config.schema import (
    Average,
    Checkpoint,
    Data,
    Evaluator,
    Experiment,
    Log,
    LookaheadOptions,
    Mesh,
    Optimizer,
    ParameterGroup,
    StartFrom,
    Update,
    Views,
)
from dlresearch.config.signatures import parameters_of
from dlresearch.config.validate import validate

__all__ = [
    "Average",
    "Checkpoint",
    "Choice",
    "Component",
    "Data",
    "Duration",
    "Evaluator",
    "Experiment",
    "Log",
    "LookaheadOptions",
    "Mesh",
    "Optimizer",
    "ParameterGroup",
    "Point",
    "Section",
    "StartFrom",
    "Update",
    "Views",
    "arguments",
    "bind",
    "build",
    "build_all",
    "component",
    "config_hash",
    "default_config",
    "differences",
    "load",
    "names",
    "option",
    "options_of",
    "parameters_of",
    "read_points",
    "setting_called",
    "split_overrides",
    "target_of",
    "to_dict",
    "validate",
]
