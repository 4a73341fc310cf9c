"""From logits to probabilities that mean what they say.

They are stated under a *reference prior*, in which every label is equally likely; a reader may ask
for another prior, which moves the probabilities and leaves the prediction set as it is.
"""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

Floats = NDArray[np.float64]


class Calibration(BaseModel):
    """Temperature and a bias per label, fitted on photos that the network had not seen.

    Temperature scaling is from Guo et al. 2017 (arXiv:1706.04599); the bias corrects what sampling the
    labels in other proportions did to the logits (Menon et al. 2021, arXiv:2007.07314).
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    temperature: float = Field(gt=0)
    bias: tuple[float, ...]

    def probabilities(
        self, logits: Floats, prior: Sequence[float] | Floats | None = None
    ) -> Floats:
        """Calibrated probabilities (n, labels) of logits (n, labels), each row summing to 1.

        Without a prior they are stated under the reference prior. With one, they are moved there by
        Bayes' rule (Saerens et al. 2002, doi:10.1162/089976602753284446).
        """
        scores = np.asarray(logits, dtype=np.float64) / self.temperature + np.asarray(self.bias)
        if prior is not None:
            scores = scores + np.log(check_prior(prior, len(self.bias)))
        scores = scores - scores.max(axis=1, keepdims=True)
        weights = np.exp(scores)
        probabilities: Floats = weights / weights.sum(axis=1, keepdims=True)
        return probabilities


def check_prior(prior: Sequence[float] | Floats, labels: int) -> Floats:
    """The prior as an array, scaled to sum to 1; a ValueError says what is wrong with it."""
    values = np.asarray(prior, dtype=np.float64)
    if values.shape != (labels,) or not np.isfinite(values).all() or (values <= 0).any():
        raise ValueError(f"a prior is {labels} numbers above 0, one for each label; got {prior}")
    values = values / values.max()  # so that no sum overflows
    normalised: Floats = values / math.fsum(values)
    return normalised
