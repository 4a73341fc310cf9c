"""What is said of what was never learnt: conditions left out, and pictures that are no photographs of skin."""

import copy
import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np
from PIL import Image, ImageDraw
from sklearn.datasets import load_sample_images

from calcinosis.common.errors import (
    DataError,
    ManifestError,
    PhotoError,
    TrainingError,
    unreadable_photos,
)
from calcinosis.common.options import RunOptions
from calcinosis.data.locating import open_source
from calcinosis.data.manifest import Row, read_manifest
from calcinosis.data.table import Table
from calcinosis.model.finding import DEPOSIT, Finding, Outcome
from calcinosis.model.labels import OTHER
from calcinosis.model.ood import DermoscopyDetector
from calcinosis.model.photo import open_photo
from calcinosis.model.predictor import Predictor
from calcinosis.training.evaluate.dermoscopy import DERMOSCOPY, DermoscopyFit
from calcinosis.training.evaluate.metrics.registry import Sample, share_over_groups
from calcinosis.training.evaluate.metrics.suggestive import called_condition
from calcinosis.training.evaluate.out_of_fold import oof_logits, oof_predictions
from calcinosis.training.evaluate.predictions import Predictions
from calcinosis.training.fit.finetune import disease_of
from calcinosis.training.fit.heads import Floats
from calcinosis.training.fit.prepare import PreparedData
from calcinosis.training.recipe import Recipe

log = logging.getLogger(__name__)

Opener = Callable[[], Image.Image]


@dataclass(frozen=True)
class Picture:
    """Whose a picture is, and what opens it: all of them at once might not fit into memory."""

    group: str
    open: Opener


Pictures = dict[str, dict[str, Picture]]
"""By kind and name."""

ACCEPTED: Final = 0.95
"""Share of the conditions' held-out photos that the score's threshold accepts."""

_SAMPLES: Final = (
    "astronaut", "chelsea", "coffee", "colorwheel", "hubble_deep_field", "immunohistochemistry",
    "retina", "rocket",
)  # fmt: skip
"""Colour pictures that come with scikit-image, where it is installed (the extra `bench`)."""
_UNFAMILIAR: Final = ("out_of_distribution", "dermoscopy")
"""Why a reader refuses a picture by the network's embedding."""
_DRAWN: Final = 20
_SIZE: Final = (480, 360)


def evaluate_ood(
    data: PreparedData,
    logits: Floats,
    checkpoint: Path,
    work: Path,
    pictures: Pictures,
    dermoscopy: DermoscopyFit | None = None,
) -> dict[str, Any]:
    """How much of what is foreign to a recipe is refused.

    The score of a photo is the probability of `other`, and 1 where the photo is unfamiliar. Its threshold
    is the one that accepts `ACCEPTED` of the conditions' held-out photos.

    Args:
        data: the recipe with its photographs.
        logits: (rows, labels), out of fold.
        checkpoint: the folder of what was fitted on every photo; it is asked about the pictures.
        work: folder for what is kept.
        pictures: of one's own, by kind and name; see `read_pictures`.
        dermoscopy: what was fitted on those of that kind: they are asked of detectors that did not see them.

    Returns:
        For each kind of picture the figure of the share refused, which a reader meets as an unusable
        photo or as one out of scope; in it `caught`, the figure of the share that the score tells; and
        `suggestive`, how many are called suggestive of a condition, or of a deposit of one of two; and of pictures
        `retake`, how many are refused by the gate of photo quality. Conditions are judged by the
        prediction set alone, pictures by all that a reader does. Conditions never learnt are not there where no
        other one would be left to learn from, as where all of `other` is one disease.
    """
    learnt = oof_predictions(data, logits)
    kinds = {
        "conditions it had learnt": _of_others(learnt, learnt, np.ones(len(learnt), dtype=bool))
    }
    unseen, alone = _without_conditions(data)
    others = data.labels == len(data.recipe.labels) - 1
    if len(np.unique(unseen.folds[alone & others])) > 1:
        log.info("conditions it had never learnt")
        asked = oof_logits(unseen, work / "never-learnt", alone)
        never = oof_predictions(unseen, asked)
        kinds["conditions it had never learnt"] = _of_others(never, never, alone)
    else:  # what learns without one fold's would know no `other` at all
        log.info("no condition of `other` can be held out whole and leave others to learn from")
    reader = Predictor(checkpoint)
    threshold = _threshold(learnt)
    for kind, own in {**_pictures(), **pictures}.items():
        log.info("%s: %d pictures", kind, len(own))
        readers = [reader] * len(own)
        if kind == DERMOSCOPY and dermoscopy is not None:
            readers = [_with(reader, dermoscopy.of_fold[fold]) for fold in dermoscopy.fold]
        kinds[kind] = _of_pictures(readers, list(own.values()), threshold)
    return kinds


