"""`calcinosis doctor`: whether this machine computes what the checkpoint's maker did."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from calcinosis.cli.errors import handle_errors, print_line, print_note
from calcinosis.cli.options import CheckpointOption

if TYPE_CHECKING:
    from PIL import Image


@handle_errors("doctor", "train")
def doctor(
    checkpoint: CheckpointOption = None,
    renew: Annotated[
        bool,
        typer.Option(
            "--renew",
            help="Store the values of this machine instead, where they are known to be right.",
        ),
    ] = False,
) -> None:
    """Compare logits, embeddings and gate values of a dozen drawn pictures with stored ones."""
    from calcinosis.model import doctor
    from calcinosis.model.config import SHIPPED
    from calcinosis.model.predictor import Predictor

    predictor = Predictor(checkpoint or SHIPPED, skip_ood_check=True)
    pictures = drawn_pictures()
    machine = doctor.machine(predictor)
    _print_machine(machine)
    if renew:
        print_note(f"stored in {doctor.renew(predictor, pictures)}")
        return
    checkup = doctor.check(predictor, pictures)
    for kind, difference in checkup.differences.items():
        bound = doctor.TOLERANCES[kind]
        verdict = "agree" if difference <= bound else "DIFFER"
        print_line(
            f"{kind:14} {verdict:7} largest difference {difference:.1e}, tolerance {bound:g}"
        )
    if checkup.redrawn:
        print_line(f"{checkup.redrawn} of {len(pictures)} pictures were drawn otherwise here")
    print_line(
        f"{len(pictures)} drawn pictures: this machine computes what was stored"
        if checkup.agrees
        else "do not rely on a finding of this machine; report it with the lines above"
    )
    raise typer.Exit(0 if checkup.agrees else 1)


def drawn_pictures() -> "list[Image.Image]":
    """The pictures whose values are stored: the same on every machine, a dozen."""
    from calcinosis.data.synthetic import LOOKS, draw

    return [draw(label, seed, (640, 480)) for seed in range(3) for label in LOOKS]


def _print_machine(machine: dict[str, Any]) -> None:
    versions = ", ".join(f"{name} {version}" for name, version in machine["versions"].items())
    features = " ".join(machine["features"]) or "unknown"
    print_line(f"processor      {machine['processor']}; features: {features}")
    print_line(f"libraries      {versions}; the network runs in {machine['backend']}")
