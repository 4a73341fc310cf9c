"""Reading a photo: from a picture to a finding."""

import copy
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from calcinosis.common.cpu import available_cores, map_in_order, side_by_side
from calcinosis.common.errors import PhotoError
from calcinosis.model.calibration import check_prior
from calcinosis.model.config import SHIPPED
from calcinosis.model.context import prior_given
from calcinosis.model.decision import danger_sentence, decide, prior_sentence, retake_finding
from calcinosis.model.engine import Floats, Output, open_backend
from calcinosis.model.finding import Finding, HeatMap, coverage_of
from calcinosis.model.labels import conditions
from calcinosis.model.photo import NO_END_MARK, as_photo, open_photo
from calcinosis.model.quality import QualityIssue, find_quality_issue
from calcinosis.model.words import words

if TYPE_CHECKING:  # PyTorch is loaded where it is the backend, and nowhere else
    from calcinosis.model.network import Network


class Predictor:
    """A checkpoint, ready to read photos.

    Args:
        checkpoint: folder of the checkpoint, or a file that `calcinosis export` wrote; the shipped one
            unless given.
        prior: the chances of each label that probabilities shall assume; the checkpoint's unless given.
        context: instead of a prior, names of what is known before looking (`model/context.toml`).
        language: of the finding's words.
        threads: how many of them the network may use for one photo; as many as there are cores unless
            given. Where several photos are read at once, one thread each is quicker.
        skip_ood_check: read what is unlike the photos that the network learnt from as well: drawings.

    Raises:
        CheckpointError: if the checkpoint cannot be loaded.
        ValueError: if the prior, the context, the language or the number of threads is not usable.

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
        context: Sequence[str] = (),
        language: str = "en",
        threads: int | None = None,
        skip_ood_check: bool = False,
    ) -> None:
        if threads is not None and threads < 1:
            raise ValueError(
                f"threads={threads}: give 1 or more, or nothing for as many as there are cores"
            )
        self.checkpoint = checkpoint
        self.backend, self.config = open_backend(checkpoint, threads=threads)
        self.ood = None if skip_ood_check else self.config.ood
        self.dermoscopy = None if skip_ood_check else self.config.dermoscopy
        if prior is not None and context:
            raise ValueError("give a prior or a context, not both")
        chances = prior_given(
            context, self.config.prior if prior is None else prior, self.config.labels
        )
        self.prior = check_prior(chances, len(self.config.labels))
        self.context = tuple(context)
        words(language)  # says now, and not with the first photo, that there are none
        self.language = language
        self._beside = (threads or available_cores()) > 1

    @cached_property
    def network(self) -> "Network":
        """The network in PyTorch, for what no finding says; loaded when first asked for.

        Raises:
            CheckpointError: if the checkpoint is an exported file.
        """
        from calcinosis.model.checkpoint import load_checkpoint

        return load_checkpoint(self.checkpoint)[0]

    def in_language(self, language: str) -> "Predictor":
        """The same predictor, sharing its backend, whose findings are in another language."""
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

        A predictor with one thread is the quickest here: each worker then keeps a core of its own.
        """
        return map_in_order(self._read_or_error, photos, workers=workers)

    def _read_or_error(self, photo: Image.Image | str | Path | bytes) -> Finding | PhotoError:
        try:
            return self.read(photo)
        except PhotoError as error:
            return error

    def logits(self, photo: Image.Image | str | Path | bytes) -> Floats:
        """What the network alone gives for a photo (labels,), whatever the gates would say.

        Raises:
            PhotoError: if the file cannot be read as a photo.
        """
        picture = as_photo(photo) if isinstance(photo, Image.Image) else open_photo(photo)
        inputs = self.config.preprocessing.array(picture)[None]
        logits: Floats = self.backend.forward_with_cam(inputs).logits[0]
        return logits

    def predict_group(self, photos: Sequence[Image.Image | str | Path | bytes]) -> Finding:
        """One finding for several photos of one lesion.

        The network runs on each usable photo; the mean of its logits is calibrated and decided on as if it
        were one photo's. No photo outweighs another, and none is read twice.

        Raises:
            PhotoError: if a file cannot be read as a photo.
            ValueError: if there is no photo.
        """
        if not photos:
            raise ValueError("at least one photo is needed")
        config = self.config
        prior = self._prior_of_labels()
        pictures = [as_photo(p) if isinstance(p, Image.Image) else open_photo(p) for p in photos]
        issues: dict[int, QualityIssue] = {}
        outputs: dict[int, Output] = {}
        for n, picture in enumerate(pictures, 1):
            output = self._output(picture)
            if isinstance(output, QualityIssue):
                issues[n] = output
            else:
                outputs[n] = output
        if not outputs:
            retake = retake_finding(
                issues[1],
                prior=prior,
                checkpoint=config.name,
                refused=issues,
                language=self.language,
            )
            return self._noted(retake, pictures)
        logits = np.mean([output.logits for output in outputs.values()], axis=0)
        probabilities = config.calibration.probabilities(logits, self.prior)[0]
        members = config.conformal.prediction_sets(config.calibration.probabilities(logits))[0]
        finding = decide(
            dict(zip(config.labels, probabilities.tolist(), strict=True)),
            [label for label, member in zip(config.labels, members, strict=True) if member],
            prior=prior,
            coverage=coverage_of(config.conformal, config.labels),
            checkpoint=config.name,
            frequencies=config.frequencies,
            heat_maps=[
                self._heat_map(picture, probabilities, outputs[n].cam[0]) if n in outputs else None
                for n, picture in enumerate(pictures, 1)
            ],
            left_out=issues,
            language=self.language,
        )
        return self._noted(finding, pictures)

    def remarks(self) -> tuple[str, ...]:
        """What holds for every photo alike: what is assumed, what else a lump can be, when to see a clinician soon."""
        say = words(self.language)
        remarks = (
            prior_sentence(say, self._prior_of_labels()),
            say("reasons.context") if self.context else "",
            danger_sentence(say, self.config.labels, self.config.frequencies),
            say("deferral.red_flags"),
        )
        return tuple(remark for remark in remarks if remark)

    def _prior_of_labels(self) -> dict[str, float]:
        return dict(zip(self.config.labels, self.prior.tolist(), strict=True))

    def _noted(self, finding: Finding, pictures: Sequence[Image.Image]) -> Finding:
        """The finding with a note where its prior is a rough one, or where a file lacks its end mark."""
        say, notes = words(self.language), []
        if self.context:
            notes.append(say("reasons.context"))
        if any(picture.info.get(NO_END_MARK) for picture in pictures):
            notes.append(say("reasons.no_end_mark"))
        return replace(finding, reasons=(*finding.reasons, *notes)) if notes else finding

    def _output(self, picture: Image.Image) -> Output | QualityIssue:
        """What the network predicts for a photo, or why that would mean nothing."""
        if self._beside:  # both let go of the interpreter's lock where they compute
            issue, inputs = side_by_side(
                lambda: find_quality_issue(picture),
                lambda: self.config.preprocessing.array(picture),
            )
        elif not (issue := find_quality_issue(picture)):
            inputs = self.config.preprocessing.array(picture)
        if issue:
            return issue
        output = self.backend.forward_with_cam(inputs[None])
        return self.find_ood_issue(output.embedding) or output

    def find_ood_issue(self, embedding: Floats) -> QualityIssue | None:
        """Why a photo with this embedding (1, channels) is unlike those learnt from, or None."""
        if self.ood and not self.ood.in_distribution(embedding)[0]:
            return QualityIssue("out_of_distribution", {})
        if self.dermoscopy and self.dermoscopy.scores(embedding)[0] > 0:
            return QualityIssue("dermoscopy", {})
        return None

    def _heat_map(self, photo: Image.Image, probabilities: np.ndarray, cam: Floats) -> HeatMap:
        """The class activation map of the most probable condition, beyond the mean over all labels."""
        labels = self.config.labels
        label = max(conditions(labels), key=lambda name: probabilities[labels.index(name)])
        excess = np.maximum(cam[labels.index(label)] - cam.mean(axis=0), 0)
        return HeatMap(
            label=label,
            cam=excess / np.maximum(excess.max(), np.float32(1e-12)),
            box=self.config.preprocessing.box(*photo.size),
        )
