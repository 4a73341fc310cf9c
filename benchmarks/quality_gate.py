"""The photo-quality gate on real photographs and on copies of them made unusable on purpose.

    python benchmarks/quality_gate.py --manifest photos.csv --root photos/

The photographs are halved by group. Every bound of `model/quality.py` was chosen on the first half alone, from
its first 320 photographs: just beyond the last, or the last three, of them where most copies were already
outside, and for darkness in the gap between the darkest of them (182) and the brightest copy at a tenth of the
light (91), nearer to the copies. The second half was not looked at before it was measured (the bound on sharpness
was then eased from 3 to 2.5, and to 1.5 for framed close-ups, since drawn pictures need it); the properties that are
measured had been thought of on a sample of both.

With `--most 160 --off-topic data/curated/excluded.csv` the second half gave: 2 of 160 good ones refused (1.2 %,
0.3 to 4.4); caught 96 to 100 % of every kind of copy but four, which are the mildest of their kind: 18 % at a fifth of
the light, 58 % shaken by 6 %, 81 % at twice the light and 89 % blurred by 1 %. Of 11 real pictures that are no
photograph of skin 9 were refused, all five X-rays among them; two of food passed.

The bound on what is washed out was chosen anew when a white background ceased to count (0.15 before, on all pixels):
the same half then had 79 % at twice the light and 92 % with glare in the middle, where it now has 81 and 98 %.

`--shrunk` says what fewer pixels do to the shipped checkpoint's answer, which is what the least side was chosen on;
`model/quality.py` has the figures for `--most 160 --shrunk`. Nearly all the photographs had been learnt from, so
they say how much depends on the pixels, and not how often an answer is right.

"Good" are photographs of the conditions and of their look-alikes as they come, so the few X-rays and
micrographs among them count against the gate. `--off-topic` adds real pictures that are no photograph of skin.
"""

import argparse
import csv
import io
import random
import zlib
from collections import Counter, defaultdict
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from calcinosis.data.manifest import Row, read_manifest
from calcinosis.model.labels import LABELS
from calcinosis.model.photo import open_photo
from calcinosis.model.predictor import Predictor
from calcinosis.model.quality import find_quality_issue
from calcinosis.training.evaluate.bootstrap import wilson_interval

Degrade = Callable[[Image.Image], Image.Image]
_SIDES = (260, 192, 128, 96, 64)  # pixels on the shorter side
_MOST_SIDE = 512  # a phone's photo is larger, but what is measured is 256 pixels wide


def blurred(share: float) -> Degrade:
    """Out of focus by a Gaussian of a share of the shorter side."""
    return lambda photo: photo.filter(ImageFilter.GaussianBlur(share * min(photo.size)))


def shaken(share: float) -> Degrade:
    """Moved sideways during the exposure, by a share of the shorter side."""

    def shake(photo: Image.Image) -> Image.Image:
        steps = max(2, round(share * min(photo.size)))
        pixels = np.asarray(photo, dtype=np.float32)
        moved = np.mean([np.roll(pixels, step, axis=1) for step in range(steps)], axis=0)
        return Image.fromarray(moved.astype(np.uint8))

    return shake


def exposed(factor: float) -> Degrade:
    """Given more or less light, then clipped, with a sensor's noise."""

    def expose(photo: Image.Image) -> Image.Image:
        light = (np.asarray(photo, dtype=np.float32) / 255) ** 2.2 * factor
        grain = np.random.default_rng(0).normal(0, 2, light.shape)
        return Image.fromarray(
            (255 * light.clip(0, 1) ** (1 / 2.2) + grain).clip(0, 255).astype("uint8")
        )

    return expose


def glaring(photo: Image.Image) -> Image.Image:
    """With a lamp's or a flash's spot in the middle: ten times the light there, fading over a third of the side."""
    light = (np.asarray(photo, dtype=np.float32) / 255) ** 2.2
    height, width = light.shape[:2]
    down, across = np.mgrid[:height, :width]
    squared = ((down - height / 2) ** 2 + (across - width / 2) ** 2) / min(height, width) ** 2
    spot = light * (1 + 9 * np.exp(-squared / (2 * 0.15**2)))[..., None]
    return Image.fromarray((255 * spot.clip(0, 1) ** (1 / 2.2)).astype("uint8"))


def tiny(photo: Image.Image) -> Image.Image:
    return photo.resize(
        (round(64 * photo.width / min(photo.size)), round(64 * photo.height / min(photo.size)))
    )


def negative(photo: Image.Image) -> Image.Image:
    """As an X-ray: inverted and without colour."""
    return Image.eval(photo.convert("L"), lambda value: 255 - value).convert("RGB")


def through_a_tube(photo: Image.Image) -> Image.Image:
    """As a dermatoscope shows it: a disc on black."""
    side = min(photo.size)
    square = photo.crop((0, 0, side, side))
    disc = Image.new("L", square.size)
    ImageDraw.Draw(disc).ellipse((0, 0, side, side), fill=255)
    return Image.composite(square, Image.new("RGB", square.size), disc)


def on_a_screen(photo: Image.Image) -> Image.Image:
    """In a page with lines of text above and below."""
    page = Image.new("RGB", (640, 900), "white")
    pen = ImageDraw.Draw(page)
    for line in (*range(30, 190, 26), *range(620, 870, 26)):
        pen.rectangle((30, line, 200 + line * 7 % 400, line + 12), fill=(50, 50, 50))
    small = photo.copy()
    small.thumbnail((300, 300))
    page.paste(small, (170, 300))
    return page


def no_skin(photo: Image.Image) -> Image.Image:
    """Red and blue exchanged: the texture of skin in a colour that none has."""
    red, green, blue = photo.split()
    return Image.merge("RGB", (blue, green, red))


