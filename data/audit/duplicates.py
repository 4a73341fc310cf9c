"""Photos that are the same picture: copied, saved again, resized, cropped, mirrored or turned.

Candidates come cheaply, from perceptual hashes and from neighbours in the backbone's embedding; whether
two candidates show one picture is then decided by laying one over the other.
"""

import io
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image
from sklearn.neighbors import NearestNeighbors
from threadpoolctl import threadpool_limits

from calcinosis.common.progress import track
from calcinosis.data.audit.alignment import (
    FEWEST_MATCHES,
    Keypoints,
    agreement_of_frames,
    align,
    detect_keypoints,
)
from calcinosis.data.audit.scan import DIHEDRAL, ScannedPhoto

THRESHOLD: Final = 0.8
"""Agreement from which two photos count as one picture; see `tests/data/test_audit_duplicates.py`,
which draws the pairs that it was chosen on and holds its precision and recall."""

WHOLE_FRAME: Final = 0.95
"""Agreement from which the whole of one photo is the whole of another without a keypoint to prove it:
two smooth patches of skin under one lamp reach 0.85."""

HASH_BITS: Final = 10
"""Of 64: how far apart the perceptual hashes of candidates may be."""
HASH_NEIGHBOURS: Final = 6
EMBEDDING_NEIGHBOURS: Final = 6
EMBEDDING_LIKENESS: Final = 0.5
"""Cosine from which neighbours in the embedding are candidates."""

_KEYPOINTS_KEPT: Final = 4_000

# Turning i gives j: turning j back gives i. All other turns undo themselves.
_BACK: Final = {3: 5, 5: 3}
_WORDS: Final = (
    "as it is",
    "mirrored left to right",
    "mirrored top to bottom",
    "turned by 90°",
    "turned by 180°",
    "turned by 270°",
    "mirrored along a diagonal",
    "mirrored along a diagonal",
)


@dataclass(frozen=True, slots=True, order=True)
class Pair:
    """Two photos of one picture, by their numbers among the scanned ones, the smaller one first.

    Attributes:
        score: 1 for equal files; the agreement of the pixels where the two overlap otherwise.
        how: what was done to one to make the other, in words.
    """

    first: int
    second: int
    score: float
    how: str


def exact_duplicates(photos: Sequence[ScannedPhoto]) -> list[Pair]:
    """Equal files: each with the first of its kind."""
    first: dict[str, int] = {}
    pairs = []
    for i, photo in enumerate(photos):
        j = first.setdefault(photo.digest, i)
        if j != i:
            pairs.append(Pair(j, i, 1.0, "the same file"))
    return pairs


def near_duplicates(
    photos: Sequence[ScannedPhoto],
    *,
    masked: Callable[[int], Iterable[tuple[float, float, float, float]]] = lambda number: (),
    workers: int = 2,
) -> list[Pair]:
    """Pairs of files that differ and show one picture.

    Args:
        photos: the photos.
        masked: boxes of a photo, in shares of its width and height, in which likeness says
            nothing: the marks that all photos of a source bear.
        workers: threads that compare.

    Returns:
        The pairs, most alike first.
    """
    alone = sorted({photo.digest: i for i, photo in reversed(list(enumerate(photos)))}.values())
    candidates = sorted(candidate_pairs([photos[i] for i in alone]).items())

    @lru_cache(_KEYPOINTS_KEPT)
    def keypoints(number: int) -> Keypoints:
        with Image.open(io.BytesIO(photos[number].thumbnail)) as photo:
            return detect_keypoints(photo, masked(number))

    def judge(candidate: tuple[tuple[int, int], set[int]]) -> Pair | None:
        (i, j), turns = candidate
        found = compare(keypoints(alone[i]), keypoints(alone[j]), sorted(turns))
        if found is None or found[0] < THRESHOLD:
            return None
        return Pair(alone[i], alone[j], round(min(found[0], 1.0), 4), found[1])

    with _one_core_a_worker(), ThreadPoolExecutor(workers) as pool:
        judged = track(pool.map(judge, candidates), "Comparing pairs", total=len(candidates))
        pairs = [pair for pair in judged if pair is not None]
    return sorted(pairs, key=lambda pair: (-pair.score, pair))


@contextmanager
def _one_core_a_worker() -> Iterator[None]:
    """Workers share the cores already; products and filters that start threads of their own, each for
    a tenth of a millisecond, would double the time."""
    before = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        with threadpool_limits(1):
            yield
    finally:
        cv2.setNumThreads(before)


def compare(
    first: Keypoints, second: Keypoints, turns: Iterable[int] = ()
) -> tuple[float, str] | None:
    """How far two photos agree, and how the second came from the first, in words.

    Args:
        turns: places in `DIHEDRAL` that bring the whole of the second over the whole of the first
            if their perceptual hashes are right. Photos so smooth that they lack keypoints are
            tried in all of them.

    Returns:
        None when the two cannot be laid over each other.
    """
    if min(len(first.points), len(second.points)) < FEWEST_MATCHES:
        turns = range(len(DIHEDRAL))
    for turn in turns:
        agreement = agreement_of_frames(first, second, DIHEDRAL[turn])
        if agreement >= WHOLE_FRAME:
            return agreement, _turn_in_words(turn)
    alignment = align(first, second)
    return (alignment.agreement, alignment.in_words()) if alignment is not None else None


def candidate_pairs(photos: Sequence[ScannedPhoto]) -> dict[tuple[int, int], set[int]]:
    """Pairs worth comparing, the smaller number first, each with the `DIHEDRAL` that the hashes name.

    Memory grows with the number of photos, not with its square: neighbours are searched in chunks.
    """
    pairs: defaultdict[tuple[int, int], set[int]] = defaultdict(set)
    if len(photos) < 2:
        return {}
    hashes = np.stack([photo.hashes for photo in photos])
    for turn in range(len(DIHEDRAL)):
        # Between vectors of 0 and 1 the squared distance is the number of differing bits.
        turned, plain = hashes[:, turn].astype(np.float32), hashes[:, 0].astype(np.float32)
        for i, j, distance in _neighbours(plain, turned, HASH_NEIGHBOURS):
            if distance**2 <= HASH_BITS + 0.5:
                pairs[min(i, j), max(i, j)].add(turn if i < j else _BACK.get(turn, turn))
    vectors = np.stack([photo.embedding for photo in photos])
    for i, j, distance in _neighbours(vectors, vectors, EMBEDDING_NEIGHBOURS):
        if 1 - distance**2 / 2 >= EMBEDDING_LIKENESS:
            pairs[min(i, j), max(i, j)].update()
    return dict(pairs)


def _neighbours(
    asked: NDArray[np.float32], known: NDArray[np.float32], count: int
) -> Iterator[tuple[int, int, float]]:
    """For each vector asked, its nearest among the known, but for the one of the same number."""
    nearest = NearestNeighbors(n_neighbors=min(count + 1, len(known)), algorithm="brute")
    distances, numbers = nearest.fit(known).kneighbors(asked)
    for i, (row, others) in enumerate(zip(distances.tolist(), numbers.tolist(), strict=True)):
        yield from ((i, j, distance) for j, distance in zip(others, row, strict=True) if j != i)


def _turn_in_words(turn: int) -> str:
    return "the whole frame" if not turn else f"the whole frame, {_WORDS[turn]}"
