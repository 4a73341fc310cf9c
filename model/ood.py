"""Out-of-distribution (OOD) detection: whether a photo is like those that a network learnt from at all.

A network gives logits for whatever it is shown: a cat, a page of text, noise. Their embeddings point elsewhere
than those of skin. Those of dermoscopy do not, which to it is skin close up; that has a detector of its own.
"""

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

Floats = NDArray[np.float64]


class OODDetector(BaseModel):
    """The cosine between a photo's embedding and the mean embedding of the photos learnt from.

    The nearest mean (Mensink et al. 2013, doi:10.1109/TPAMI.2013.83) of a single class: photos of skin.
    Distances that know the classes or the covariance (Lee et al. 2018, arXiv:1807.03888; Wang et al. 2022,
    arXiv:2203.10807) were no better here; see `training/STUDY.md`.

    Attributes:
        centre: (channels,) the mean embedding; its length says nothing.
        threshold: the cosine below which a photo is out of distribution.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    centre: tuple[float, ...]
    threshold: float

    def cosines(self, embeddings: NDArray[np.floating]) -> Floats:
        """The cosine (n,) of each of n embeddings (n, channels)."""
        centre, vectors = np.asarray(self.centre), np.asarray(embeddings, dtype=np.float64)
        lengths = np.linalg.norm(vectors, axis=1) * np.linalg.norm(centre)
        cosines: Floats = vectors @ centre / np.maximum(lengths, 1e-12)
        return cosines

    def in_distribution(self, embeddings: NDArray[np.floating]) -> NDArray[np.bool_]:
        """Whether each photo (n,) is."""
        return self.cosines(embeddings) >= self.threshold


class DermoscopyDetector(BaseModel):
    """A linear boundary between the embeddings of clinical photographs and those of dermoscopy.

    Attributes:
        weights: (channels,) of an embedding of length 1.
        bias: what is added; a photo whose sum is above 0 counts as dermoscopy.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    weights: tuple[float, ...]
    bias: float

    def scores(self, embeddings: NDArray[np.floating]) -> Floats:
        """How far above the boundary (n,) each of n embeddings (n, channels) lies."""
        scores: Floats = unit_length(embeddings) @ np.asarray(self.weights) + self.bias
        return scores


def unit_length(embeddings: NDArray[np.floating]) -> Floats:
    """Embeddings (n, channels) scaled to a length of 1."""
    vectors = np.asarray(embeddings, dtype=np.float64)
    scaled: Floats = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
    return scaled