BAD: dict[str, Degrade] = {
    "blurred by 1 % of the side": blurred(0.01),
    "blurred by 2 %": blurred(0.02),
    "blurred by 4 %": blurred(0.04),
    "shaken by 6 %": shaken(0.06),
    "shaken by 12 %": shaken(0.12),
    "a fifth of the light": exposed(0.2),
    "a tenth of the light": exposed(0.1),
    "a thirtieth of the light": exposed(1 / 30),
    "twice the light": exposed(2),
    "three times the light": exposed(3),
    "eight times the light": exposed(8),
    "glare in the middle": glaring,
    "64 pixels wide": tiny,
    "no colour, inverted": negative,
    "a disc on black": through_a_tube,
    "on a page of text": on_a_screen,
    "no skin colour": no_skin,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--manifest", type=Path, required=True)
    parser.add_argument("--root", type=Path, required=True)
    parser.add_argument("--most", type=int, default=400, help="photographs of each half")
    parser.add_argument("--half", choices=("first", "second"), default="second")
    parser.add_argument("--off-topic", type=Path, help="CSV of file and reason: no photographs")
    parser.add_argument(
        "--shrunk", action="store_true", help="only measure what fewer pixels do to the answer"
    )
    arguments = parser.parse_args()
    rows = [
        row for row in read_manifest(arguments.manifest, labels=LABELS) if row.kind != "distant"
    ]
    random.Random(0).shuffle(rows)  # noqa: S311 - a choice of photographs is no secret
    rows.sort(key=lambda row: row.kind != "target")  # the conditions first, then look-alikes
    halves: dict[str, list[Row]] = {"first": [], "second": []}
    for row in rows:
        half = halves["first" if zlib.crc32(row.group.encode()) % 2 else "second"]
        if len(half) < arguments.most:
            half.append(row)
    if arguments.shrunk:
        report_shrunk(halves[arguments.half], arguments.root)
        return
    report(arguments.half, halves[arguments.half], arguments.root)
    if arguments.off_topic:
        report_off_topic(arguments.off_topic, arguments.root)


def report(name: str, rows: list[Row], root: Path) -> None:
    """Print how many good photographs are refused, and how many bad copies caught."""
    refused: Counter[str] = Counter()
    caught: dict[str, int] = defaultdict(int)
    by_light = []
    for row in rows:
        photo = open_photo(root / row.file)
        photo.thumbnail((_MOST_SIDE, _MOST_SIDE))
        problem = find_quality_issue(photo)
        if problem:
            refused[problem.code] += 1
        by_light.append((np.median(np.asarray(photo.convert("L"))), problem is not None))
        for kind, degrade in BAD.items():
            found = find_quality_issue(_saved(degrade(photo)))
            caught[kind] += found is not None
    total = len(rows)
    print(f"\n{name} half: {total} photographs")
    print(f"  good ones refused: {_share(refused.total(), total)}  {dict(refused)}")
    dark = sorted(by_light)[: total // 5]
    print(f"  of the darkest fifth of them: {_share(sum(no for _, no in dark), len(dark))}")
    for kind in BAD:
        print(f"  caught, {kind:28} {_share(caught[kind], total)}")


def report_shrunk(rows: list[Row], root: Path) -> None:
    """Print how often the shipped checkpoint says the same of a photograph made smaller."""
    reader = Predictor(threads=1)
    same: dict[int, list[tuple[bool, bool]]] = defaultdict(list)
    for row in rows:
        photo = open_photo(root / row.file)
        side = min(photo.size)
        if side < max(_SIDES):
            continue
        whole = _answer(reader, photo)
        for fewer in _SIDES:
            size = (round(photo.width * fewer / side), round(photo.height * fewer / side))
            small = _answer(reader, photo.resize(size, Image.Resampling.LANCZOS))
            same[fewer].append((small[0] == whole[0], small[1] == whole[1]))
    print(f"\n{len(same[_SIDES[0]])} photographs made smaller: same most probable label, same set")
    for fewer, agreed in same.items():
        first, both = (sum(column) for column in zip(*agreed, strict=True))
        print(f"  {fewer:4} pixels: {_share(first, len(agreed))}  {_share(both, len(agreed))}")


def _answer(reader: Predictor, photo: Image.Image) -> tuple[int, tuple[bool, ...]]:
    """The most probable label and the prediction set, whatever the gate would say."""
    config = reader.config
    answer = reader.backend.forward_with_cam(config.preprocessing.array(photo)[None])
    probabilities = config.calibration.probabilities(answer.logits.astype(np.float64))
    members = config.conformal.prediction_sets(probabilities)[0]
    return int(probabilities.argmax()), tuple(bool(member) for member in members)


def report_off_topic(excluded: Path, root: Path) -> None:
    """Print what becomes of real pictures that are no photograph of skin."""
    with excluded.open(encoding="utf-8", newline="") as file:
        rows = [row for row in csv.DictReader(file) if "no clinical" in row["reason"]]
    print(f"\n{len(rows)} pictures that are no photograph of skin")
    for row in rows:
        problem = find_quality_issue(open_photo(root / row["file"]))
        print(f"  {problem.code if problem else 'passed':12} {row['reason']}")


def _saved(photo: Image.Image) -> Image.Image:
    """As a phone would save it."""
    file = io.BytesIO()
    photo.save(file, "JPEG", quality=85)
    return open_photo(file.getvalue())


def _share(count: int, total: int) -> str:
    """A share with its 95 % Wilson interval."""
    low, high = wilson_interval(count, total)
    return f"{count / total:6.1%} ({low:.1%} to {high:.1%})"


if __name__ == "__main__":
    main()
