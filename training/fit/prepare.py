"""A recipe with the photographs it is applied to, and how what is said of them is read out."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from calcinosis.common.files import atomic_write
from calcinosis.data.manifest import Row, check_files
from calcinosis.data.splits import assign_folds, check_folds
from calcinosis.model.backbones import Backbone, build_backbone
from calcinosis.model.network import Network
from calcinosis.model.preprocessing import Preprocessing
from calcinosis.training.fit.device import Device
from calcinosis.training.fit.features import FeatureMaps, Views, compute_feature_maps
from calcinosis.training.fit.finetune import (
    Integers,
    Report,
    Targets,
    TrainingSet,
    compute_features,
    make_targets,
)
from calcinosis.training.fit.teacher import embed_photos, embed_pictures
from calcinosis.training.fit.watermark_augment import WAYS, changed_feature_maps, photos_to_change
from calcinosis.training.recipe import Recipe
from calcinosis.training.robustness.skin_tone_estimates import estimate_skin_tones
from calcinosis.training.robustness.watermark import kept_watermark
from numpy.typing import NDArray
from safetensors.numpy import load_file, save

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Changed:
    """Photos with the mark of their source hidden, or with one pasted.

    Attributes:
        numbers: (m,) of the photos.
        activations: what the frozen part of the start network makes of what they become.
        features: (m, width) that the heads read of it under the start network.
    """

    numbers: Integers
    activations: FeatureMaps
    features: NDArray[np.float32]


@dataclass(frozen=True)
class PreparedData:
    """A recipe with the photographs it is applied to, read once for all folds.

    Attributes:
        rows: the photos, each with its fold.
        start: the network before any fit.
        activations: what the frozen part of it makes of the plain view of each photo, and of augmented
            ones where the top learns to name the labels.
        features: (rows, width) that the heads read of the plain views under the start network.
        taught: (rows, d) the teacher's embeddings of the plain views, where a head asks for them.
        changed: the photos that the heads learn a second time, with the mark hidden or pasted; none
            unless the recipe asks for it.
        lessons: what a top that is trained learns from.
        hardware: what it is computed on.
    """

    recipe: Recipe
    rows: list[Row]
    backbone: Backbone
    preprocessing: Preprocessing
    start: Network
    activations: FeatureMaps
    targets: Targets
    features: NDArray[np.float32]
    taught: NDArray[np.float32] | None
    changed: tuple[Changed, ...]
    lessons: TrainingSet
    hardware: Device

    @property
    def folds(self) -> Integers:
        """(rows,) the fold that holds each photo out."""
        return np.array([row.fold for row in self.rows], dtype=np.int64)


def prepare(
    rows: Sequence[Row],
    root: Path,
    recipe: Recipe,
    cache: Path,
    report: Report,
    hardware: Device | None = None,
) -> PreparedData:
    """Assign folds and estimate skin tones where the manifest has none, and read every photograph.

    Raises:
        ManifestError, PhotoError, BackboneError: naming the file and the cure.
    """
    hardware = hardware or Device()
    folded = list(rows) if all(row.fold is not None for row in rows) else assign_folds(rows)
    check_folds(folded)
    check_files(folded, root)
    taught = None
    if recipe.asks_teacher:  # before all else that takes long: it may not be installed
        report("asking the teacher")
        with hardware.main_process_first():
            taught = embed_photos(folded, root, cache)
    with hardware.main_process_first():
        folded = estimate_skin_tones(folded, root, cache / "skin_tones.json")
    torch.manual_seed(recipe.seed)
    backbone = build_backbone(recipe.backbone, pretrained=recipe.pretrained)
    preprocessing = backbone.preprocessing
    if recipe.input_size:
        preprocessing = preprocessing.model_copy(update={"size": recipe.input_size})
    start = Network(
        backbone,
        len(recipe.labels),
        frozen_stages=recipe.frozen_stages,
        multi_scale=recipe.multi_scale,
        flip_tta=recipe.flip_tta,
    )
    activations = compute_feature_maps(
        folded,
        root,
        start,
        preprocessing,
        recipe,
        cache,
        hardware,
        augmented=recipe.method == "finetune",
    )
    report(f"{len(folded)} photographs read")
    features = compute_features(start, activations, np.arange(len(folded)), hardware)
    changed: tuple[Changed, ...] = ()
    if recipe.watermark_augmentation:
        report("reading the photographs with the mark of their source hidden or pasted")
        changed = _change_marks(folded, root, cache, start, preprocessing, hardware)
    lessons = TrainingSet(activations, make_targets(folded, recipe))
    if recipe.method == "distil" and taught is not None:
        report("reading augmented views, and asking the teacher about them")
        lessons = _taught_lessons(
            folded, root, recipe, backbone, preprocessing, taught, cache, hardware
        )
        lessons = _with_plain_ones(lessons, activations, changed, start)
    return PreparedData(
        recipe=recipe,
        rows=folded,
        backbone=backbone,
        preprocessing=preprocessing,
        start=start,
        activations=activations,
        targets=lessons.targets,
        features=features,
        taught=taught,
        changed=changed,
        lessons=lessons,
        hardware=hardware,
    )


def _taught_lessons(
    rows: Sequence[Row],
    root: Path,
    recipe: Recipe,
    backbone: Backbone,
    preprocessing: Preprocessing,
    taught: NDArray[np.float32],
    cache: Path,
    hardware: Device,
) -> TrainingSet:
    """The augmented views of rows, each with what the teacher says of just this view.

    Args:
        taught: (rows, d) the teacher's embeddings of the plain views.
    """
    # One view at a time: half of the augmented ones are mirrored already.
    single = Network(backbone, len(recipe.labels), frozen_stages=recipe.frozen_stages)
    activations = compute_feature_maps(
        rows, root, single, preprocessing, recipe, cache, hardware, augmented=True
    )
    views = Views(rows, root, np.diff(activations.starts).tolist(), preprocessing, recipe)
    plain = activations.starts[:-1]
    augmented = np.setdiff1d(np.arange(len(views)), plain)
    embeddings = np.zeros((len(views), taught.shape[1]), np.float32)
    embeddings[plain] = taught
    with hardware.main_process_first():
        embeddings[augmented] = embed_pictures(
            lambda n: views.picture(int(augmented[n])), len(augmented), [views.name()], cache
        )
    return TrainingSet(activations, make_targets(rows, recipe), embeddings)


def _with_plain_ones(
    lessons: TrainingSet, plain: FeatureMaps, changed: Sequence[Changed], start: Network
) -> TrainingSet:
    """TrainingSet with all that photos are judged by: the mirror image, and the views with changed marks.

    What the teacher says of these is what it says of the plain view, so that neither is to matter.

    Args:
        lessons: each row's plain view and its augmented ones.
        plain: what the start network's trunk makes of the plain views.
        changed: what it makes of those with changed marks.
        start: the start network.
    """
    if lessons.taught is None:
        return lessons
    rows = len(plain.starts) - 1
    halves = 2 if start.flip_tta else 1
    added = [(np.arange(rows), half) for half in np.split(plain.values, halves, axis=1)[1:]]
    for one in changed:
        added += [(one.numbers, half) for half in np.split(one.activations.values, halves, axis=1)]
    known = lessons.activations
    counts = np.diff(known.starts)
    # A row's plain view stays the first, the augmented ones the last.
    owner = np.concatenate([np.repeat(np.arange(rows), counts), *(n for n, _ in added)])
    augmented = np.ones(len(owner), dtype=bool)
    augmented[known.starts[:-1]] = augmented[len(known.values) :] = False
    places = np.argsort(np.lexsort((np.arange(len(owner)), augmented, owner)))
    taught_plain = lessons.taught[known.starts[:-1]]
    values = np.empty((len(places), *known.values.shape[1:]), known.values.dtype)
    taught = np.empty((len(places), taught_plain.shape[1]), taught_plain.dtype)
    done = 0
    # One after another into its place: all of them side by side would take a gigabyte more.
    for views, said in [
        (known.values, lessons.taught),
        *((half, taught_plain[numbers]) for numbers, half in added),
    ]:
        own = places[done : done + len(views)]
        values[own], taught[own] = views, said
        done += len(views)
    return replace(
        lessons,
        activations=FeatureMaps(
            np.concatenate([[0], np.cumsum(np.bincount(owner, minlength=rows))]),
            values,
            np.bincount(owner[~augmented], minlength=rows),
        ),
        taught=taught,
    )


def _change_marks(
    rows: Sequence[Row],
    root: Path,
    cache: Path,
    start: Network,
    preprocessing: Preprocessing,
    hardware: Device,
) -> tuple[Changed, ...]:
    """The photos that can be changed, for each way to change them."""
    with hardware.main_process_first():
        watermark = kept_watermark(rows, root, cache)
    if isinstance(watermark, str):  # in words, why there is none
        return ()
    changed = []
    for way in WAYS:
        found = photos_to_change(len(rows), watermark, way)
        if len(found):
            activations = changed_feature_maps(
                rows, root, cache, watermark, way, found, start, preprocessing, hardware
            )
            features = compute_features(start, activations, np.arange(len(found)), hardware)
            changed.append(Changed(found, activations, features))
    return tuple(changed)


def kept_logits(path: Path, ask: Callable[[], Floats], hardware: Device, *, resume: bool) -> Floats:
    """Logits from a file of a run that goes on; asked for, and kept there, where there is none."""
    known = resume and path.exists()
    hardware.wait()  # before any process writes the file that the others look for
    if not known:
        logits = ask()
        if hardware.writes:
            atomic_write(path, save({"logits": logits}))
    hardware.wait()
    return load_file(path)["logits"]
