"""`calcinosis predict`: the finding for photographs, on the screen, as JSON or as CSV."""

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final, Literal

import typer

from calcinosis.cli.errors import handle_errors, print_error, print_note
from calcinosis.cli.options import spare_inputs
from calcinosis.cli.rows import Format, Rows

if TYPE_CHECKING:
    from calcinosis.model.finding import Finding
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
    retry_failed: Annotated[
        bool,
        typer.Option(
            "--retry-failed",
            help="With --manifest: read parts again that hold rows without a finding.",
        ),
    ] = False,
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
        _predict_table(manifest, root, out, question, workers, engine, retry_failed)
    needless = {
        "--root": root,
        "--out": out,
        "--workers": workers,
        "--engine": engine == "ray",
        "--retry-failed": retry_failed,
    }
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

    @property
    def settles_something(self) -> bool:
        """Whether there is a setting that the checkpoint may not fit."""
        return bool(self.prior or self.context or self.language != "en")

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
    rows = Rows(chosen, predictor, several=len(photos) > 1)
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
    retry_failed: bool,
) -> None:
    """Read all that a manifest names; ends with the exit code of `predict`."""
    from calcinosis.bulk.reading import Job
    from calcinosis.bulk.run import open_run
    from calcinosis.common.cpu import available_cores
    from calcinosis.common.progress import track
    from calcinosis.model.config import SHIPPED

    if question.settles_something:
        question.open_predictor(threads=1)  # says what is wrong with it, before a worker starts
    checkpoint, language = question.checkpoint or SHIPPED, question.language
    job = Job(root, checkpoint, question.prior, language, question.context)
    run = open_run(manifest, job, out, retry_failed=retry_failed)
    if engine == "ray":
        from calcinosis.bulk.on_ray import read_on_ray

        read = read_on_ray(run, workers=workers or available_cores())
    else:
        read = run.read(workers=workers or available_cores())
    rows = (row for bunch in read for row in range(bunch))
    for _ in track(rows, "Reading the photographs", total=run.index.rows, done=run.done):
        pass
    print_note(
        f"asked about {run.index.rows:,} photos, {run.index.rows - run.failed:,} got a finding; "
        f"the table is in {out}"
    )
    if run.failed:
        print_note(
            f"{run.failed:,} got none, and are not read again unless --retry-failed is given: "
            "the column error_message says why"
        )
    raise typer.Exit(1 if run.failed else 0)
