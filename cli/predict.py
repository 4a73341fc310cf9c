"""`calcinosis predict`: the finding for photographs, on the screen, as JSON or as CSV."""

import csv
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final, Literal

import typer

from calcinosis.cli.errors import (
    handle_errors,
    print_error,
    print_exactly,
    print_json,
    print_line,
    print_note,
)
from calcinosis.cli.options import spare_inputs

if TYPE_CHECKING:
    from calcinosis.common.errors import PhotoError
    from calcinosis.model.finding import Finding, Shown
    from calcinosis.model.predictor import Predictor

PHOTO_ENDINGS: Final = frozenset(
    [
        ".jpg",
        ".jpeg",
        ".jpe",
        ".jfif",
        ".png",
        ".webp",
        ".heic",
        ".heif",
        ".mpo",
        ".avif",
        ".bmp",
        ".gif",
        ".jxl",
        ".jp2",
        ".tif",
        ".tiff",
    ]
)
"""Those of a folder's files that are read or, where nobody reads them, named with the reason."""

_HEATMAP_FORMATS: Final = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG", ".webp": "WEBP"}

Format = Literal["text", "json", "csv"]


@handle_errors("predict", "train")
def predict(
    photos: Annotated[
        list[Path] | None,
        typer.Argument(metavar="PHOTO...", help="Photographs, or folders that hold some."),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="One JSON object a photo and line: --format json.")
    ] = False,
    output_format: Annotated[
        Format | None,
        typer.Option(
            "--format",
            show_default="text",
            help="text: for people; json: an object a line; csv: a table with a header.",
        ),
    ] = None,
    checkpoint: Annotated[
        Path | None,
        typer.Option(help="A checkpoint's folder or exported file; the shipped one unless given."),
    ] = None,
    heatmap: Annotated[
        Path | None,
        typer.Option(help="Write the heat map of a single photo to this PNG, JPEG or WebP file."),
    ] = None,
    prior: Annotated[
        str | None,
        typer.Option(help="Chances to assume before looking, one number a label, as 1,1,5,20."),
    ] = None,
    context: Annotated[
        str | None,
        typer.Option(
            help="What is known before looking, instead of --prior: names with commas, as "
            "rheumatology_clinic,gout,ear; see model/context.toml."
        ),
    ] = None,
    language: Annotated[str, typer.Option(help="Of the words that are printed: en or es.")] = "en",
    manifest: Annotated[
        Path | None, typer.Option(help="CSV of any length that names photos in the column file.")
    ] = None,
    root: Annotated[
        Path | None, typer.Option(help="With --manifest: folder that its files are in.")
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(help="With --manifest: folder for a table in Parquet; goes on where it was."),
    ] = None,
    workers: Annotated[
        int | None, typer.Option(min=1, help="With --manifest: processes; one a core unless given.")
    ] = None,
    engine: Annotated[
        Literal["here", "ray"],
        typer.Option(help="With --manifest: read on this machine, or on a cluster with Ray."),
    ] = "here",
) -> None:
    """Give the finding for each photo. It always defers to a clinician."""
    question = _Question(checkpoint, _chances(prior), _names(context), language.lower())
    if as_json and output_format not in (None, "json"):
        raise typer.BadParameter(f"--json and --format {output_format} say two things; give one")
    if manifest:
        beside = {
            "a photo": photos,
            "--json": as_json,
            "--format": output_format,
            "--heatmap": heatmap,
        }
        if wrong := [name for name, value in beside.items() if value]:
            raise typer.BadParameter(f"--manifest does not go with {' and '.join(wrong)}")
        if not root or not out:
            raise typer.BadParameter("--manifest goes with --root and --out; give both")
        _predict_table(manifest, root, out, question, workers, engine)
    needless = {"--root": root, "--out": out, "--workers": workers, "--engine": engine == "ray"}
    if photos and (spare := [name for name, value in needless.items() if value]):
        raise typer.BadParameter(f"give --manifest too, or leave out {' and '.join(spare)}")
    if not photos:
        raise typer.BadParameter("name a photo, or give --manifest, --root and --out")
    if heatmap and (len(photos) > 1 or photos[0].is_dir()):
        raise typer.BadParameter("give one photo at a time with --heatmap")
    if heatmap and heatmap.suffix.lower() not in _HEATMAP_FORMATS:
        raise typer.BadParameter("--heatmap names a file that ends in .png, .jpg or .webp")
    if heatmap:
        spare_inputs("--heatmap", heatmap, photos[0])
    chosen: Format = "json" if as_json else output_format or "text"
    failed = _predict_photos(photos, chosen, heatmap, question)
    raise typer.Exit(1 if failed else 0)


