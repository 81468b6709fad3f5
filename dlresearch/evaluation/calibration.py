"""Whether probabilities are to be believed, and what makes them so."""

import numpy as np
from jaxtyping import Float, Int
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax

BINS = 15  # as Guo et al. take
_COLDEST, _HOTTEST = 1e-2, 1e2  # temperatures; without a bound a faultless model would go to 0


def expected_calibration_error(
    probabilities: Float[np.ndarray, "example class"],
    labels: Int[np.ndarray, " example"],
    bins: int = BINS,
) -> float:
    """How far confidence is from accuracy (Guo et al. 2017, arXiv:1706.04599, eq. 3).

    Confidence is the probability of the most likely class, in bins ((m - 1) / M, m / M] of equal
    width. The error is the mean over examples of the distance between the two means of their bin.
    """
    confidence = probabilities.max(axis=1)
    correct = probabilities.argmax(axis=1) == labels
    bin_of = np.clip(np.ceil(confidence * bins).astype(int) - 1, 0, bins - 1)
    surplus = np.bincount(bin_of, weights=confidence - correct, minlength=bins)
    return float(np.abs(surplus).sum() / len(labels))


def negative_log_likelihood(
    logits: Float[np.ndarray, "example class"], labels: Int[np.ndarray, " example"]
) -> float:
    """Mean cross-entropy in nats."""
    return float(-log_softmax(logits, axis=1)[np.arange(len(labels)), labels].mean())


def fit_temperature(
    logits: Float[np.ndarray, "example class"], labels: Int[np.ndarray, " example"]
) -> float:
    """The T in [0.01, 100] for which softmax(logits / T) is most likely (Guo et al. 2017, eq. 9).

    The likelihood has one maximum in T: it is concave in 1 / T.
    """
    found = minimize_scalar(
        lambda log_t: negative_log_likelihood(logits / np.exp(log_t), labels),
        bounds=(np.log(_COLDEST), np.log(_HOTTEST)),
        method="bounded",
        options={"xatol": 1e-6},
    )
    return float(np.exp(found.x))
