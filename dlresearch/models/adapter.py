"""One face for Linen and NNX modules: pure functions over plain nested dicts of arrays.

`functional(constructor, **arguments)` makes a `Model` of either kind, to be called under `jax.jit`.
Nothing here calls `nnx.jit`, which costs several times as much a step.
"""

import inspect
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

import jax
import jax.numpy as jnp
from flax import linen, nnx
from flax.core import unfreeze
from flax.errors import ScopeParamShapeError
from jax.core import Tracer
from jaxtyping import Array, Float, Key

from dlresearch.errors import UserError

Tree = dict[str, Any]
"""A nested dict with string keys and arrays as leaves."""


class Model(Protocol):
    """A network as two pure functions."""

    def init(self, key: Key[Array, ""], *inputs: Array) -> tuple[Tree, Tree]:
        """`(params, state)`: what gradients change, and the rest, such as batch statistics."""
        ...

    def apply(
        self,
        params: Tree,
        state: Tree,
        *inputs: Any,
        train: bool,
        key: Key[Array, ""] | None = None,
        method: str = "__call__",
    ) -> tuple[Any, Tree]:
        """`(outputs, new_state)`; `new_state` is `state` unless `train`.

        `key` feeds dropout and all else that is random; a model without such parts needs none.
        `method` is that of the module to call, such as one step of a decoder.
        """
        ...

    def features(self, params: Tree, state: Tree, *inputs: Any) -> Float[Array, "batch features"]:
        """What the network has made of the inputs before its last layer, outside of training.

        That is what the module's method `features` gives; for a Linen module without one, the input
        of the `Dense` layer that is called last.

        Raises:
          UserError: there is neither.
        """
        ...


def functional(constructor: Callable[..., Any], /, **arguments: Any) -> Model:
    """The module that `constructor(**arguments)` makes, as a `Model`.

    A constructor with a parameter `rngs` is given an `nnx.Rngs` there. The `train` flag reaches the
    method that is called, `__call__` or another, where it has a parameter of that name; NNX modules
    are also put in `train()` or `eval()` mode. Raises UserError where the result is neither a Linen
    nor an NNX module, or is an NNX module made without `rngs`.
    """
    if "rngs" not in _parameters(constructor):
        module = constructor(**arguments)
        if isinstance(module, nnx.Module):
            name = getattr(constructor, "__name__", constructor)
            # Its parameters are there already and would be the same whatever the seed.
            raise UserError(f"{name} makes an NNX module: it needs a parameter 'rngs'")
        return _linen(constructor, module)

    def construct(rngs: nnx.Rngs) -> Any:
        return constructor(rngs=rngs, **arguments)

    made: list[type | _Graphs] = []

    def trace() -> tuple[Tree, Tree, Tree] | None:
        module = construct(nnx.Rngs(0))
        if not isinstance(module, nnx.Module):
            made.append(type(module))
            return None
        module.eval()
        evaluate, *_ = nnx.split(module, nnx.Param, nnx.RngState, ...)
        module.train()
        train, params, randomness, state = nnx.split(module, nnx.Param, nnx.RngState, ...)
        _refuse_hidden_arrays(train, type(module).__name__)
        made.append(_Graphs(train, evaluate))
        return nnx.to_pure_dict(params), nnx.to_pure_dict(randomness), nnx.to_pure_dict(state)

    shapes = jax.eval_shape(trace)  # no array is made to learn the structure
    if isinstance(made[0], _Graphs):
        return NNXModel(construct, made[0], *shapes)
    return _linen(constructor, construct(nnx.Rngs(0)))


def _linen(constructor: Callable[..., Any], module: Any) -> "LinenModel":
    if not isinstance(module, linen.Module):
        raise UserError(
            f"{getattr(constructor, '__name__', constructor)} makes a {type(module).__name__}; "
            "a model is a flax.linen or flax.nnx module"
        )
    return LinenModel(module)