def read_pictures(options: RunOptions, root: Path, recipe: Recipe) -> Pictures:
    """The pictures of one's own to ask about: what `options` calls off-topic, and outside. Each was opened once.

    Raises:
        TrainingError: `bad_list`; `unreadable_photos`, naming those of `outside` that are absent or cannot be read.
        ManifestError, PhotoError: of the list, or if a picture of the off-topic ones is absent or cannot be read.
    """
    pictures: Pictures = {}
    if options.off_topic and (found := read_off_topic(options.off_topic, root)):
        pictures["pictures of other things"] = found
    if options.outside:
        faults = []
        rows = read_manifest(options.outside, labels=recipe.labels)
        for row in rows:
            kind = pictures.setdefault(_kind(row), {})
            try:
                opener = _checked(options.outside.parent, row.file)
                kind[row.file] = Picture(row.group, opener)
            except (ManifestError, PhotoError) as error:
                faults.append(f"{row.file}: {error.message}")
        if faults:
            raise unreadable_photos(faults, len(rows), name=str(options.outside))
    return pictures


def _kind(row: Row) -> str:
    """What a picture from outside counts as: dermoscopy by the name of its kind or source, else its source."""
    if DERMOSCOPY in (row.source_label.casefold(), row.source.casefold()):
        return DERMOSCOPY
    return row.source.replace("_", " ")


def _checked(root: Path, file: str) -> Opener:
    """What opens a picture, which it has done once, so that a faulty one is met before a training."""
    _open(root, file)
    return partial(_open, root, file)


def _open(root: Path, file: str) -> Image.Image:
    return open_photo(open_source(root, file), name=file)


def read_off_topic(path: Path, root: Path) -> dict[str, Picture]:
    """The pictures below a root folder that a CSV of `file` and `reason` calls no clinical photograph.

    Raises:
        TrainingError: `bad_list`.
        ManifestError, PhotoError: if a picture is absent or cannot be read.
    """
    try:
        with Table(path, needs=("file", "reason")) as table:
            files = [
                line["file"]
                for line in table.dicts()
                if line["reason"].startswith("no clinical photograph")
            ]
    except DataError as error:
        raise TrainingError(
            "bad_list",
            f"is no CSV with the columns file and reason: {error.message}",
            name=str(path),
        ) from None
    return {file: Picture(file, _checked(root, file)) for file in files}


def _without_conditions(data: PreparedData) -> tuple[PreparedData, np.ndarray]:
    """The data with folds that hold whole conditions of `other` out, however spelt, and which rows are of one alone.

    A photo whose group shows several conditions is not learnt from: its copy might be held out.
    """
    background = len(data.recipe.labels) - 1
    others = data.labels == background
    names = np.array([disease_of(row) for row in data.rows])
    known = np.unique(names[others])
    shuffled = np.random.default_rng(data.recipe.seed).permutation(known)
    folds = np.unique(data.folds)
    fold_of = {name: int(folds[n % len(folds)]) for n, name in enumerate(shuffled)}
    rows = [
        replace(row, fold=fold_of[name]) if other else row
        for row, name, other in zip(data.rows, names, others, strict=True)
    ]
    names_of: dict[str, set[str]] = {}
    for row, name in zip(data.rows, names, strict=True):
        names_of.setdefault(row.group, set()).add(name)
    alone = np.array([len(names_of[row.group]) == 1 for row in data.rows])
    return replace(data, rows=rows), alone | ~others


def _score(predictions: Predictions) -> Floats:
    """The probability of `other` (n,)."""
    return predictions.probabilities[:, -1]


def _threshold(predictions: Predictions) -> float:
    conditions = predictions.label < len(predictions.labels) - 1
    return float(np.quantile(_score(predictions)[conditions], ACCEPTED))


