"""Reading a photo: from a picture to a finding."""

import copy
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from calcinosis.common.errors import PhotoError
from calcinosis.model.calibration import check_prior
from calcinosis.model.config import SHIPPED
from calcinosis.model.engine import Floats, Output, open_backend
from calcinosis.model.finding import Finding, HeatMap, decide, retake_finding
from calcinosis.model.labels import conditions
from calcinosis.model.photo import as_photo, open_photo
from calcinosis.model.quality import QualityIssue, find_quality_issue
from calcinosis.model.words import words
from PIL import Image

if TYPE_CHECKING:  # PyTorch is loaded where it answers, and nowhere else
    from calcinosis.model.network import Network


class Predictor:
    """A checkpoint that can be asked about photos.

    Args:
        checkpoint: folder of the checkpoint, or a file that `calcinosis export` wrote; the shipped one
            unless given.
        prior: the chances of each label that probabilities shall assume; the checkpoint's unless given.
        language: of the finding's words.
        threads: how many of them the network may use for one photo; as many as there are cores unless
            given. Where several photos are read at once, one thread each is quicker.
        skip_ood_check: read what is unlike all photos that the network learnt from as well: drawings.

    Raises:
        CheckpointError: if the checkpoint cannot be loaded.
        ValueError: if the prior or the language is not usable.

    Examples:
        >>> finding = Predictor().read("bump.jpg")  # doctest: +SKIP
        >>> finding.outcome, finding.prediction_set  # doctest: +SKIP
        ('uncertain', ('calcinosis_cutis', 'milium'))
    """

    def __init__(
        self,
        checkpoint: Path = SHIPPED,
        *,
        prior: Sequence[float] | None = None,
        language: str = "en",
        threads: int | None = None,
        skip_ood_check: bool = False,
    ) -> None:
        self.checkpoint = checkpoint
        self.engine, self.config = open_backend(checkpoint, threads=threads)
        self.ood = None if skip_ood_check else self.config.ood
        self.prior = check_prior(
            self.config.prior if prior is None else prior, len(self.config.labels)
        )
        words(language)  # says now, and not with the first photo, that there are none
        self.language = language

    @cached_property
    def network(self) -> "Network":
        """The network in PyTorch, for what no finding says; loaded when first asked for.

        Raises:
            CheckpointError: if the checkpoint is an exported file.
        """
        from calcinosis.model.checkpoint import load_checkpoint

        return load_checkpoint(self.checkpoint)[0]

    def in_language(self, language: str) -> "Predictor":
        """The same reader, sharing its engine, whose findings are in another language."""
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
        return self.predict_group([photo])

    def read_each(
        self, photos: Iterable[Image.Image | str | Path | bytes], *, workers: int
    ) -> Iterator[Finding | PhotoError]:
        """The finding for each photo, or why it has none, in their order; as many at once as `workers`.

        A reader with one thread is the quickest here: each worker then keeps a core of its own.
        """
        with ThreadPoolExecutor(workers) as pool:
            waiting: deque[Future[Finding | PhotoError]] = deque()
            for photo in photos:
                waiting.append(pool.submit(self._read_or_say_why, photo))
                if len(waiting) > 2 * workers:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()

    def _read_or_say_why(self, photo: Image.Image | str | Path | bytes) -> Finding | PhotoError:
        try:
            return self.read(photo)
        except PhotoError as error:
            return error

    def predict_group(self, photos: Sequence[Image.Image | str | Path | bytes]) -> Finding:
        """One finding for several photos of one lesion.

        The network is asked about each usable photo; the mean of its logits is calibrated and decided on
        as if it were one photo's. No photo outweighs another, and none is read twice.

        Raises:
            PhotoError: if a file cannot be read as a photo.
            ValueError: if there is no photo.
        """
        if not photos:
            raise ValueError("at least one photo is needed")
        config = self.config
        prior = dict(zip(config.labels, self.prior.tolist(), strict=True))
        pictures = [as_photo(p) if isinstance(p, Image.Image) else open_photo(p) for p in photos]
        problems: dict[int, QualityIssue] = {}
        outputs: dict[int, Output] = {}
        for n, picture in enumerate(pictures, 1):
            looked_at = self._look_at(picture)
            if isinstance(looked_at, QualityIssue):
                problems[n] = looked_at
            else:
                outputs[n] = looked_at
        if not outputs:
            return retake_finding(
                problems[1], prior=prior, checkpoint=config.name, language=self.language
            )
        logits = np.mean([output.logits for output in outputs.values()], axis=0)
        probabilities = config.calibration.probabilities(logits, self.prior)[0]
        members = config.conformal.prediction_sets(config.calibration.probabilities(logits))[0]
        return decide(
            dict(zip(config.labels, probabilities.tolist(), strict=True)),
            [label for label, member in zip(config.labels, members, strict=True) if member],
            prior=prior,
            coverage=config.conformal.coverage,
            checkpoint=config.name,
            heat_maps=[
                self._heat_map(picture, probabilities, outputs[n].evidence[0])
                if n in outputs
                else None
                for n, picture in enumerate(pictures, 1)
            ],
            left_out=problems,
            language=self.language,
        )

    def _look_at(self, picture: Image.Image) -> Output | QualityIssue:
        """What the network says of a photo, or why that would mean nothing."""
        if problem := find_quality_issue(picture):
            return problem
        answer = self._ask(picture)
        if self.ood and not self.ood.in_distribution(answer.embedding)[0]:
            return QualityIssue("out_of_distribution", {})
        return answer

    def _ask(self, picture: Image.Image) -> Output:
        return self.engine.forward_with_cam(self.config.preprocessing.array(picture)[None])

    def _heat_map(self, photo: Image.Image, probabilities: np.ndarray, evidence: Floats) -> HeatMap:
        """Evidence for the most probable condition, beyond the mean over all labels."""
        labels = self.config.labels
        label = max(conditions(labels), key=lambda name: probabilities[labels.index(name)])
        excess = np.maximum(evidence[labels.index(label)] - evidence.mean(axis=0), 0)
        return HeatMap(
            label=label,
            evidence=excess / np.maximum(excess.max(), np.float32(1e-12)),
            box=self.config.preprocessing.box(*photo.size),
        )
