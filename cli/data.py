"""`calcinosis data`, `audit` and `split`: photographs are fetched, listed, looked over and divided."""

from pathlib import Path
from typing import Annotated, Final

import typer

from calcinosis.cli.errors import handle_errors, print_line, print_note
from calcinosis.cli.options import (
    LabelledConfigOption,
    LabelsOption,
    ManifestOption,
    OutFolder,
    RootOption,
    checked_rows,
    label_set,
    spare_inputs,
)

sets: Final = typer.Typer(
    help="Public sets of photographs: list, fetch, and make a manifest of them."
)


@sets.command("list")
@handle_errors("data list", "data")
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
                print_line(f"{f'{key} {part}'.strip():24} {_plainly(what)}")
        return
    columns = "{:17} {:>8} {:>10} {:>8} {:>8}  {:11} {:6} {:6} {}"
    titles = ("set", "photos", "calcinosis", "tophi", "milia", "access", "fetch", "build")
    print_line(columns.format(*titles, "licence"))
    for entry in all_sets():
        held = (entry.holds.calcinosis_cutis, entry.holds.gouty_tophus, entry.holds.milium)
        able = ("yes" if entry.fetch else "no", "yes" if entry.build else "no")
        counts = (shown(number) for number in (entry.images, *held))
        print_line(columns.format(entry.name, *counts, entry.access, *able, entry.licence))


def _plainly(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, tuple):
        return ", ".join(value)
    return "unknown" if value is None else str(value)


@sets.command("download")
@handle_errors("data download", "data")
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
    print_note(f"{summary.done:,} photos are in {to}, {summary.fetched:,} of them new")
    if summary.lost:
        why = ", ".join(f"{code} {count:,}" for code, count in summary.reasons().items())
        print_note(
            f"{summary.dead:,} links are dead and {summary.failed:,} failed this time ({why}); "
            f"each is in {to / 'dead_links.csv'}"
        )
    for place in summary.terms:
        print_note(f"terms: {place}")
    raise typer.Exit(1 if summary.failed else 0)


@sets.command("build")
@handle_errors("data build", "data")
def build_set(
    name: Annotated[str, typer.Argument(metavar="SET", help="A name from `data list`.")],
    root: Annotated[Path, typer.Option("--root", help="Folder that holds the set's own files.")],
    out: Annotated[Path, typer.Option("--out", help="Manifest to write.")],
    labels: LabelsOption = None,
    config: LabelledConfigOption = None,
) -> None:
    """Turn a set's own files into a manifest; what is missing and dropped is listed beside it.

    A folder of your own is the set `own`. With --labels or --config, a folder that is named after a
    label is that label.
    """
    from calcinosis.data.sources import build, write_build
    from calcinosis.data.sources.building import PHOTO_SUFFIXES

    spare_inputs("--out", out, config)
    if out.suffix.casefold() in PHOTO_SUFFIXES:
        raise typer.BadParameter("--out names a photo; give the manifest a name that ends in .csv")
    result = build(name, root, labels=label_set(labels, config))
    for place in write_build(result, out):
        print_note(f"wrote {place}")
    groups = len({row.group for row in result.rows})
    print_note(
        f"{len(result.rows):,} photos in {groups:,} groups, {len(result.missing):,} missing, "
        f"{len(result.dropped):,} dropped"
    )
    for remark in result.notes:
        print_note(f"note: {remark}")


@handle_errors("audit", "data")
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
    from calcinosis.model.config import SHIPPED
    from calcinosis.model.embedding import Embedder
    from calcinosis.model.photo import open_photo

    rows = checked_rows(manifest, root, label_set(labels, config))
    embed = Embedder(checkpoint or SHIPPED)
    found = find_faults(rows, root, out, open_photo=open_photo, embed=embed, workers=workers)
    for kind, count in found.summary["suspicions"].items():
        print_note(f"{kind.replace('_', ' ')}: {count}")
    print_note(f"wrote audit.json, audit.csv and audit.html to {out}")


@handle_errors("split", "data")
def split(
    manifest: ManifestOption,
    out: Annotated[Path, typer.Option("--out", help="CSV to write.")],
    folds: Annotated[
        int, typer.Option(min=2, help="How many folds; a photo that has one keeps it.")
    ] = 5,
    seed: Annotated[
        int, typer.Option(help="Another seed gives another split of photos without a fold.")
    ] = 0,
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

    spare_inputs("--out", out, manifest, audit_table, exclude, config)
    rows = whole = read_manifest(manifest, labels=label_set(labels, config))
    if exclude is not None:
        rows = leave_out(whole, exclude)
    if audit_table is not None:
        from calcinosis.data.audit import read_pairs

        rows = join_groups(rows, read_pairs(audit_table), whole)
    folded = leave_one_source_out(rows) if leave_source_out else assign_folds(rows, folds, seed)
    check_folds(folded)
    write_manifest(folded, out)
    for fold in sorted({row.fold for row in folded if row.fold is not None}):
        counts = {
            label: sum(row.fold == fold and row.label == label for row in folded)
            for label in sorted({row.label for row in folded})
        }
        print_note(
            f"fold {fold}: " + ", ".join(f"{count} {label}" for label, count in counts.items())
        )
