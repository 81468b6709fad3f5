"""Rematerialisation: what the gradient needs of the forward pass is computed again, not kept.

It trades computation for memory (Chen et al. 2016, arXiv:1604.06174). Parameters, random numbers
and results are those without it, to rounding.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
from jax.extend.core import (
    ClosedJaxpr,
    Jaxpr,
    JaxprEqn,
    Literal,
    jaxpr_as_fun,
    jaxprs_in_params,
)
from jaxtyping import Array, Float, Key

from dlresearch.models.adapter import Model, Tree

# What costs most to compute again, for the memory it takes.
_PRODUCTS = (jax.lax.dot_general_p, jax.lax.conv_general_dilated_p)


@dataclass(frozen=True)
class KeepProducts:
    """Any model, keeping only outputs of matrix products and convolutions for its gradient.

    Normalisation, activations, dropout and all else is computed again, for one product after the
    other. What passes by a product, as in a residual connection, is kept, too. A scan is one piece,
    whatever is in it. Nothing is different outside of training.
    """

    model: Model

    def init(self, key: Key[Array, ""], *inputs: Array) -> tuple[Tree, Tree]:
        return self.model.init(key, *inputs)

    def apply(
        self,
        params: Tree,
        state: Tree,
        *inputs: Any,
        train: bool,
        key: Key[Array, ""] | None = None,
        method: str = "__call__",
    ) -> tuple[Any, Tree]:
        def call(
            params: Tree, state: Tree, key: Key[Array, ""] | None, *inputs: Array
        ) -> tuple[Any, Tree]:
            return self.model.apply(params, state, *inputs, train=train, key=key, method=method)

        run = _in_pieces if train else lambda call, *arguments: call(*arguments)
        return run(call, params, state, key, *inputs)

    def features(self, params: Tree, state: Tree, *inputs: Any) -> Float[Array, "batch features"]:
        return self.model.features(params, state, *inputs)


def _in_pieces(function: Callable[..., Any], *arguments: Any) -> Any:
    """`function(*arguments)`, each piece of it, up to a product, in a `jax.checkpoint` of its own.

    A piece is computed again when the gradient of what follows has arrived. One checkpoint around
    it all leaves the order to XLA, which may compute everything again first and then has it all in
    memory at once, as without (so it is on CPU).
    """
    closed, shapes = jax.make_jaxpr(function, return_shape=True)(*arguments)
    jaxpr = closed.jaxpr
    values: dict[Any, Any] = dict(zip(jaxpr.constvars, closed.consts, strict=True))
    values.update(zip(jaxpr.invars, jax.tree.leaves(arguments), strict=True))
    for piece in _pieces(jaxpr):
        compute = jax.checkpoint(jaxpr_as_fun(ClosedJaxpr(piece, ())), policy=_is_product)
        outputs = compute(*(values[variable] for variable in piece.invars))
        values.update(zip(piece.outvars, outputs, strict=True))
    results = [each.val if isinstance(each, Literal) else values[each] for each in jaxpr.outvars]
    return jax.tree.structure(shapes).unflatten(results)


def _is_product(primitive: Any, *_: Any, **__: Any) -> bool:
    return primitive in _PRODUCTS


def _pieces(jaxpr: Jaxpr) -> list[Jaxpr]:
    """`jaxpr` cut behind each equation that has a product in it."""
    ends = [i for i, equation in enumerate(jaxpr.eqns, 1) if _has_product(equation)]
    starts = [0, *ends]
    cuts = [jaxpr.eqns[start:end] for start, end in zip(starts, [*ends, None], strict=True)]
    needed = dict.fromkeys(each for each in jaxpr.outvars if not isinstance(each, Literal))
    pieces: list[Jaxpr] = []
    for equations in reversed(cuts):  # what a piece has to give is what those behind it read
        made = dict.fromkeys(each for equation in equations for each in equation.outvars)
        read = dict.fromkeys(
            each
            for equation in equations
            for each in equation.invars
            if not isinstance(each, Literal) and each not in made
        )
        outputs = [each for each in made if each in needed]
        piece = jaxpr.replace(constvars=[], invars=list(read), outvars=outputs, eqns=equations)
        pieces.insert(0, piece)
        needed |= read
    return pieces


def _has_product(equation: JaxprEqn) -> bool:
    return equation.primitive in _PRODUCTS or any(
        _has_product(inner) for jaxpr in jaxprs_in_params(equation.params) for inner in jaxpr.eqns
    )
