"""What a backbone makes of photos, for telling how alike they are."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from model.checkpoint import SHIPPED, load_checkpoint


class Embedder:
    """A checkpoint's backbone: its start weights where the checkpoint keeps them.

    Those know pictures of every kind, while fine-tuned ones tell apart what they were tuned for.

    Args:
        checkpoint: folder of the checkpoint; the shipped one unless given.

    Raises:
        CheckpointError: if the checkpoint cannot be loaded.

    Examples:
        >>> Embedder()([photo, mirrored]).shape  # doctest: +SKIP
        (2, 1408)
    """

    def __init__(self, checkpoint: Path = SHIPPED) -> None:
        network, config = load_checkpoint(checkpoint)
        self._network = network.to(memory_format=torch.channels_last)
        self._preprocessing = config.preprocessing
        # Half the time where the processor computes in bfloat16, and longer where it only pretends to.
        capabilities: dict[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()
        self._bf16 = bool(capabilities.get("avx512_bf16", False))

    def __call__(self, photos: Sequence[Image.Image]) -> np.ndarray:
        """Embeddings (n, channels), float32, of n upright RGB photos."""
        inputs = torch.stack([self._preprocessing(photo) for photo in photos])
        network = self._network
        with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=self._bf16):
            shared = network.trunk(inputs.to(memory_format=torch.channels_last))
            feature_map = (network.kept if network.kept is not None else network.top)(shared)
            embeddings: np.ndarray = network.features(feature_map.float()).float().numpy()
        return embeddings
