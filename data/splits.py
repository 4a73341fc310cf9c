"""Folds for cross-validation that no patient, picture or copy of a picture crosses."""

import hashlib
import logging
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from calcinosis.common.errors import ManifestError
from calcinosis.data.manifest import Row

log = logging.getLogger(__name__)

_NAMED: Final = 3

_Stratum = tuple[str, str, str]


@dataclass(frozen=True, slots=True)
class _Unit:
    """Rows that must stay together, by their positions."""

    name: str
    members: tuple[int, ...]


def assign_folds(rows: Sequence[Row], folds: int = 5, seed: int = 0) -> list[Row]:
    """Give every row a fold.

    Rows that share a group or the bytes of their file (`sha256`) get the same fold. Labels are
    spread first, the rarest first, so that the folds' numbers of groups of a label differ by at
    most one; within a label, kinds and sources, and then photos, as evenly as that allows. Rows
    that already have a fold keep it, and rows tied to them follow, so that adding photos moves
    none of the old ones. Neither the order of the rows nor a name's place in the alphabet matters.

    Args:
        rows: the photos.
        folds: how many folds.
        seed: another seed gives another split.

    Returns:
        The same rows in the same order, each with a `fold` from 0 to `folds - 1`.

    Raises:
        ManifestError: when a label has fewer groups than there are folds, when a row's fold is not
            below `folds`, or when rows that belong together already have different folds.
    """
    if folds < 2:
        raise ManifestError("too_few_folds", f"{folds} is too few folds; ask for 2 or more")
    _check_known_folds(rows, folds)
    if rows and all(row.fold is not None for row in rows):
        log.warning(
            "every photo has a fold already and keeps it; empty the column fold to divide them anew"
        )
    units = _units(rows)
    balance = _Balance(rows, units, folds, seed)
    balance.check_enough_groups()
    free = []
    for unit in units:
        known = {rows[i].fold for i in unit.members} - {None}
        if known:
            balance.put(unit, known.pop() or 0)
        else:
            free.append(unit)
    for unit in sorted(free, key=balance.hardest_to_place_first):
        balance.put(unit, balance.lightest_fold(unit))
    fold_of_row = {i: fold for unit, fold in balance.placed for i in unit.members}
    return [replace(row, fold=fold_of_row[i]) for i, row in enumerate(rows)]


def leave_one_source_out(rows: Sequence[Row]) -> list[Row]:
    """Give each source a fold of its own, in the order of the sources' names.

    Photos that belong together but come from several sources all go where most of them are, so
    that a copy of a held-out photo is never learnt from.

    Returns:
        The same rows in the same order; any earlier fold is replaced.

    Raises:
        ManifestError: when there is only one source.
    """
    sources = sorted({row.source for row in rows})
    if len(sources) < 2:
        raise ManifestError(
            "too_few_sources",
            f"all photos come from {', '.join(sources) or 'nowhere'}; "
            "leaving a source out takes two sources or more",
        )
    fold_of_row: dict[int, int] = {}
    for unit in _units(rows):
        counts = Counter(rows[i].source for i in unit.members)
        most = min(counts, key=lambda source: (-counts[source], source))
        fold_of_row.update(dict.fromkeys(unit.members, sources.index(most)))
    return [replace(row, fold=fold_of_row[i]) for i, row in enumerate(rows)]


def check_folds(rows: Sequence[Row]) -> None:
    """Make sure that every row has a fold and that nothing that belongs together is split.

    Raises:
        ManifestError: one for all faults of a kind: it counts them and names the first few.
    """
    unassigned = [row.file for row in rows if row.fold is None]
    if unassigned:
        raise ManifestError(
            "no_fold",
            f"{len(unassigned)} of {len(rows)} rows have no fold, among them "
            f"{', '.join(unassigned[:_NAMED])}; assign folds first",
        )
    crossing = [unit for unit in _units(rows) if len({rows[i].fold for i in unit.members}) > 1]
    if crossing:
        raise _crossing(rows, crossing)


def join_groups(
    rows: Sequence[Row], pairs: Iterable[tuple[str, str]], whole: Sequence[Row] = ()
) -> list[Row]:
    """Tie together photos that show the same picture or patient.

    Args:
        rows: the photos.
        pairs: of file names, such as near-duplicates that an audit found. Two copies of a photo that
            no row names are copies of each other; what else is of its group cannot be known.
        whole: the manifest that the photos are of, where some were left out: those tie the others all
            the same.

    Returns:
        The same rows in the same order. Joined rows share the first of their groups' names in the
        alphabet, so that the result does not depend on the order of rows or pairs.
    """
    pairs = list(pairs)
    names = sorted({row.group for row in rows})
    gone = sorted({row.group for row in whole} - set(names))
    number = {name: i for i, name in enumerate([*names, *gone])}
    place = {row.file: number[row.group] for row in (*whole, *rows)}
    absent = sorted({file for pair in pairs for file in pair} - place.keys())
    if absent:
        log.warning(
            "copies were found of photos that no row names: %d, such as %s", len(absent), absent[0]
        )
    place |= {file: len(number) + i for i, file in enumerate(absent)}
    part = _parts(len(number) + len(absent), [(place[a], place[b]) for a, b in pairs])
    first_name: dict[int, str] = {}
    for i, name in enumerate(names):
        first_name.setdefault(part[i], name)
    return [replace(row, group=first_name[part[number[row.group]]]) for row in rows]


