"""Embeddings: what a backbone makes of photos, for telling how alike they are."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from calcinosis.model.config import SHIPPED
from calcinosis.model.engine import open_backend


class Embedder:
    """A checkpoint's backbone, without its head.

    Args:
        checkpoint: folder of the checkpoint, or an exported file; the shipped one unless given.

    Raises:
        CheckpointError: if the checkpoint cannot be loaded.

    Examples:
        >>> Embedder()([photo, mirrored]).shape  # doctest: +SKIP
        (2, 1408)
    """

    def __init__(self, checkpoint: Path = SHIPPED) -> None:
        self._backend, config = open_backend(checkpoint)
        self._preprocessing = config.preprocessing

    def __call__(self, photos: Sequence[Image.Image]) -> np.ndarray:
        """Embeddings (n, channels), float32, of n upright RGB photos."""
        inputs = np.stack([self._preprocessing.array(photo) for photo in photos])
        return self._backend.forward_with_cam(inputs).embedding
