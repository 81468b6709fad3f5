"""What of a set of weights a run starts from, and a report of it: `config.start_from`."""

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from difflib import SequenceMatcher

import jax
from jaxtyping import Array

from dlresearch.config import StartFrom
from dlresearch.errors import UserError
from dlresearch.patterns import first_match, match_mask
from dlresearch.tasks import Variables
from dlresearch.training.arrays import parameters_and_state, spec_of
from dlresearch.training.weights import Weights, open_weights

_WHERE = "config.start_from"
_SHOWN = 6
# Of a self-supervised run: the player, and the path in the network that is kept.
_BACKBONE = re.compile("([^/]+)/backbone/(.*)")


@dataclass(frozen=True)
class Loading:
    """What is loaded, once `read`.

    Attributes:
      weights: where from.
      wanted: shapes with shardings of all parameters and state, by path.
      loaded: path here -> name there.
      skipped: paths that `skip` leaves at random.
      missing: paths that are not there.
      unused: names there without a use here.
    """

    weights: Weights
    wanted: Mapping[str, jax.ShapeDtypeStruct]
    loaded: Mapping[str, str]
    skipped: tuple[str, ...]
    missing: tuple[str, ...]
    unused: tuple[str, ...]

    def read(self) -> dict[str, Array]:
        """The arrays by their path here, on the devices."""
        found = self.weights.read({name: self.wanted[path] for path, name in self.loaded.items()})
        return {path: found[name] for path, name in self.loaded.items()}

    def summary(self) -> str:
        """One line."""
        return (
            f"starts from {self.weights.title}: {len(self.loaded)} arrays loaded,"
            f" {len(self.skipped)} skipped, {len(self.missing)} missing, {len(self.unused)} unused"
        )

    def outline(self) -> Iterator[str]:
        """The summary, and names of what is not loaded, but for most of a long list."""
        yield self.summary()
        for kind in ("skipped", "missing", "unused"):
            names = getattr(self, kind)
            if names:
                more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
                yield f"  {kind}: {', '.join(names[:_SHOWN])}{more}"

    def report(self) -> str:
        """All of it, a line an array."""
        lines = [self.weights.title]
        lines += ["", f"loaded: {len(self.loaded)}"]
        for path, name in self.loaded.items():
            origin = self.weights.origin.get(name, name)
            source = "" if origin == path else f"  from {origin}"
            lines.append(f"  {path}  {spec_of(self.wanted[path])}{source}")
        for kind, paths in (("skipped", self.skipped), ("missing", self.missing)):
            lines += ["", f"{kind}, begins at random: {len(paths)}"]
            lines += [f"  {path}  {spec_of(self.wanted[path])}" for path in paths]
        lines += ["", f"unused: {len(self.unused)}"]
        for name in self.unused:
            lines.append(f"  {self.weights.origin.get(name, name)}  {self.weights.arrays[name]}")
        return "\n".join(lines) + "\n"


def plan_loading(options: StartFrom, variables: Variables) -> Loading | None:
    """What `options` say to load into `variables`; None if nothing. Reads no arrays.

    Args:
      variables: shapes with shardings.

    Raises:
      UserError: no weights, or they do not fit.
    """
    if options.path is None:
        return None
    weights = open_weights(options)
    wanted = parameters_and_state(variables)
    if not options.rules and _needs_backbone(weights, wanted):
        return _plan_backbone(weights, options, wanted)
    skip = match_mask(options.skip, dict.fromkeys(wanted, 0), f"{_WHERE}.skip")
    names = _by_path_here(weights, options, wanted)
    loaded = {path: names[path] for path in wanted if path in names and not skip[path]}
    missing = tuple(path for path in wanted if path not in names and not skip[path])
    _check_shapes(weights, wanted, loaded)
    if not loaded:
        raise UserError(
            f"{_WHERE}: nothing in {weights.title} has a place here; there are"
            f" {_some(weights.arrays)}, and here {_some(wanted)}; set {_WHERE}.rules"
        )
    if missing and options.missing == "error":
        raise UserError(
            f"{_WHERE}: {weights.title} has no {missing[0]}{_more(missing)}; add a rule that leads"
            f" to it, or a pattern to {_WHERE}.skip, or set {_WHERE}.missing to 'allow'"
        )
    return Loading(
        weights,
        wanted,
        loaded,
        skipped=tuple(path for path in wanted if skip[path]),
        missing=missing,
        unused=tuple(sorted(weights.arrays.keys() - names.values())),
    )


