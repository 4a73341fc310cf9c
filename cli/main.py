"""The command line: `calcinosis`. It parses, calls, prints; the packages do the work."""

import json
import os
import shlex
from collections.abc import Callable, Iterator
from functools import wraps
from pathlib import Path
from typing import Annotated, Any, Literal, NoReturn

import typer
from calcinosis.cli.extras import MissingExtraError, needs_extra
from rich.console import Console
from rich.markup import escape

app = typer.Typer(
    help="Tell calcinosis cutis from its look-alikes in photographs, for education and research. "
    "Not a medical device: only a clinician can tell.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
console = Console(stderr=True)
sets = typer.Typer(help="Public sets of photographs: list, fetch, and make a manifest of them.")
app.add_typer(sets, name="data", no_args_is_help=True)

ManifestOption = Annotated[Path, typer.Option("--manifest", help="CSV, one row a photo.")]
RootOption = Annotated[
    Path, typer.Option("--root", help="Folder that the manifest's files are in.")
]
OutFolder = Annotated[Path, typer.Option("--out", help="Folder for the results.")]
ConfigOption = Annotated[Path, typer.Option("--config", help="Recipe, a TOML file.")]
CacheOption = Annotated[
    Path | None,
    typer.Option("--cache", help="Folder for what is computed once; OUT/cache unless given."),
]
LabelsOption = Annotated[
    str | None, typer.Option(help="Label set of your own, with commas; other comes last.")
]
LabelledConfigOption = Annotated[
    Path | None, typer.Option("--config", help="Recipe that names a label set of your own.")
]
ResumeOption = Annotated[bool, typer.Option("--resume", help="Go on with a run that was stopped.")]
DeviceOption = Annotated[
    Literal["cpu", "cuda"],
    typer.Option("--device", help="Where to compute; for several GPUs start it with torchrun."),
]
WatermarkOption = Annotated[
    bool,
    typer.Option(
        help="Judge the photos with a source's watermark pasted and hidden, too; they are read twice more."
    ),
]
LeaveSourceOutOption = Annotated[
    bool,
    typer.Option("--leave-source-out", help="Judge each source after learning from the others."),
]
LearningCurveOption = Annotated[
    bool,
    typer.Option("--learning-curve", help="Judge what learns from fewer patients, too."),
]
PrecisionOption = Annotated[
    Literal["auto", "bf16", "float32"],
    typer.Option(
        "--precision", help="bf16: mixed precision; float32: exact; auto: what is faster here."
    ),
]


def handle_errors(command: Callable[..., None]) -> Callable[..., None]:
    """A user's mistake ends in one line and the exit code 1; an interruption in 130."""

    @wraps(command)
    def guarded(*args: Any, **kwargs: Any) -> None:
        from calcinosis.common.errors import CalcinosisError, DataError

        try:
            command(*args, **kwargs)
        except MissingExtraError as error:
            console.print(str(error), highlight=False, markup=False, soft_wrap=True)
            raise typer.Exit(1) from None
        except (CalcinosisError, DataError) as error:
            print_error("calcinosis", str(error))
            raise typer.Exit(1) from None
        except OSError as error:
            what = f"{error.filename}: {error.strerror}" if error.filename else str(error)
            print_error("calcinosis", what)
            raise typer.Exit(1) from None
        except KeyboardInterrupt:
            console.print("calcinosis: stopped; what was finished is kept", highlight=False)
            raise typer.Exit(130) from None

    return guarded


def print_error(what: str, message: str) -> None:
    """Say what went wrong, in one line; brackets in it are text and no markup."""
    console.print(f"[red]{escape(what)}:[/red] {escape(message)}", highlight=False, soft_wrap=True)


def _report(line: str) -> None:
    if os.environ.get("RANK", "0") == "0":  # of several processes, one speaks
        console.print(line, highlight=False, markup=False, soft_wrap=True)


@app.command()
@handle_errors
@needs_extra("train", "predict")
def predict(
    photos: Annotated[
        list[Path] | None, typer.Argument(metavar="PHOTO...", help="Photographs.")
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="One JSON object a photo and line.")
    ] = False,
    checkpoint: Annotated[
        Path | None,
        typer.Option(help="A checkpoint's folder or exported file; the shipped one unless given."),
    ] = None,
    heatmap: Annotated[
        Path | None, typer.Option(help="Write the heat map of a single photo to this PNG file.")
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
    if manifest:
        if photos or as_json or heatmap or not root or not out:
            raise typer.BadParameter("--manifest goes with --root and --out, and without photos")
        _predict_table(manifest, root, out, checkpoint, prior, context, workers, engine)
    if not photos:
        raise typer.BadParameter("name a photo, or give --manifest, --root and --out")
    if heatmap and len(photos) > 1:
        raise typer.BadParameter("give one photo at a time with --heatmap")
    from calcinosis.common.cpu import available_cores
    from calcinosis.common.errors import PhotoError
    from calcinosis.model.config import SHIPPED
    from calcinosis.model.heatmap import overlay
    from calcinosis.model.photo import open_photo
    from calcinosis.model.predictor import Predictor

    try:
        threads = 1 if len(photos) > 1 else None
        reader = Predictor(
            checkpoint or SHIPPED, prior=_chances(prior), context=_names(context), threads=threads
        )
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None
    failed = False
    for path, finding in zip(
        photos, reader.read_each(photos, workers=available_cores()), strict=True
    ):
        if isinstance(finding, PhotoError):
            failed = True
            trouble = {"code": finding.code, "message": finding.message}
            if as_json:
                print(json.dumps({"file": str(path), "error": trouble}, ensure_ascii=False))
            else:
                print_error(str(path), finding.message)
            continue
        if as_json:
            print(
                json.dumps({"file": str(path), **finding.as_json()}, ensure_ascii=False), flush=True
            )
        else:
            _print_finding(path, finding)
        if heatmap and finding.heat_map:
            overlay(open_photo(path), finding.heat_map).save(heatmap, format="PNG")
    raise typer.Exit(1 if failed else 0)


def _chances(prior: str | None) -> tuple[float, ...] | None:
    return tuple(float(part) for part in prior.split(",")) if prior else None


def _names(context: str | None) -> list[str]:
    return [name.strip() for name in context.split(",")] if context else []


def _predict_table(
    manifest: Path,
    root: Path,
    out: Path,
    checkpoint: Path | None,
    prior: str | None,
    context: str | None,
    workers: int | None,
    engine: Literal["here", "ray"],
) -> NoReturn:
    """Read all that a manifest names; ends with the exit code of `predict`."""
    from calcinosis.bulk.reading import Job
    from calcinosis.bulk.run import open_run
    from calcinosis.common.cpu import available_cores
    from calcinosis.common.progress import track
    from calcinosis.model.config import SHIPPED
    from calcinosis.model.predictor import Predictor

    try:
        folder = checkpoint or SHIPPED
        chances = _chances(prior)
        if context:
            asked = Predictor(folder, prior=chances, context=_names(context))
            chances = tuple(asked.prior.tolist())
        job = Job(root, folder, chances)
        run = open_run(manifest, job, out)
        read = run.read(workers=workers or available_cores(), engine=engine)
        rows = (row for bunch in read for row in range(bunch))
        for _ in track(rows, "Reading the photographs", total=run.listing.rows, done=run.done):
            pass
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None
    _report(
        f"asked about {run.listing.rows:,} photos, {run.listing.rows - run.failed:,} got a finding; "
        f"the table is in {out}"
    )
    raise typer.Exit(1 if run.failed else 0)


def _print_finding(path: Path, finding: Any) -> None:
    print(f"{path}\n  {finding.headline}")
    for label, probability in finding.probabilities.items():
        mark = "cannot be excluded" if label in finding.prediction_set else ""
        print(f"  {probability:6.1%}  {label:18} {mark}".rstrip())
    for sentence in (*finding.reasons, finding.advice):
        print(f"  {sentence}")


@app.command()
@handle_errors
@needs_extra("demo", "demo")
def demo(
    port: Annotated[int, typer.Option(help="Port on 127.0.0.1.")] = 7860,
    checkpoint: Annotated[
        Path | None, typer.Option(help="Folder of a checkpoint; the shipped one unless given.")
    ] = None,
    photos: Annotated[
        Path | None, typer.Option(help="Folder of labelled photographs of your own, for a quiz.")
    ] = None,
    manifest: Annotated[
        Path | None, typer.Option(help="CSV that labels them, one row a photo.")
    ] = None,
) -> None:
    """Serve the page in a browser, on this machine alone."""
    if (photos is None) != (manifest is None):
        raise typer.BadParameter("give --photos and --manifest together")
    from calcinosis.data.manifest import resolve
    from calcinosis.model.config import SHIPPED, load_config
    from calcinosis.page.server import serve

    folder = checkpoint or SHIPPED
    quiz = []
    if photos and manifest:
        rows = _checked_rows(manifest, photos, load_config(folder).labels)
        quiz = [(resolve(photos, row), row.label) for row in rows]
    serve(port=port, checkpoint=folder, quiz=quiz)


@app.command()
@handle_errors
@needs_extra("data", "audit")
def audit(
    manifest: ManifestOption,
    root: RootOption,
    out: OutFolder,
    checkpoint: Annotated[
        Path | None, typer.Option(help="Whose backbone says what is alike; the shipped one's.")
    ] = None,
    workers: Annotated[int, typer.Option(min=1, help="Threads.")] = 2,
    labels: LabelsOption = None,
    config: LabelledConfigOption = None,
) -> None:
    """Look for copies, marks, contradicted labels, off-topic pictures and confounding."""
    from calcinosis.data.audit import audit as find_faults
    from calcinosis.model.checkpoint import SHIPPED
    from calcinosis.model.embedding import Embedder
    from calcinosis.model.photo import open_photo
    from rich.progress import Progress

    rows = _checked_rows(manifest, root, _label_set(labels, config))
    embed = Embedder(checkpoint or SHIPPED)
    with Progress(console=console) as bars:
        bar_of: dict[str, Any] = {}

        def show(step: str, done: int, of: int) -> None:
            if step not in bar_of:
                bar_of[step] = bars.add_task(step, total=of)
            bars.update(bar_of[step], completed=done)

        found = find_faults(
            rows, root, out, open_photo=open_photo, embed=embed, workers=workers, progress=show
        )
    for kind, count in found.summary["suspicions"].items():
        _report(f"{kind.replace('_', ' ')}: {count}")
    _report(f"wrote audit.json, audit.csv and audit.html to {out}")


@app.command()
@handle_errors
@needs_extra("data", "split")
def split(
    manifest: ManifestOption,
    out: Annotated[Path, typer.Option("--out", help="CSV to write.")],
    folds: Annotated[int, typer.Option(min=2, help="How many folds.")] = 5,
    seed: Annotated[int, typer.Option(help="Another seed gives another split.")] = 0,
    leave_source_out: Annotated[
        bool, typer.Option("--leave-source-out", help="One fold a source instead.")
    ] = False,
    audit_table: Annotated[
        Path | None,
        typer.Option("--audit", help="The audit.csv of the photos: copies get one group."),
    ] = None,
    exclude: Annotated[
        Path | None, typer.Option(help="CSV of photos to leave out: file, reason.")
    ] = None,
    labels: LabelsOption = None,
    config: LabelledConfigOption = None,
) -> None:
    """Give every photo a fold; photos of one group stay together, and so do copies."""
    from calcinosis.data.manifest import leave_out, read_manifest, write_manifest
    from calcinosis.data.splits import assign_folds, check_folds, join_groups, leave_one_source_out

    rows = read_manifest(manifest, labels=_label_set(labels, config))
    if exclude is not None:
        rows = leave_out(rows, exclude)
    if audit_table is not None:
        from calcinosis.data.audit import read_pairs

        rows = join_groups(rows, read_pairs(audit_table))
    folded = leave_one_source_out(rows) if leave_source_out else assign_folds(rows, folds, seed)
    check_folds(folded)
    write_manifest(folded, out)
    for fold in sorted({row.fold for row in folded if row.fold is not None}):
        counts = {
            label: sum(row.fold == fold and row.label == label for row in folded)
            for label in sorted({row.label for row in folded})
        }
        _report(f"fold {fold}: " + ", ".join(f"{count} {label}" for label, count in counts.items()))


@app.command()
@handle_errors
@needs_extra("train", "train")
def train(
    manifest: ManifestOption,
    root: RootOption,
    config: ConfigOption,
    out: OutFolder,
    resume: ResumeOption = False,
    cache: CacheOption = None,
    device: DeviceOption = "cpu",
    precision: PrecisionOption = "auto",
    watermark: WatermarkOption = True,
    leave_source_out: LeaveSourceOutOption = False,
    learning_curve: LearningCurveOption = False,
    foreign: Annotated[
        bool,
        typer.Option("--foreign", help="Judge conditions it never learnt, and no photos, too."),
    ] = False,
    off_topic: Annotated[
        Path | None,
        typer.Option(help="With --foreign: CSV of file and reason of more that is no photo."),
    ] = None,
) -> None:
    """Cross-validate a recipe, fit it on every photo, and write a checkpoint with its card."""
    from calcinosis.training.fit.device import Device
    from calcinosis.training.recipe import load_recipe
    from calcinosis.training.train import train as run

    recipe = load_recipe(config)
    rows = _checked_rows(manifest, root, recipe.labels)
    places = {"--manifest": manifest, "--root": root, "--config": config, "--out": out}
    run(
        rows,
        root,
        recipe,
        out,
        cache=cache or out / "cache",
        resume=resume,
        report=_report,
        command=reproduce_command("train", places),
        hardware=Device(device, precision),
        watermark=watermark,
        leave_source_out=leave_source_out,
        learning_curve=learning_curve,
        foreign=foreign,
        off_topic=off_topic,
    )
    _report(f"checkpoint, card and figures are in {out}")
    _draw_graph(out)


def _draw_graph(checkpoint: Path) -> None:
    """Let a new checkpoint answer without PyTorch; without its graph it answers as well, but later."""
    if os.environ.get("RANK", "0") != "0":  # of several processes, one writes
        return
    from calcinosis.common.errors import CheckpointError
    from calcinosis.model.export import write_graph

    try:
        write_graph(checkpoint)
    except CheckpointError as error:
        _report(f"without a graph, PyTorch will answer: {error}")


@app.command()
@handle_errors
@needs_extra("export", "export")
def export(
    out: Annotated[
        Path | None, typer.Option("--out", help="File to write; for onnx alone.")
    ] = None,
    checkpoint: Annotated[
        Path | None, typer.Option(help="Folder of a checkpoint; the shipped one unless given.")
    ] = None,
    file_format: Annotated[
        Literal["onnx", "graph"],
        typer.Option(
            "--format",
            help="onnx: one file with everything in it; graph: the layers alone, into the checkpoint's "
            "folder, so that it answers without PyTorch.",
        ),
    ] = "onnx",
) -> None:
    """Write a checkpoint as ONNX, compared with PyTorch; `predict --checkpoint` reads it."""
    if (file_format == "onnx") != (out is not None):
        raise typer.BadParameter("--out names the file of --format onnx, and goes with it alone")
    from calcinosis.model.config import GRAPH, SHIPPED
    from calcinosis.model.export import export_onnx, write_graph

    folder = checkpoint or SHIPPED
    if out:
        export_onnx(folder, out)
    else:
        write_graph(folder)
    _report(f"wrote {out or folder / GRAPH}; ONNX Runtime answers as PyTorch does")


@app.command()
@handle_errors
@needs_extra("train", "crossval")
def crossval(
    manifest: ManifestOption,
    root: RootOption,
    config: ConfigOption,
    out: OutFolder,
    resume: ResumeOption = False,
    cache: CacheOption = None,
    device: DeviceOption = "cpu",
    precision: PrecisionOption = "auto",
    watermark: WatermarkOption = True,
    leave_source_out: LeaveSourceOutOption = False,
    learning_curve: LearningCurveOption = False,
) -> None:
    """Cross-validate a recipe: every photo is judged by a network that saw none of its group."""
    from calcinosis.training.crossval import cross_validate
    from calcinosis.training.fit.device import Device
    from calcinosis.training.recipe import load_recipe

    recipe, hardware = load_recipe(config), Device(device, precision)
    rows = _checked_rows(manifest, root, recipe.labels)
    _, _, metrics = cross_validate(
        rows,
        root,
        recipe,
        out,
        cache=cache or out / "cache",
        resume=resume,
        report=_report,
        hardware=hardware,
        watermark=watermark,
        leave_source_out=leave_source_out,
        learning_curve=learning_curve,
    )
    if hardware.writes:
        _print_figures(metrics)


@app.command()
@handle_errors
@needs_extra("train", "evaluate")
def evaluate(
    manifest: ManifestOption,
    root: RootOption,
    out: OutFolder,
    checkpoint: Annotated[
        Path | None, typer.Option(help="Folder of a checkpoint; the shipped one unless given.")
    ] = None,
) -> None:
    """Measure a checkpoint on photographs that it did not learn from."""
    from calcinosis.model.checkpoint import SHIPPED, load_config
    from calcinosis.training.evaluate.run import evaluate as run

    folder = checkpoint or SHIPPED
    rows = _checked_rows(manifest, root, load_config(folder).labels)
    metrics = run(rows, root, folder, out)
    _report(f"asked about {len(rows):,} photos, {metrics['n']:,} answered; the report is in {out}")
    _print_figures(metrics)


@app.command()
@handle_errors
@needs_extra("bench", "bench")
def bench(
    photos: Annotated[
        Path | None, typer.Option(help="Folder of photographs; pictures are drawn unless given.")
    ] = None,
    manifest: Annotated[Path | None, typer.Option(help="CSV that names them.")] = None,
    count: Annotated[int, typer.Option(min=4, help="How many photos.")] = 40,
    repeats: Annotated[int, typer.Option(min=1, help="How often each is read.")] = 3,
    starts: Annotated[int, typer.Option(min=1, help="How many cold starts.")] = 5,
    out: Annotated[Path | None, typer.Option("--out", help="Write the figures as JSON.")] = None,
) -> None:
    """Measure how long a finding takes, beside the network alone and other ways to run it."""
    if (photos is None) != (manifest is None):
        raise typer.BadParameter("give --photos and --manifest together")
    import timm  # noqa: F401 (what all is measured beside; missing, it is missed at once)
    import torch  # noqa: F401
    from calcinosis.benchmarks.speed import main as measure

    measure(photos, manifest, count=count, repeats=repeats, starts=starts, out=out)


@sets.command("list")
@handle_errors
@needs_extra("data", "data list")
def list_sets(
    name: Annotated[
        str | None, typer.Argument(metavar="[SET]", help="Say all that is known of this set.")
    ] = None,
) -> None:
    """List the sets that hold or negate the three conditions, and on what terms."""
    from calcinosis.data.catalogue import find_set, shown
    from calcinosis.data.catalogue import list_sets as all_sets

    if name:
        for key, value in find_set(name).model_dump().items():
            given = value.items() if isinstance(value, dict) else [("", value)]
            for part, what in given:
                print(f"{f'{key} {part}'.strip():24} {_plainly(what)}")
        return
    columns = "{:17} {:>8} {:>10} {:>8} {:>8}  {:11} {:6} {:6} {}"
    titles = ("set", "photos", "calcinosis", "tophi", "milia", "access", "fetch", "build")
    print(columns.format(*titles, "licence"))
    for entry in all_sets():
        held = (entry.holds.calcinosis_cutis, entry.holds.gouty_tophus, entry.holds.milium)
        able = ("yes" if entry.fetch else "no", "yes" if entry.build else "no")
        counts = (shown(number) for number in (entry.images, *held))
        print(columns.format(entry.name, *counts, entry.access, *able, entry.licence))


def _plainly(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, tuple):
        return ", ".join(value)
    return "unknown" if value is None else str(value)


@sets.command("download")
@handle_errors
@needs_extra("data", "data download")
def download_set(
    name: Annotated[str, typer.Argument(metavar="SET", help="A name from `data list`.")],
    to: Annotated[Path, typer.Option("--to", help="Folder to write to.")],
    only: Annotated[
        str, typer.Option(help="Kinds of photo, with commas: target, lookalike, distant.")
    ] = "",
    limit: Annotated[int, typer.Option(min=0, help="At most so many photos; 0 for all.")] = 0,
    search: Annotated[str, typer.Option(help="For isic: a query in its own language.")] = "",
    contact: Annotated[
        str, typer.Option(help="An address that a server's owner can write to.")
    ] = "",
    retry_dead: Annotated[
        bool, typer.Option("--retry-dead", help="Ask again for links found dead before.")
    ] = False,
) -> None:
    """Fetch a set; started again, it goes on where it was."""
    from calcinosis.data.download.run import KINDS, download

    kinds = tuple(only.split(",")) if only else KINDS
    if set(kinds) - set(KINDS):
        raise typer.BadParameter("--only takes target, lookalike and distant, with commas")
    summary = download(
        name,
        to,
        kinds=kinds,
        limit=limit,
        search=search,
        contact=contact,
        retry_dead=retry_dead,
    )
    _report(f"{summary.done:,} photos are in {to}, {summary.fetched:,} of them new")
    if summary.lost:
        why = ", ".join(f"{code} {count:,}" for code, count in summary.reasons().items())
        _report(
            f"{summary.dead:,} links are dead and {summary.failed:,} failed this time ({why}); "
            f"each is in {to / 'dead_links.csv'}"
        )
    for place in summary.terms:
        _report(f"terms: {place}")
    raise typer.Exit(1 if summary.failed else 0)


@sets.command("build")
@handle_errors
@needs_extra("data", "data build")
def build_set(
    name: Annotated[str, typer.Argument(metavar="SET", help="A name from `data list`.")],
    root: Annotated[Path, typer.Option("--root", help="Folder that holds the set's own files.")],
    out: Annotated[Path, typer.Option("--out", help="Manifest to write.")],
) -> None:
    """Turn a set's own files into a manifest; what is missing and dropped is listed beside it."""
    from calcinosis.data.sources import build, write_build

    result = build(name, root)
    for place in write_build(result, out):
        _report(f"wrote {place}")
    groups = len({row.group for row in result.rows})
    _report(
        f"{len(result.rows):,} photos in {groups:,} groups, {len(result.missing):,} missing, "
        f"{len(result.dropped):,} dropped"
    )
    for remark in result.notes:
        _report(f"note: {remark}")


def _label_set(labels: str | None, config: Path | None) -> tuple[str, ...]:
    """The labels that a manifest may use: named one by one, or a recipe's, or this project's."""
    if labels and config:
        raise typer.BadParameter("give --labels or --config, not both")
    if config:
        from calcinosis.training.recipe import load_recipe

        return load_recipe(config).labels
    from calcinosis.model.labels import LABELS

    return tuple(labels.split(",")) if labels else LABELS


def _checked_rows(manifest: Path, root: Path, labels: tuple[str, ...]) -> list[Any]:
    from calcinosis.data.manifest import check_files, read_manifest

    rows = read_manifest(manifest, labels=labels)
    check_files(rows, root)
    return rows


def reproduce_command(command: str, places: dict[str, Path]) -> str:
    """A command as it may stand in a card: a place outside the working folder keeps its name only."""
    arguments = [
        (name, path.name if path.is_absolute() else str(path)) for name, path in places.items()
    ]
    return shlex.join(["calcinosis", command, *(part for pair in arguments for part in pair)])


def _print_figures(metrics: dict[str, Any]) -> None:
    """Print the figures of the whole table; those of its subgroups are in metrics.json."""
    subgroups = [name for name in metrics if name.startswith(("by_", "leave_"))]
    for name, figure in _figures({k: v for k, v in metrics.items() if k not in subgroups}):
        shown = "not measured" if figure["value"] is None else f"{figure['value']:.3f}"
        known = figure["low"] is not None
        interval = f"{figure['low']:.3f} to {figure['high']:.3f}" if known else ""
        print(f"{name:42} {shown:>12}   {interval:16} n = {figure['n']}")


def _figures(metrics: dict[str, Any], above: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    for name, value in metrics.items():
        if isinstance(value, dict) and "value" in value:
            yield above + name, value
        elif isinstance(value, dict) and not name.startswith("by_"):
            yield from _figures(value, f"{above}{name}.")


def main() -> None:
    """Run the command line."""
    app()


if __name__ == "__main__":
    main()
