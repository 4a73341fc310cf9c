"""The detector of dermoscopy: what it learns, what judges it, and that no lesion is on both sides."""

import numpy as np
import pytest

from calcinosis.common.errors import TrainingError
from calcinosis.training.evaluate.bootstrap import wilson_interval
from calcinosis.training.evaluate.dermoscopy import CLINICAL, fit_dermoscopy
from calcinosis.training.evaluate.metrics.registry import share_over_groups

PHOTOS, PICTURES, CHANNELS = 1000, 30, 12
FOLDS = np.arange(PHOTOS) % 5


def embeddings(count: int, seed: int, along: int, by: float) -> np.ndarray:
    """Random ones, those of a kind shifted along an axis."""
    drawn = np.random.default_rng(seed).normal(size=(count, CHANNELS))
    drawn[:, along] += by
    return drawn


def test_what_stands_apart_is_caught_and_the_share_asked_for_passes() -> None:
    photos, pictures = embeddings(PHOTOS, 0, 0, 0), embeddings(PICTURES, 1, 0, 12)
    fitted = fit_dermoscopy(photos, FOLDS, pictures, [f"{n}" for n in range(PICTURES)])
    assert fitted.caught.all()
    assert (~fitted.refused).mean() == pytest.approx(CLINICAL, abs=3e-3)  # two standard errors
    assert (fitted.detector.scores(pictures) > 0).all()
    assert (fitted.detector.scores(7 * photos) > 0).mean() < 0.01  # lengths say nothing
    conditions = fitted.refused & (np.arange(PHOTOS) % 2 == 0)
    groups = [f"{n % 200}" for n in range(PHOTOS)]
    figures = fitted.metrics(conditions, groups)
    assert figures["caught"]["value"] == 1
    assert figures["photos_refused"]["n"] == PHOTOS
    assert figures["conditions_refused"] == conditions.sum()


def test_shares_are_over_patients_and_not_over_photographs() -> None:
    hit = np.arange(120) % 12 == 0
    alone, few = (share_over_groups(hit, [f"{n // size}" for n in range(120)]) for size in (1, 12))
    assert alone["value"] == few["value"] == hit.mean()
    assert (alone["low"], alone["high"]) == wilson_interval(10, 120)
    same = share_over_groups(np.repeat(hit[:12], 10), [f"{n // 10}" for n in range(120)])
    assert same["n"] == 120
    assert same["high"] - same["low"] > 2 * (alone["high"] - alone["low"])
    assert same["interval"] == "wilson"  # one of twelve is hit
    handful = share_over_groups(hit, [f"{n // 30}" for n in range(120)])
    assert handful["interval"] == "wilson"
    assert (handful["low"], handful["high"]) == wilson_interval(4 / 12, 4)


@pytest.mark.parametrize("hits", [0, 1, 9, 111, 120])
def test_one_sibling_more_hardly_moves_an_interval(hits: int) -> None:
    """Resampling would say 0 to 0.025 of one in 120."""
    hit, names = np.arange(120) < hits, [f"{n}" for n in range(120)]
    alone, sibling = share_over_groups(hit, names), share_over_groups(hit, [*names[:-1], names[-2]])
    assert alone["value"] == sibling["value"]
    for bound in ("low", "high"):
        assert sibling[bound] == pytest.approx(alone[bound], abs=1e-3)
    assert sibling["high"] - sibling["low"] >= alone["high"] - alone["low"]


def test_a_share_with_ten_patients_on_either_side_is_resampled() -> None:
    groups = [f"{n // 2}" for n in range(120)]
    for hits, way in ((18, "wilson"), (19, None), (101, None), (102, "wilson")):
        figure = share_over_groups(np.arange(120) < hits, groups)
        assert figure.get("interval") == way
        assert figure["low"] < hits / 120 < figure["high"]


def test_the_share_of_photographs_refused_is_measured_and_not_set() -> None:
    """Those of one fold are nearer to dermoscopy than all that its threshold was set on."""
    photos, pictures = embeddings(PHOTOS, 0, 0, 0), embeddings(PICTURES, 1, 0, 12)
    photos[FOLDS == 0, 0] += 6
    fitted = fit_dermoscopy(photos, FOLDS, pictures, [f"{n}" for n in range(PICTURES)])
    assert fitted.refused[FOLDS == 0].mean() > 0.5
    assert fitted.refused[FOLDS != 0].mean() < 0.01
    every = fitted.detector.scores(photos) > 0
    assert every.mean() == pytest.approx(1 - CLINICAL, abs=0.01)  # that one is set on all


def test_what_looks_alike_is_not_caught() -> None:
    photos, pictures = embeddings(PHOTOS, 0, 0, 0), embeddings(PICTURES, 1, 0, 0)
    fitted = fit_dermoscopy(photos, FOLDS, pictures, [f"{n}" for n in range(PICTURES)])
    assert fitted.caught.mean() < 0.2


def test_a_picture_is_judged_by_a_detector_that_saw_none_of_its_lesion() -> None:
    """Each lesion lies where nothing else does, so that only one who saw it knows it."""
    lesions = np.repeat(np.arange(10), 3)
    pictures = 0.01 * embeddings(PICTURES, 1, 0, 0)
    pictures[np.arange(PICTURES), 2 + lesions] += 40
    photos = embeddings(PHOTOS, 0, 0, 40)
    fitted = fit_dermoscopy(photos, FOLDS, pictures, [f"{n}" for n in lesions])
    for lesion in range(10):
        assert len(set(fitted.fold[lesions == lesion])) == 1
    for number, detector in enumerate(fitted.of_fold):
        own = fitted.fold == number
        assert own.any()
        assert (detector.scores(pictures[own]) > 0).tolist() == fitted.caught[own].tolist()


def test_fewer_lesions_than_folds_are_refused() -> None:
    photos, pictures = embeddings(PHOTOS, 0, 0, 0), embeddings(PICTURES, 1, 0, 12)
    with pytest.raises(
        TrainingError, match=r"4 groups .* in 5 folds.* .and their source"
    ) as caught:
        fit_dermoscopy(photos, FOLDS, pictures, [f"{n % 4}" for n in range(PICTURES)])
    assert caught.value.code == "too_few_patients"