def _refuse_hidden_arrays(graph: nnx.GraphDef, name: str) -> None:
    """Where a constructor is traced, NNX takes an array of no declared kind for a constant."""
    for attribute, value in graph.attributes:
        if isinstance(getattr(value, "value", None), Tracer):
            raise UserError(
                f"{name}: attribute {attribute!r} is a bare JAX array; make it an nnx.Variable, "
                "nnx.data(...) or a NumPy array"
            )


def _train_flag(module: linen.Module | nnx.Module, method: str, train: bool) -> dict[str, Any]:
    """`train` as an argument of a method, where it has a parameter of that name."""
    called = getattr(type(module), method, None)
    if called is None:
        raise UserError(f"{type(module).__name__} has no method {method!r}, which the task calls")
    return {"train": train} if "train" in _parameters(called) else {}


def _check_inputs(module: linen.Module, method: str, inputs: tuple[Any, ...]) -> None:
    """Raises UserError where a method takes not so many inputs."""
    called = getattr(type(module), method, None)
    if called is None:
        return  # told by `_train_flag`
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    signature = inspect.signature(called)
    taken = [p for p in signature.parameters.values() if p.kind in kinds][1:]
    least = sum(p.default is inspect.Parameter.empty for p in taken)
    if any(p.kind is p.VAR_POSITIONAL for p in signature.parameters.values()):
        return
    if not least <= len(inputs) <= len(taken):
        raise UserError(
            f"{type(module).__name__} takes {', '.join(p.name for p in taken)}, and the task gives"
            f" {len(inputs)} inputs"
        )


def _parameters(call: Callable[..., Any]) -> Mapping[str, inspect.Parameter]:
    while isinstance(call, partial):
        call = call.func
    # The metaclass of nnx.Module hides the signature of a class behind *args and **kwargs.
    return inspect.signature(call.__init__ if isinstance(call, type) else call).parameters


@dataclass(frozen=True)
class LinenModel:
    """A Linen module; `params` is its collection of that name, `state` all others.

    Random streams are those the module names in an attribute `rng_streams`, else `dropout` alone.
    """

    module: linen.Module

    def init(self, key: Key[Array, ""], *inputs: Array) -> tuple[Tree, Tree]:
        _check_inputs(self.module, "__call__", inputs)
        params_key, streams_key = jax.random.split(key)
        # Training mode, so that parts that exist only in training get their parameters too.
        variables = self.module.init(
            {"params": params_key, **self._streams(streams_key)},
            *inputs,
            **_train_flag(self.module, "__call__", True),
        )
        state = dict(unfreeze(linen.meta.unbox(variables)))
        params = state.pop("params", {})
        return params, state

    def apply(
        self,
        params: Tree,
        state: Tree,
        *inputs: Any,
        train: bool,
        key: Key[Array, ""] | None = None,
        method: str = "__call__",
    ) -> tuple[Any, Tree]:
        _check_inputs(self.module, method, inputs)
        rngs = None if key is None else self._streams(key)
        variables, flag = {"params": params, **state}, _train_flag(self.module, method, train)
        changes = list(state) if train else []
        try:
            outputs, new_state = self.module.apply(
                variables, *inputs, rngs=rngs, mutable=changes, method=method, **flag
            )
        except ScopeParamShapeError as error:
            shapes = ", ".join(str(list(each.shape)) for each in inputs)
            raise UserError(
                f"its parameters do not fit an input {shapes}; it was made for examples of another"
                f" shape ({str(error).split(' (https')[0]})"
            ) from error
        return outputs, {**state, **new_state}

    def features(self, params: Tree, state: Tree, *inputs: Any) -> Float[Array, "batch features"]:
        if hasattr(type(self.module), "features"):
            found, _ = self.apply(params, state, *inputs, train=False, method="features")
            return found
        read: list[Array] = []

        def notice(call: Callable[..., Any], arguments: Any, options: Any, context: Any) -> Any:
            if isinstance(context.module, linen.Dense) and context.method_name == "__call__":
                read.append(arguments[0])
            return call(*arguments, **options)

        with linen.intercept_methods(notice):
            self.apply(params, state, *inputs, train=False)
        if not read or read[-1].ndim != 2:
            raise UserError(
                f"{type(self.module).__name__} ends in no Dense layer whose input could be its"
                " features; give it a method 'features'"
            )
        return read[-1].astype(jnp.float32)

    def _streams(self, key: Key[Array, ""]) -> dict[str, Key[Array, ""]]:
        names = getattr(self.module, "rng_streams", ("dropout",))
        return {name: jax.random.fold_in(key, i) for i, name in enumerate(names)}