@dataclass(frozen=True)
class _Question:
    """Which checkpoint is asked, and what is known before it looks."""

    checkpoint: Path | None
    prior: tuple[float, ...] | None
    context: tuple[str, ...]
    language: str

    def open_predictor(self, threads: int | None) -> "Predictor":
        from calcinosis.model.config import SHIPPED
        from calcinosis.model.predictor import Predictor

        try:
            return Predictor(
                self.checkpoint or SHIPPED,
                prior=self.prior,
                context=self.context,
                language=self.language,
                threads=threads,
            )
        except ValueError as error:
            raise typer.BadParameter(str(error)) from None


def _chances(prior: str | None) -> tuple[float, ...] | None:
    try:
        return tuple(float(part) for part in prior.split(",")) if prior else None
    except ValueError:
        raise typer.BadParameter("--prior takes numbers with commas, one a label") from None


def _names(context: str | None) -> tuple[str, ...]:
    return tuple(name.strip() for name in context.split(",")) if context else ()


def _predict_photos(
    given: Sequence[Path], chosen: Format, heatmap: Path | None, question: _Question
) -> bool:
    """Print a finding for each photo; true if one of them got none."""
    from calcinosis.common.cpu import available_cores
    from calcinosis.common.errors import PhotoError
    from calcinosis.common.memory import return_large_blocks

    return_large_blocks()
    photos = list(_files(given))
    predictor = question.open_predictor(threads=1 if len(photos) > 1 else None)
    rows = _Rows(chosen, predictor.config.labels, question.language, several=len(photos) > 1)
    failed = False
    found = predictor.read_each(photos, workers=available_cores())
    for path, finding in zip(photos, found, strict=True):
        if isinstance(finding, PhotoError) and finding.code == "folder":
            finding = PhotoError("folder", "holds no photo", name=finding.name)
        rows.add(path, finding)
        if isinstance(finding, PhotoError):
            failed = True
        elif heatmap:
            _write_heatmap(heatmap, path, finding)
    rows.end()
    return failed


def _files(given: Sequence[Path]) -> Iterator[Path]:
    """The photos that were named, and those below a folder that was, in the order of their names.

    What is hidden in a folder, or a system's own, is no photo of it.
    """
    from calcinosis.common.files import is_litter

    for path in given:
        if not path.is_dir():
            yield path
            continue
        files: list[Path] = []
        for folder, folders, names in os.walk(path):
            folders[:] = (name for name in folders if not is_litter(name))
            files += (Path(folder, name) for name in names if not is_litter(name))
        files.sort()
        photos = [file for file in files if file.suffix.lower() in PHOTO_ENDINGS]
        if len(files) > len(photos):
            others = Counter(
                file.suffix.lower() or "no ending" for file in set(files) - set(photos)
            )
            listed = ", ".join(f"{count} of {ending}" for ending, count in sorted(others.items()))
            print_error(f"{path}: passed over what is no photograph by its name: {listed}")
        yield from photos or [path]  # of which the reader says that it is a folder


