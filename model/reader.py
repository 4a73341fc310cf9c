"""Reading a photo: from a picture to a finding."""

import copy
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from model.calibration import check_prior
from model.checkpoint import SHIPPED, load_checkpoint
from model.finding import Finding, HeatMap, ask_for_another, decide
from model.labels import conditions
from model.photo import as_photo, open_photo
from model.quality import find_problem
from model.words import words


class Reader:
    """A checkpoint that can be asked about photos.

    Args:
        checkpoint: folder of the checkpoint; the shipped one unless given.
        prior: the chances of each label that probabilities shall assume; the checkpoint's unless given.
        language: of the finding's words.

    Raises:
        CheckpointError: if the checkpoint cannot be loaded.
        ValueError: if the prior or the language is not usable.

    Example:
        >>> finding = Reader().read("bump.jpg")  # doctest: +SKIP
        >>> finding.outcome, finding.prediction_set  # doctest: +SKIP
        ('uncertain', ('calcinosis_cutis', 'milium'))
    """

    def __init__(
        self,
        checkpoint: Path = SHIPPED,
        *,
        prior: Sequence[float] | None = None,
        language: str = "en",
    ) -> None:
        self.network, self.config = load_checkpoint(checkpoint)
        self.prior = check_prior(
            self.config.prior if prior is None else prior, len(self.config.labels)
        )
        self.language = language

    def in_language(self, language: str) -> "Reader":
        """The same reader, sharing its network, whose findings are in another language."""
        words(language)
        other = copy.copy(self)
        other.language = language
        return other

    def read(self, photo: Image.Image | str | Path | bytes) -> Finding:
        """The finding for a photo.

        Args:
            photo: a path, the bytes of a file, or a picture that Pillow opened, from `open_photo` or not.

        Raises:
            PhotoError: if the file cannot be read as a photo.
        """
        picture = as_photo(photo) if isinstance(photo, Image.Image) else open_photo(photo)
        config = self.config
        prior = dict(zip(config.labels, self.prior.tolist(), strict=True))
        if problem := find_problem(picture):
            return ask_for_another(
                problem, prior=prior, checkpoint=config.name, language=self.language
            )
        with torch.inference_mode():
            output = self.network.explain(config.preprocessing(picture)[None])
        logits = output.logits.numpy()
        probabilities = config.calibration.probabilities(logits, self.prior)[0]
        members = config.conformal.prediction_sets(config.calibration.probabilities(logits))[0]
        return decide(
            dict(zip(config.labels, probabilities.tolist(), strict=True)),
            [label for label, member in zip(config.labels, members, strict=True) if member],
            prior=prior,
            coverage=config.conformal.coverage,
            checkpoint=config.name,
            heat_map=self._heat_map(picture, probabilities, output.evidence[0]),
            language=self.language,
        )

    def _heat_map(
        self, photo: Image.Image, probabilities: np.ndarray, evidence: torch.Tensor
    ) -> HeatMap:
        """Evidence for the most probable condition, beyond the mean over all labels."""
        labels = self.config.labels
        label = max(conditions(labels), key=lambda name: probabilities[labels.index(name)])
        excess = (evidence[labels.index(label)] - evidence.mean(dim=0)).clamp_min(0)
        scaled = excess / excess.max().clamp_min(1e-12)
        return HeatMap(
            label=label,
            evidence=scaled.numpy().astype(np.float32),
            box=self.config.preprocessing.box(*photo.size),
        )