class _Balance:
    """What each fold holds so far, and which of them should get the next group."""

    def __init__(self, rows: Sequence[Row], units: Sequence[_Unit], folds: int, seed: int) -> None:
        self.placed: list[tuple[_Unit, int]] = []
        self._rows = rows
        self._folds = folds
        self._seed = seed
        # A stratum is a (label, kind, source); both counters count groups over the whole data set.
        self._labels: Counter[str] = Counter()
        self._strata: Counter[_Stratum] = Counter()
        for unit in units:
            strata = self._strata_of(unit)
            self._strata.update(strata)
            self._labels.update({stratum[0] for stratum in strata})
        self._held: defaultdict[tuple[str, ...], list[int]] = defaultdict(lambda: [0] * folds)

    def check_enough_groups(self) -> None:
        for label, count in sorted(self._labels.items()):
            if count < self._folds:
                raise ManifestError(
                    "too_few_groups",
                    f"label {label!r} has {count} groups, fewer than the {self._folds} folds; "
                    "ask for fewer folds or add photos of other patients",
                )

    def put(self, unit: _Unit, fold: int) -> None:
        strata = self._strata_of(unit)
        for label in {stratum[0] for stratum in strata}:
            self._held["groups", label][fold] += 1
        for stratum in strata:
            self._held["groups", *stratum][fold] += 1
        for i in unit.members:
            self._held["photos", self._rows[i].label][fold] += 1
        self._held["photos",][fold] += len(unit.members)
        self.placed.append((unit, fold))

    def hardest_to_place_first(self, unit: _Unit) -> tuple[object, ...]:
        rarest = self._rarest_stratum(unit)
        rarity = (self._labels[rarest[0]], rarest[0], self._strata[rarest], rarest)
        return (*rarity, -len(unit.members), _shuffled(unit.name, self._seed))

    def lightest_fold(self, unit: _Unit) -> int:
        stratum = self._rarest_stratum(unit)
        label = stratum[0]

        def weight(fold: int) -> tuple[object, ...]:
            return (
                self._held["groups", label][fold],
                self._held["groups", *stratum][fold],
                self._held["photos", label][fold],
                self._held["photos",][fold],
                _shuffled(str(fold), self._seed),
            )

        return min(range(self._folds), key=weight)

    def _strata_of(self, unit: _Unit) -> set[_Stratum]:
        members = (self._rows[i] for i in unit.members)
        return {(row.label, row.kind, row.source) for row in members}

    def _rarest_stratum(self, unit: _Unit) -> _Stratum:
        return min(
            self._strata_of(unit),
            key=lambda stratum: (self._labels[stratum[0]], self._strata[stratum], stratum),
        )


def _units(rows: Sequence[Row]) -> list[_Unit]:
    """Rows tied by a shared group or by equal bytes, directly or through others."""
    first: dict[tuple[str, str], int] = {}
    ties = []
    for i, row in enumerate(rows):
        for mark in (("group", row.group), ("sha256", row.sha256)):
            if mark[1]:
                ties.append((first.setdefault(mark, i), i))
    members: defaultdict[int, list[int]] = defaultdict(list)
    for i, part in enumerate(_parts(len(rows), ties)):
        members[part].append(i)
    return [
        _Unit(name=min(rows[i].group for i in together), members=tuple(together))
        for together in members.values()
    ]


def _parts(count: int, ties: Sequence[tuple[int, int]]) -> list[int]:
    """The number of the connected part that each of `count` things is in."""
    ends = np.array(ties, dtype=np.int64).reshape(-1, 2)
    graph = coo_array((np.ones(len(ends)), (ends[:, 0], ends[:, 1])), shape=(count, count))
    return connected_components(graph, directed=False)[1].tolist()


def _check_known_folds(rows: Sequence[Row], folds: int) -> None:
    for row in rows:
        if row.fold is not None and row.fold >= folds:
            raise ManifestError(
                "unknown_fold",
                f"has fold {row.fold}, and {folds} folds are numbered from 0 to {folds - 1}; "
                "empty the column fold, or ask for more folds",
                name=row.file,
            )
    crossing = [
        unit
        for unit in _units(rows)
        if len({rows[i].fold for i in unit.members if rows[i].fold is not None}) > 1
    ]
    if crossing:
        raise _crossing(rows, crossing)


def _crossing(rows: Sequence[Row], crossing: Sequence[_Unit]) -> ManifestError:
    named = "; ".join(
        f"group {unit.name!r} ({', '.join(rows[i].file for i in unit.members[:_NAMED])}"
        f"{', …' if len(unit.members) > _NAMED else ''})"
        for unit in crossing[:_NAMED]
    )
    more = "; …" if len(crossing) > _NAMED else ""
    return ManifestError(
        "group_crosses_folds",
        f"{len(crossing)} groups lie in more than one fold: {named}{more}; "
        "empty the column fold of their rows and split again",
    )


def _shuffled(name: str, seed: int) -> str:
    """A place in an order that is random in the seed and depends on the name alone."""
    return hashlib.sha256(f"{seed}\0{name}".encode()).hexdigest()