def _of_others(
    predictions: Predictions, reference: Predictions, counted: np.ndarray
) -> dict[str, Any]:
    """The shares among the photos of `other` of a table."""
    others = counted & (predictions.label == len(predictions.labels) - 1)
    refused = np.array(predictions.outcome)[others] == "out_of_scope"
    caught = _score(predictions)[others] > _threshold(reference)
    named = called_condition(Sample(predictions, np.ones((len(predictions), 1))))[others]
    groups = [predictions.group[n] for n in np.flatnonzero(others)]
    return _shares(refused, caught, named, groups)


def _with(reader: Predictor, detector: DermoscopyDetector) -> Predictor:
    other = copy.copy(reader)
    other.dermoscopy = detector
    return other


def _of_pictures(
    readers: Sequence[Predictor], pictures: Sequence[Picture], threshold: float
) -> dict[str, Any]:
    """The shares among pictures (n,), each asked of its own reader (n,)."""
    outcomes: list[Outcome] = []
    named, caught = [], []
    for reader, picture in zip(readers, pictures, strict=True):
        photo = picture.open()
        finding = reader.read(photo)
        outcomes.append(finding.outcome)
        named.append(finding.outcome == "suggestive" or set(finding.prediction_set) == DEPOSIT)
        caught.append(_is_caught(finding, reader, photo, threshold))
    refused = np.isin(outcomes, ["retake", "out_of_scope"])
    groups = [picture.group for picture in pictures]
    shares = _shares(refused, np.array(caught), np.array(named), groups)
    return shares | {"retake": outcomes.count("retake")}


def _is_caught(finding: Finding, reader: Predictor, picture: Image.Image, threshold: float) -> bool:
    """Whether the score, without the gate of photo quality, tells a picture, of which a reader made a finding."""
    if finding.problem in _UNFAMILIAR:
        return True
    if finding.outcome != "retake":
        return finding.probabilities[OTHER] > threshold
    config = reader.config  # the network was not asked
    answer = reader.backend.forward_with_cam(config.preprocessing.array(picture)[None])
    logits = answer.logits.astype(np.float64)
    score = config.calibration.probabilities(logits, config.prior)[0, -1]
    return bool(reader.find_ood_issue(answer.embedding) or score > threshold)


def _shares(
    refused: np.ndarray, caught: np.ndarray, named: np.ndarray, groups: Sequence[str]
) -> dict[str, Any]:
    return {
        **share_over_groups(refused, groups),
        "caught": share_over_groups(caught, groups),
        "suggestive": int(named.sum()),
    }


def _pictures() -> Pictures:
    """Pictures that need no photographs of one's own, by kind and name."""
    kinds: dict[str, dict[str, Opener]] = {
        "natural photographs": dict(_natural()),
        "drawn pages of text": {f"{n}": partial(_page, n) for n in range(_DRAWN)},
        "noise": {f"{n}": partial(_noise, n) for n in range(_DRAWN)},
    }
    return {
        kind: {name: Picture(name, opener) for name, opener in openers.items()}
        for kind, openers in kinds.items()
    }


def _natural() -> Iterator[tuple[str, Opener]]:
    for name, pixels in zip(("china", "flower"), load_sample_images().images, strict=True):
        yield name, partial(Image.fromarray, pixels)
    try:
        from skimage import data
    except ImportError:
        return
    for name in _SAMPLES:
        yield name, Image.fromarray(getattr(data, name)()).convert("RGB").copy


def _noise(seed: int) -> Image.Image:
    random = np.random.default_rng(seed)
    grey = 127 + random.integers(-15, 15)
    pixels = grey + random.normal(0, 70, (_SIZE[1], _SIZE[0], 3))
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))


def _page(seed: int) -> Image.Image:
    random = np.random.default_rng(seed)
    paper = tuple(int(part) for part in random.integers(150, 246, 3))
    page = Image.new("RGB", _SIZE, paper)
    pen = ImageDraw.Draw(page)
    for line in range(12):
        words = " ".join("x" * int(length) for length in random.integers(2, 9, 9))
        pen.text((20, 15 + 28 * line), words, fill=(30, 30, 40), font_size=18)
    return page
