"""Out-of-distribution (OOD) detection: whether a photo is like those that a network learnt from at all.

A network gives logits for whatever it is shown: a cat, a page of text, noise. Their embeddings point elsewhere
than those of skin.
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