def _needs_backbone(weights: Weights, wanted: Mapping[str, jax.ShapeDtypeStruct]) -> bool:
    """Whether a self-supervised run has what a network without its heads is to begin with."""
    return any(map(_BACKBONE.fullmatch, weights.arrays)) and not any(
        map(_BACKBONE.fullmatch, wanted)
    )


def _plan_backbone(
    weights: Weights, options: StartFrom, wanted: Mapping[str, jax.ShapeDtypeStruct]
) -> Loading:
    """All of the backbone goes into the network here, whose further layers begin at random."""
    skip = match_mask(options.skip, dict.fromkeys(wanted, 0), f"{_WHERE}.skip")
    found = {name: _BACKBONE.fullmatch(name) for name in weights.arrays}
    names = {f"{match[1]}/{match[2]}": name for name, match in found.items() if match}
    loaded = {path: names[path] for path in wanted if path in names and not skip[path]}
    _check_shapes(weights, wanted, loaded)
    if homeless := [names[path] for path in names if path not in wanted]:
        raise UserError(
            f"{_WHERE}: {weights.title} has {homeless[0]}{_more(homeless)}, and nothing here has a"
            f" place for it; set config.model as in that run, or {_WHERE}.rules"
        )
    layers = {_layer(path) for path in names}
    missing = tuple(path for path in wanted if path not in names and not skip[path])
    # One layer that is new is a head; more, or a part of a layer, is another network.
    new = sorted({_layer(path) for path in missing})
    if holes := [layer for layer in new if layer in layers] or new[1:]:
        raise UserError(
            f"{_WHERE}: the backbone of {weights.title} lacks something in {holes[0]}; set"
            f" config.model as in that run, or {_WHERE}.rules"
        )
    return Loading(
        weights,
        wanted,
        loaded,
        skipped=tuple(path for path in wanted if skip[path]),
        missing=missing,
        unused=tuple(sorted(weights.arrays.keys() - names.values())),
    )


def _layer(path: str) -> str:
    """The outermost layer: `model/stages_0` of `model/stages_0/blocks_1/conv_2/kernel`."""
    return "/".join(path.split("/")[:2])


def _by_path_here(
    weights: Weights, options: StartFrom, wanted: Mapping[str, jax.ShapeDtypeStruct]
) -> dict[str, str]:
    """The names there by the path they have here, as the rules say."""
    numbered = [(pattern, number) for number, (pattern, _) in enumerate(options.rules)]
    where = f"{_WHERE}.rules"
    chosen = first_match(numbered, dict.fromkeys(weights.arrays, 0), where, default=-1)
    names: dict[str, str] = {}
    results: dict[int, list[str]] = defaultdict(list)
    for name, number in chosen.items():
        path = name
        if number >= 0:
            pattern, replacement = options.rules[number]
            path = _replaced(name, pattern, replacement, f"{where}.{number}")
        results[number].append(path)
        if path not in wanted:
            continue
        if path in names:
            raise UserError(f"{where}: both {names[path]} and {name} lead to {path}")
        names[path] = name
    for number, paths in results.items():
        if number >= 0 and not any(path in wanted for path in paths):
            closest = max(wanted, key=lambda path: SequenceMatcher(None, path, paths[0]).ratio())
            raise UserError(
                f"{where}.{number}: it leads to {paths[0]}{_more(paths)}, and nothing here is"
                f" called that; closest: {closest}"
            )
    return names


def _replaced(name: str, pattern: str, replacement: str, where: str) -> str:
    match = re.fullmatch(pattern, name)
    assert match is not None  # it was chosen for that
    try:
        return match.expand(replacement)
    except (re.error, IndexError) as error:
        raise UserError(f"{where}: {replacement!r} is no replacement: {error}") from error


def _check_shapes(
    weights: Weights, wanted: Mapping[str, jax.ShapeDtypeStruct], loaded: Mapping[str, str]
) -> None:
    different = [
        path for path, name in loaded.items() if weights.arrays[name] != spec_of(wanted[path])
    ]
    if different:
        path = different[0]
        layer = re.escape(path.rpartition("/")[0])
        raise UserError(
            f"{_WHERE}: {path} is {weights.arrays[loaded[path]]} in {weights.title} and"
            f" {spec_of(wanted[path])} here{_more(different)}; to begin with a new one, add"
            f" '{layer}/.*' to {_WHERE}.skip"
        )


def _more(paths: Iterable[str]) -> str:
    others = len(list(paths)) - 1
    return f" (and {others} more)" if others else ""


def _some(names: Iterable[str]) -> str:
    listed = sorted(names)
    return f"{', '.join(listed[:2])}{', ...' if len(listed) > 2 else ''}" or "no arrays"