@dataclass(frozen=True)
class _Graphs:
    """The static halves of an NNX module in both modes."""

    train: nnx.GraphDef
    evaluate: nnx.GraphDef


@dataclass(frozen=True)
class NNXModel:
    """An NNX module; `params` are its `nnx.Param`, `state` all other variables except random ones.

    The random state is not kept: `apply` derives every random stream of the module from its `key`.
    Positions in a list of layers are strings in the dicts (`"0"`), as all other keys are.
    """

    construct: Callable[[nnx.Rngs], nnx.Module]
    graphs: _Graphs
    params: Mapping[Any, Any]
    randomness: Mapping[Any, Any]
    state: Mapping[Any, Any]

    def init(self, key: Key[Array, ""], *inputs: Array) -> tuple[Tree, Tree]:
        module = self.construct(nnx.Rngs(key))
        _, params, _, state = nnx.split(module, nnx.Param, nnx.RngState, ...)
        return _named(nnx.to_pure_dict(params)), _named(nnx.to_pure_dict(state))

    def apply(
        self,
        params: Tree,
        state: Tree,
        *inputs: Any,
        train: bool,
        key: Key[Array, ""] | None = None,
        method: str = "__call__",
    ) -> tuple[Any, Tree]:
        if train and self.randomness and key is None:
            raise ValueError("this model is random in training: apply needs a key")
        module = nnx.merge(
            self.graphs.train if train else self.graphs.evaluate,
            _like(self.params, params),
            _reseeded(self.randomness, jax.random.key(0) if key is None else key),
            _like(self.state, state),
        )
        flag = _train_flag(module, method, train)
        outputs = getattr(module, method)(*inputs, **flag)
        if not (train and state):
            return outputs, state
        new_state = nnx.state(module, nnx.Not(nnx.Any(nnx.Param, nnx.RngState)))
        return outputs, _restricted(_named(nnx.to_pure_dict(new_state)), state)

    def features(self, params: Tree, state: Tree, *inputs: Any) -> Float[Array, "batch features"]:
        found, _ = self.apply(params, state, *inputs, train=False, method="features")
        return found


def _named(tree: Any) -> Any:
    """`tree` with every key a string."""
    if isinstance(tree, Mapping):
        return {str(name): _named(value) for name, value in tree.items()}
    return tree


def _like(template: Any, tree: Any) -> Any:
    """The inverse of `_named`: the values of `tree` under the keys of `template`."""
    if isinstance(template, Mapping):
        return {name: _like(value, tree[str(name)]) for name, value in template.items()}
    return tree


def _restricted(tree: Any, template: Any) -> Any:
    """`tree` without what `template` lacks, such as intermediates recorded during the call."""
    if isinstance(template, Mapping):
        return {name: _restricted(tree[name], value) for name, value in template.items()}
    return tree


def _reseeded(randomness: Mapping[Any, Any], key: Key[Array, ""]) -> Any:
    """Random state of the same structure: each stream has a key of its own, all counts are zero."""
    leaves, structure = jax.tree.flatten(randomness)
    keys: Iterator[Array] = iter(jax.random.split(key, max(len(leaves), 1)))
    return structure.unflatten([_fresh(leaf, next(keys)) for leaf in leaves])


def _fresh(leaf: jax.ShapeDtypeStruct, key: Key[Array, ""]) -> Array:
    if not jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
        return jnp.zeros(leaf.shape, leaf.dtype)
    # Layers under nnx.vmap hold an array of keys.
    return jax.random.split(key, leaf.shape) if leaf.shape else key
