"""Where in the outputs of a task the generated examples are."""

from collections.abc import Mapping
from typing import Any

from jaxtyping import Array, Shaped

from dlresearch.errors import UserError, suggest


def generated(outputs: Any, key: str) -> Shaped[Array, "batch *example"]:
    """The generated example of each row.

    Args:
      outputs: what `predict` gives: arrays by name, or the examples alone.
      key: of the examples, where outputs have names.

    Raises:
      UserError: there are no outputs of this name.
    """
    if not isinstance(outputs, Mapping):
        return outputs
    if key not in outputs:
        raise UserError(f"the task gives no output {key!r}; {suggest(key, outputs)}")
    return outputs[key]
