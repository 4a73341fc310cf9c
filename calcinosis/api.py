"""The public API: a photo to its finding, a manifest to folds, a recipe to a run with its metrics.

    >>> import calcinosis as cc
    >>> cc.load().read("bump.jpg").outcome
    'retake'

Everything here is thin: it says which rooms do the work, and where to go on. Reading photos needs the base
installation; `Photos` needs `calcinosis[data]`, and `crossval` needs `calcinosis[train]`.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from calcinosis.common.errors import PredictionsError
from calcinosis.common.extras import needs_extra
from calcinosis.metrics import Metrics, MetricValue

if TYPE_CHECKING:
    from PIL import Image

    from calcinosis.data.audit import Audit
    from calcinosis.data.manifest import Row
    from calcinosis.model.predictor import Predictor
    from calcinosis.training.evaluate.predictions import Predictions
    from calcinosis.training.recipe import Recipe


def load(
    checkpoint: str | Path | None = None,
    *,
    prior: Sequence[float] | None = None,
    context: str | Sequence[str] = (),
    language: str = "en",
    threads: int | None = None,
    skip_ood_check: bool = False,
) -> "Predictor":
    """A checkpoint, ready to read photos.

    Args:
        checkpoint: folder of a checkpoint, or a file that `calcinosis export` wrote; the shipped one unless
            given.
        prior: the chances of each label that probabilities shall assume; the checkpoint's unless given.
        context: instead of a prior, what is known before looking, as `["rheumatology_clinic", "gout", "ear"]` or `"gout"`;
            the names and where their numbers come from are in `model/context.toml`.
        language: of the findings' words: `en` or `es`.
        threads: of the network for one photo; as many as there are cores unless given.
        skip_ood_check: read drawings and other pictures unlike all photos that the network learnt from, too.

    Raises:
        CheckpointError: if the checkpoint cannot be loaded.
        ValueError: if the prior, the context, the language or the number of threads is not usable.

    Examples:
        A finding shows itself in a notebook. The picture here is a drawing, and is refused as one:

        >>> import calcinosis as cc
        >>> finding = cc.load().read("bump.jpg")
        >>> finding.outcome, finding.problem
        ('retake', 'out_of_distribution')

        What the network makes of it all the same:

        >>> finding = cc.load(skip_ood_check=True).read("bump.jpg")
        >>> list(finding.probabilities)
        ['calcinosis_cutis', 'gouty_tophus', 'milium', 'other']
    """
    from calcinosis.model.config import SHIPPED
    from calcinosis.model.predictor import Predictor

    return Predictor(
        SHIPPED if checkpoint is None else Path(checkpoint),
        prior=prior,
        context=[context] if isinstance(context, str) else context,
        language=language,
        threads=threads,
        skip_ood_check=skip_ood_check,
    )


@dataclass(frozen=True, eq=False)
class Photos(Sequence["Row"]):
    """The rows of a manifest, with the folder that their files lie below and the labels that they use.

    Attributes:
        rows: one a photo; see `calcinosis.data.manifest.Row`.
        root: the folder that the files lie below.
        labels: in the order of every table; `other` is last.

    Examples:
        >>> import calcinosis as cc
        >>> photos = cc.Photos.read("photos.csv", root="photos/")
        >>> photos
        40 photos below photos: 10 calcinosis_cutis, 10 gouty_tophus, 10 milium, 10 other
        >>> photos[0].label, photos.open(photos[0]).size
        ('calcinosis_cutis', (320, 288))
    """

    rows: tuple["Row", ...]
    root: Path
    labels: tuple[str, ...]

    @classmethod
    @needs_extra("data")
    def read(
        cls, manifest: str | Path, *, root: str | Path, labels: Sequence[str] | None = None
    ) -> "Photos":
        """The photos of a manifest, each of which is there.

        Args:
            manifest: a CSV with a row a photo: file, label, source, group, and more where known.
            root: the folder that its files lie below.
            labels: that it may use, `other` last; the project's unless given.

        Raises:
            ManifestError: at the first fault, naming the row and what to do; or for files that are absent.
        """
        from calcinosis.data.locating import check_files
        from calcinosis.data.manifest import read_manifest
        from calcinosis.model.labels import LABELS, check_labels

        names = tuple(LABELS if labels is None else labels)
        check_labels(names)
        rows = read_manifest(Path(manifest), labels=names)
        check_files(rows, Path(root))
        return cls(tuple(rows), Path(root), names)

    def __len__(self) -> int:
        return len(self.rows)

    def __iter__(self) -> Iterator["Row"]:
        return iter(self.rows)

    def __getitem__(self, index: Any) -> Any:
        """A row; or, for a slice, the photos in it."""
        if isinstance(index, slice):
            return replace(self, rows=self.rows[index])
        return self.rows[index]

    def __repr__(self) -> str:
        counts = ((sum(row.label == label for row in self.rows), label) for label in self.labels)
        told = ", ".join(f"{count} {label}" for count, label in counts)
        return f"{len(self)} photos below {self.root}: {told}"

    def open(self, row: "Row") -> "Image.Image":
        """One of the photos: upright, RGB, without metadata.

        Raises:
            PhotoError: if the file cannot be read as a photo.
        """
        from calcinosis.data.locating import open_source
        from calcinosis.model.photo import open_photo

        return open_photo(open_source(self.root, row.file), name=row.file)

    @needs_extra("data")
    def audit(self, out: str | Path, *, checkpoint: str | Path | None = None) -> "Audit":
        """Look for copies, marks, contradicted labels, off-topic pictures and confounding by the source.

        Args:
            out: folder for `audit.html`, which shows what was found, `audit.csv` and `audit.json`.
            checkpoint: whose backbone says what is alike; the shipped one unless given.

        Examples:
            >>> import calcinosis as cc
            >>> photos = cc.Photos.read("photos.csv", root="photos/")
            >>> audit = photos.audit("audit/")
            >>> audit.summary["suspicions"]["exact_duplicate"]
            0
        """
        from calcinosis.common.cpu import available_cores
        from calcinosis.data.audit import audit
        from calcinosis.model.config import SHIPPED
        from calcinosis.model.embedding import Embedder
        from calcinosis.model.photo import open_photo

        embed = Embedder(SHIPPED if checkpoint is None else Path(checkpoint))
        workers = available_cores()
        return audit(
            self.rows, self.root, Path(out), open_photo=open_photo, embed=embed, workers=workers
        )

    @needs_extra("data")
    def split(self, audit: "Audit | None" = None, *, folds: int = 5, seed: int = 0) -> "Photos":
        """The photos, each with a fold; those of one group stay together, and so do an audit's copies.

        Photos that have a fold keep it, so that adding photos moves none; a manifest with an empty column
        `fold` is divided anew.

        Args:
            audit: of these photos; what it found to show one picture gets one group.
            folds: how many.
            seed: another one gives another split of the photos that have no fold.

        Raises:
            ManifestError: `too_few_groups`, when a label has fewer groups than there are folds.

        Examples:
            >>> import calcinosis as cc
            >>> photos = cc.Photos.read("photos.csv", root="photos/")
            >>> folded = photos.split()
            >>> sorted({row.fold for row in folded})
            [0, 1, 2, 3, 4]
        """
        from calcinosis.data.splits import assign_folds, check_folds, join_groups

        rows: Sequence[Row] = self.rows
        if audit is not None:
            rows = join_groups(rows, audit.pairs)
        folded = assign_folds(rows, folds, seed)
        check_folds(folded)
        return replace(self, rows=tuple(folded))

    def write(self, manifest: str | Path) -> None:
        """Write the rows as a manifest, folds included.

        Raises:
            ManifestError: if the file cannot be written.
        """
        from calcinosis.data.manifest import write_manifest

        write_manifest(self.rows, Path(manifest))


@dataclass(frozen=True)
class Run:
    """A cross-validated recipe: what it predicted for each photo out of fold, and the figures of that.

    Attributes:
        folder: holds `predictions.csv`, `metrics.json` and `report.html`.
    """

    folder: Path

    @classmethod
    def read(cls, folder: str | Path) -> "Run":
        """A run of `crossval`, `train` or `evaluate` that is there already.

        Raises:
            PredictionsError: if it has no predictions, or none that can be read.
        """
        run = cls(Path(folder))
        if not run.folder.is_dir():
            raise PredictionsError("no_such_run", "there is no such run", name=str(folder))
        _ = run.predictions
        return run

    @cached_property
    @needs_extra("train")
    def predictions(self) -> "Predictions":
        """The prediction for each photo, by a model that saw no photo of its group."""
        from calcinosis.training.evaluate.predictions import read_predictions

        return read_predictions(self.folder / "predictions.csv")

    @cached_property
    def metrics(self) -> Metrics:
        """Each figure with its interval and count."""
        import json

        return Metrics(json.loads((self.folder / "metrics.json").read_text(encoding="utf-8")))

    @needs_extra("train")
    def compare(self, other: "Run", metric: str) -> MetricValue:
        """A figure of this run minus that of another on the same photos, with its paired interval.

        Photos are resampled alike for both, group by group; where 0 lies outside the interval, the
        difference is more than chance (at 5 %).

        Args:
            other: the other run.
            metric: a dotted name, such as `auroc.milium`.

        Raises:
            PredictionsError: `not_paired`, if the runs are of other photos, labels or groups, or assume other
                frequencies of the labels.
            KeyError: if no figure has that name.
        """
        from calcinosis.training.evaluate.metrics.compute import paired_difference

        prior, others = (run.metrics.nested.get("prior") or () for run in (self, other))
        if [round(share, 9) for share in prior] != [round(share, 9) for share in others]:
            raise PredictionsError(
                "not_paired",
                f"assumes another prior than {self.folder}; give both recipes one prior to compare them",
                name=str(other.folder),
            )
        return MetricValue.from_json(
            paired_difference(self.predictions, other.predictions, metric, prior=prior or None)
        )


@needs_extra("train")
def crossval(
    photos: Photos,
    recipe: "str | Path | Recipe" = "linear_probe",
    *,
    out: str | Path | None = None,
    cache: str | Path | None = None,
    device: str = "cpu",
    **settings: Any,
) -> Run:
    """Cross-validate a recipe: every photo is predicted by a model that saw no photo of its group.

    A run that was stopped goes on, and one that is finished is not computed again.

    Args:
        photos: with folds from `Photos.split`; those without get them. Their labels become the recipe's.
        recipe: the name of one of `calcinosis.training`'s configs, the path of a TOML file, or a `Recipe`.
        out: folder of the run; `runs/NAME` with the recipe's name unless given.
        cache: folder for what is computed once for all runs on these photos; `runs/cache` unless given.
        device: to compute on: `cpu` or `cuda`.
        settings: of the recipe that shall be others, such as `seed=1`; see `calcinosis.training.recipe.Recipe`.

    Raises:
        ValidationError: for a setting that the recipe does not have, or cannot have.
        TrainingError: `missing_config`, `bad_config`; `other_run`, if `out` holds a run of another recipe
            or of other photos, or of these before they were changed; `disk_full`; `diverged`.
        ManifestError, PhotoError, BackboneError: naming the file and the cure.

    Examples:
        >>> import calcinosis as cc
        >>> folds = cc.Photos.read("photos.csv", root="photos/").split()

        Ten patients of each label are too few to promise that a prediction set holds 99.5 % of `other`:

        >>> run = cc.crossval(folds, recipe="linear_probe", coverage=0.8)
        >>> run.metrics["auroc.milium"].n
        40
        >>> run.compare(run, "auroc.milium").value
        0.0
    """
    from calcinosis.common.options import RunOptions
    from calcinosis.training.crossval import cross_validate

    if not isinstance(photos, Photos):
        raise TypeError("crossval takes the photos of Photos.read, with folds or without")
    chosen = _recipe(recipe, settings | {"labels": photos.labels})
    folder = Path("runs") / chosen.name if out is None else Path(out)
    options = RunOptions(
        out=folder,
        cache=Path("runs") / "cache" if cache is None else Path(cache),
        resume=True,
        device=device,
    )
    cross_validate(photos.rows, photos.root, chosen, options)
    return Run(folder)


def _recipe(recipe: "str | Path | Recipe", settings: dict[str, Any]) -> "Recipe":
    """A recipe by its name, path or itself, with some settings changed."""
    from calcinosis.training.recipe import Recipe, load_recipe

    if not isinstance(recipe, Recipe):
        recipe = load_recipe(_config(str(recipe)))
    return Recipe.model_validate(recipe.model_dump() | settings)


def _config(name: str) -> Path:
    """The TOML file of a recipe's name: of its own, or the end of one."""
    import calcinosis.training as training

    configs = sorted((Path(training.__path__[0]) / "configs").glob("*.toml"))
    for wanted in (lambda stem: stem == name, lambda stem: stem.endswith(f"_{name}")):
        found = [path for path in configs if wanted(path.stem)]
        if len(found) == 1:
            return found[0]
    return Path(name)
