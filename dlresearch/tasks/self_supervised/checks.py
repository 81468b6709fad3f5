"""What methods refuse in a config."""

from dlresearch.errors import UserError


def check_temperature(**temperatures: float) -> None:
    for name, value in temperatures.items():
        if value <= 0:
            raise UserError(f"{name}={value}: must be above 0")


def check_predictor(projector: tuple[int, ...], predictor: tuple[int, ...]) -> None:
    """What is predicted has to have the size of a code."""
    if projector[-1:] != predictor[-1:]:
        raise UserError(
            f"predictor={predictor}: must end in the size of a code, as projector={projector} does"
        )