class _Rows:
    """Prints the finding of each photo, or why it has none, in the form that was asked for."""

    def __init__(
        self, chosen: Format, labels: Sequence[str], language: str, *, several: bool
    ) -> None:
        from calcinosis.model.words import words

        self.say = words(language)
        self.format = chosen
        self.labels = labels
        self.several = several
        self.outcomes: Counter[str] = Counter()
        if chosen == "csv":
            self._write_csv(
                "file", "outcome", *(f"p_{label}" for label in labels), "prediction_set",
                "checkpoint", "error", "message", "advice", "problem",
            )  # fmt: skip
        elif chosen == "text" and several:
            titles = ("outcome", "most_probable", "cannot_be_excluded", "photo")
            print_line(_TABLE.format(*(self.say(f"table.{title}") for title in titles)))

    def add(self, path: Path, finding: "Finding | PhotoError") -> None:
        from calcinosis.common.errors import PhotoError

        if isinstance(finding, PhotoError):
            self.outcomes[self.say("table.unread")] += 1
            self._add_error(path, finding)
            return
        outcome = self.say(f"table.outcomes.{finding.outcome}")
        self.outcomes[outcome] += 1
        if self.format == "json":
            print_json({"file": str(path), **finding.as_json()})
        elif self.format == "csv":
            chances = (f"{finding.probabilities[label]:.6f}" for label in self.labels)
            rest = ("|".join(finding.prediction_set), finding.checkpoint, "", "", finding.advice)
            self._write_csv(path, finding.outcome, *chances, *rest, finding.problem or "")
        elif self.several:
            label = max(finding.probabilities, key=lambda label: finding.probabilities[label])
            best = (
                f"{label} {_share(finding.shown[label])}"
                if finding.outcome != "retake"
                else self.say("table.not_asked")
            )
            members = ", ".join(finding.prediction_set)
            if len(finding.prediction_set) == len(self.labels):
                members = self.say("table.anything")
            print_line(_TABLE.format(outcome, best, members, path))
        else:
            _print_finding(path, finding, self.say("table.cannot_be_excluded"))

    def end(self) -> None:
        """Below a table for people: how many of each outcome, and that only a clinician can tell."""
        if self.format == "text" and self.several:
            counts = ", ".join(f"{count} {name}" for name, count in self.outcomes.most_common())
            print_line("")
            print_line(self.say("table.summary", count=self.outcomes.total(), counts=counts))
            print_line(self.say("table.advice"))

    def _add_error(self, path: Path, error: "PhotoError") -> None:
        if self.format == "json":
            trouble = {"code": error.code, "message": error.message}
            print_json({"file": str(path), "error": trouble})
        elif self.format == "csv":
            empty = [""] * len(self.labels)
            self._write_csv(path, "", *empty, "", "", error.code, error.message, "", "")
        else:
            print_error(error.message, str(path))

    def _write_csv(self, *cells: object) -> None:
        line = _Line()
        csv.writer(line, lineterminator="\r\n").writerow(cells)  # it quotes what holds one of these
        print_exactly(line.text.removesuffix("\r\n"))


class _Line:
    """What `csv` takes for a file, for a single line."""

    text = ""

    def write(self, text: str) -> None:
        self.text += text


_TABLE: Final = "{:16} {:22} {:42} {}"


def _share(shown: "Shown") -> str:
    """A probability no bolder than the patients behind it support: `37.2%`, `<5%`, `>95%`."""
    if not shown.bound:
        return f"{shown.value:.1%}"
    return f"{'<' if shown.bound == 'below' else '>'}{shown.value:.0%}"


def _print_finding(path: Path, finding: "Finding", open_mark: str) -> None:
    print_line(str(path))
    for sentence in finding.summary:
        print_line(f"  {sentence}")
    for label, shown in finding.shown.items():
        mark = open_mark if label in finding.prediction_set else ""
        print_line(f"  {_share(shown):>6}  {label:18} {mark}".rstrip())
    for sentence in (*finding.reasons, finding.advice):
        print_line(f"  {sentence}")


def _write_heatmap(out: Path, photo: Path, finding: "Finding") -> None:
    from calcinosis.common.files import atomic_path
    from calcinosis.model.heatmap import overlay
    from calcinosis.model.photo import open_photo

    if finding.heat_map is None:
        print_error(f"{out} was not written: the network was not asked about this photo")
        return
    with atomic_path(out) as partial:
        picture = overlay(open_photo(photo), finding.heat_map)
        picture.save(partial, format=_HEATMAP_FORMATS[out.suffix.lower()])


@handle_errors("predict --manifest", "scale")
def _predict_table(
    manifest: Path,
    root: Path,
    out: Path,
    question: _Question,
    workers: int | None,
    engine: Literal["here", "ray"],
) -> None:
    """Read all that a manifest names; ends with the exit code of `predict`."""
    from calcinosis.bulk.reading import Job
    from calcinosis.bulk.run import open_run
    from calcinosis.common.cpu import available_cores
    from calcinosis.common.progress import track
    from calcinosis.model.config import SHIPPED

    prior = question.prior
    if question.context:
        prior = tuple(question.open_predictor(threads=1).prior.tolist())
    try:
        job = Job(root, question.checkpoint or SHIPPED, prior, question.language)
        run = open_run(manifest, job, out)
        if engine == "ray":
            from calcinosis.bulk.on_ray import read_on_ray

            read = read_on_ray(run, workers=workers or available_cores())
        else:
            read = run.read(workers=workers or available_cores())
        rows = (row for bunch in read for row in range(bunch))
        for _ in track(rows, "Reading the photographs", total=run.index.rows, done=run.done):
            pass
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None
    print_note(
        f"asked about {run.index.rows:,} photos, {run.index.rows - run.failed:,} got a finding; "
        f"the table is in {out}"
    )
    raise typer.Exit(1 if run.failed else 0)
