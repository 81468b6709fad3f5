"""Several programs that differ in numbers only, as one program that is given the numbers.

Two runs with other learning rates compute the same, operation by operation, but for some constants.
So nothing has to be written for a setting to become an argument: the programs are traced, laid side
by side, and the constants in which they differ are what the one program is given.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import ClosedJaxpr, Jaxpr, Literal
from jaxtyping import Array, Shaped

Numbers: TypeAlias = list[Shaped[np.ndarray, "program ..."]]
_Read: TypeAlias = Callable[[Sequence[Any], Any], Any]

# Calls whose body can stand in their place, by the parameter that holds it. Those of a loop, or of
# what is computed again for the gradient, cannot: a constant in which they differ is an error.
_BODIES = {"jit": "jaxpr", "pjit": "jaxpr", "closed_call": "call_jaxpr"} | dict.fromkeys(
    ("custom_jvp_call", "custom_vjp_call"), "call_jaxpr"
)


class OtherProgram(Exception):
    """The programs differ in more than numbers."""


class Lockstep:
    """The functions as one, traced for arguments of these shapes.

    Args:
      functions: pure; of arrays in any pytree, and giving one.

    Attributes:
      numbers: the constants in which the functions differ, an axis for the functions in front.

    Raises:
      OtherProgram: they differ in more.
    """

    def __init__(self, functions: Sequence[Callable[..., Any]], *shapes: Any):
        self.numbers: Numbers = []
        traced = [jax.make_jaxpr(each, return_shape=True)(*shapes) for each in functions]
        self._programs = [program for program, _ in traced]
        self._tree = jax.tree.structure(traced[0][1])
        if any(jax.tree.structure(made) != self._tree for _, made in traced):
            raise OtherProgram

        def note(values: Sequence[Any], aval: Any) -> Any:
            if (rows := _rows(values, aval)) is not None:
                self.numbers.append(rows)
            return values[0]

        jax.eval_shape(lambda leaves: self._run(note, leaves), jax.tree.leaves(shapes))

    def __call__(self, numbers: Sequence[Array], *arguments: Any) -> Any:
        """What the function gives whose rows of `self.numbers` these are."""
        given: Iterator[Array] = iter(numbers)

        def take(values: Sequence[Any], aval: Any) -> Any:
            return values[0] if _rows(values, aval) is None else next(given)

        return jax.tree.unflatten(self._tree, self._run(take, jax.tree.leaves(arguments)))

    def _run(self, read: _Read, leaves: Sequence[Any]) -> list[Any]:
        return _evaluate(self._programs, read, leaves)


def _rows(values: Sequence[Any], aval: Any) -> Shaped[np.ndarray, "program ..."] | None:
    """The values of a constant in all programs; None where they are the same."""
    if all(value is values[0] for value in values):
        return None
    rows = np.stack([np.asarray(value, aval.dtype) for value in values])
    return None if (rows == rows[0]).all() else rows


def _evaluate(programs: Sequence[ClosedJaxpr], read: _Read, leaves: Sequence[Any]) -> list[Any]:
    """The values that the first program gives, with what `read` says for each constant.

    Args:
      read: of a constant's values in all programs, and its type, the one to go on with.
    """
    jaxprs = [program.jaxpr for program in programs]
    _require(len({len(program.consts) for program in programs}) == 1)
    for variables in zip(*(jaxpr.constvars for jaxpr in jaxprs), strict=True):
        _require_one_type(variables)
    constants = [
        read(values, variable.aval)
        for values, variable in zip(
            zip(*(program.consts for program in programs), strict=True),
            jaxprs[0].constvars,
            strict=True,
        )
    ]
    # Variables are told apart by the order in which they appear: the same in all programs.
    values: list[Any] = []
    places: list[dict[Any, int]] = [{} for _ in programs]

    def write(variables: Sequence[Sequence[Any]], found: Sequence[Any]) -> None:
        _require(all(len(each) == len(found) for each in variables))
        for index, value in enumerate(found):
            _require_one_type([each[index] for each in variables])
            for place, each in zip(places, variables, strict=True):
                place[each[index]] = len(values)
            values.append(value)

    def known(atoms: Sequence[Any]) -> Any:
        literal = [isinstance(atom, Literal) for atom in atoms]
        _require(all(literal) or not any(literal))
        if literal[0]:
            _require_one_type(atoms)
            return read([atom.val for atom in atoms], atoms[0].aval)
        numbers = {place[atom] for place, atom in zip(places, atoms, strict=True)}
        _require(len(numbers) == 1)
        return values[numbers.pop()]

    write([jaxpr.constvars for jaxpr in jaxprs], constants)
    write([jaxpr.invars for jaxpr in jaxprs], leaves)
    _require(len({len(jaxpr.eqns) for jaxpr in jaxprs}) == 1)
    for equations in zip(*(jaxpr.eqns for jaxpr in jaxprs), strict=True):
        first = equations[0]
        _require(all(each.primitive is first.primitive for each in equations))
        _require(len({len(each.invars) for each in equations}) == 1)
        inputs = [known(atoms) for atoms in zip(*(each.invars for each in equations), strict=True)]
        body = _BODIES.get(first.primitive.name)
        if body is not None:
            found = _evaluate([each.params[body] for each in equations], read, inputs)
        else:
            for each in equations[1:]:
                _require(_same(each.params, first.params))
            found = _bind(first, inputs)
        write([each.outvars for each in equations], found)
    _require(len({len(jaxpr.outvars) for jaxpr in jaxprs}) == 1)
    return [known(atoms) for atoms in zip(*(jaxpr.outvars for jaxpr in jaxprs), strict=True)]


def _bind(equation: Any, inputs: Sequence[Any]) -> Sequence[Any]:
    parameters = equation.primitive.get_bind_params(equation.params)

    def bind(*inputs: Any) -> Any:
        with equation.ctx.manager:
            return equation.primitive.bind(*inputs, **parameters)

    if equation.primitive.name == "conv_general_dilated" and jax.default_backend() == "cpu":
        bind = _one_by_one(bind)
    found = bind(*inputs)
    return found if equation.primitive.multiple_results else [found]


def _one_by_one(operation: Callable[..., Array]) -> Callable[..., Array]:
    """The operation, which `jax.vmap` does for one after the other.

    `jax.vmap` makes a grouped convolution of those with a kernel each. On CPU that makes a step of
    the digits experiment about seven times slower (`benchmarks/vectorised.py`).
    """
    single = jax.custom_batching.custom_vmap(operation)

    @single.def_vmap
    def several(size: int, batched: Sequence[bool], *inputs: Array) -> tuple[Array, bool]:
        def of(index: int) -> Array:
            pairs = zip(inputs, batched, strict=True)
            return operation(*(value[index] if has_axis else value for value, has_axis in pairs))

        return jnp.stack([of(index) for index in range(size)]), True

    return single


def _same(one: Any, other: Any) -> bool:
    """Whether two parameters of an operation mean the same; programs in them to the last number."""
    if one is other:
        return True
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(_same(one[key], other[key]) for key in one)
    if isinstance(one, tuple | list) and isinstance(other, tuple | list):
        return len(one) == len(other) and all(map(_same, one, other))
    if isinstance(one, ClosedJaxpr) and isinstance(other, ClosedJaxpr):
        return _same_program(one, other)
    if isinstance(one, Jaxpr) and isinstance(other, Jaxpr):
        return _same_program(ClosedJaxpr(one, ()), ClosedJaxpr(other, ()))
    return bool(np.all(one == other))


def _same_program(one: ClosedJaxpr, other: ClosedJaxpr) -> bool:
    if len(one.consts) != len(other.consts) or str(one.jaxpr) != str(other.jaxpr):
        return False
    return all(map(np.array_equal, one.consts, other.consts))


def _require_one_type(atoms: Sequence[Any]) -> None:
    _require(len({atom.aval.str_short() for atom in atoms}) == 1)


def _require(same: bool) -> None:
    if not same:
        raise OtherProgram
