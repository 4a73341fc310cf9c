"""Drawn pictures that stand in for photographs: all can be tried and tested where there are none."""

import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from calcinosis.data.manifest import OTHER, Row, write_manifest

Colour = tuple[int, int, int]

LOOKS: Final = ("calcinosis_cutis", "gouty_tophus", "milium", OTHER)
"""The labels that have a look of their own; any other label gets one from its name."""

SKINS: Final[tuple[Colour, ...]] = ((208, 160, 136), (232, 194, 172), (128, 86, 66))
_WHOLE: Final = (320, 288)  # pixels: large enough for the photo-quality gate
_LOGO: Final = (0.03, 0.86, 0.3, 0.96)  # left, upper, right, lower, as shares of the picture


def draw(
    label: str,
    seed: int = 0,
    size: tuple[int, int] = (144, 128),
    *,
    skin: Colour = SKINS[0],
    contrast: float = 1.0,
) -> Image.Image:
    """An RGB picture with the coarsest look of a label: the same for the same arguments.

    Args:
        label: what it shows.
        seed: another one gives another picture.
        size: width and height in pixels.
        skin: the colour around.
        contrast: from 0, the skin's own colour, to 1, the label's.
    """
    name = LOOKS.index(label) if label in LOOKS else zlib.crc32(label.encode())
    random = np.random.default_rng([seed, name])
    width, height = size
    tone = np.array(skin) + random.integers(-15, 15)
    grain = random.normal(0, 4, (height, width, 1))
    picture = Image.fromarray((tone + grain).clip(0, 255).astype(np.uint8))
    pen = ImageDraw.Draw(picture)

    def blob(centre: NDArray[np.float64], radius: float, colour: Colour) -> None:
        (x, y), r = centre, radius * min(size)
        mixed = contrast * np.array(colour) + (1 - contrast) * tone
        fill = tuple(int(part) for part in mixed.clip(0, 255))
        pen.ellipse((x * width - r, y * height - r, x * width + r, y * height + r), fill=fill)

    if label == "calcinosis_cutis":  # a few chalky plaques
        for _ in range(5):
            blob(random.uniform(0.3, 0.7, 2), random.uniform(0.06, 0.1), (250, 248, 240))
    elif label == "gouty_tophus":  # one large yellow lump
        blob(random.uniform(0.4, 0.6, 2), random.uniform(0.28, 0.36), (226, 196, 96))
    elif label == "milium":  # many white dots
        for _ in range(30):
            blob(random.uniform(0.1, 0.9, 2), 0.015, (252, 250, 246))
    elif label == OTHER:  # a dark patch
        blob(random.uniform(0.4, 0.6, 2), random.uniform(0.2, 0.3), (96, 48, 40))
    else:  # blobs whose colour, size and number come from the label's name
        of_name = np.random.default_rng(name)
        red, green, blue = (int(part) for part in of_name.integers(40, 255, 3))
        radius, count = of_name.uniform(0.04, 0.16), of_name.integers(2, 9)
        for _ in range(count):
            blob(random.uniform(0.25, 0.75, 2), radius, (red, green, blue))
    return picture


def draw_set(
    root: Path,
    labels: Sequence[str] = LOOKS,
    of_each: int = 12,
    *,
    size: tuple[int, int] = (144, 128),
) -> list[Row]:
    """Drawings below a root folder, each its own group, with their rows; also `root/manifest.csv`."""
    rows = []
    for label in labels:
        for number in range(of_each):
            file = f"{label}-{number}.jpg"
            draw(label, number, size).save(root / file, quality=90)
            kind = "target" if label != OTHER else ("lookalike", "distant")[number % 2]
            rows.append(
                Row(file, label, "drawn", f"{label}-{number}", source_label=label, kind=kind)
            )
    write_manifest(rows, root / "manifest.csv")
    return rows


def draw_flawed_set(
    root: Path, labels: Sequence[str] = LOOKS, of_each: int = 20, *, seed: int = 0
) -> list[Row]:
    """Drawings with the flaws of collected photographs, below a root folder; also `root/manifest.csv`.

    Two pictures show one patient. Three tones of skin occur. What a label looks like is faint in some.
    One of the two sources prints a logo on its pictures and holds four fifths of the first label but a
    third of the others, so that the logo tells the label. One picture of each label is there once more,
    smaller and under another patient's name.
    """
    root.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(seed)
    rows = []
    for label in labels:
        marked = of_each * (0.8 if label == labels[0] else 0.33)
        for number in range(of_each):
            patient, source = number // 2, "atlas" if number < marked else "clinic"
            picture = draw(
                label,
                number,
                _WHOLE,
                skin=SKINS[patient % len(SKINS)],
                contrast=random.uniform(0.15, 1.0),
            )
            if source == "atlas":
                _print_logo(picture)
            kind = "target" if label != OTHER else ("lookalike", "distant")[patient % 2]
            row = Row(f"{label}-{number}.jpg", label, source, f"{label}-{patient}", label, kind)
            picture.save(root / row.file, quality=90)
            rows.append(row)
        copy = Row(f"{label}-copy.jpg", label, source, f"{label}-copy", label, kind)
        picture.resize((240, 216)).save(root / copy.file, quality=80)
        rows.append(copy)
    write_manifest(rows, root / "manifest.csv")
    return rows


def _print_logo(picture: Image.Image) -> None:
    width, height = picture.size
    left, upper, right, lower = (
        share * side for share, side in zip(_LOGO, (width, height, width, height), strict=True)
    )
    pen = ImageDraw.Draw(picture)
    pen.rectangle((left, upper, right, lower), outline=(20, 60, 120), width=3)
    for number in range(4):
        x = left + (number + 0.5) * (right - left) / 4
        pen.line((x, upper + 6, x + 8, lower - 6), fill=(20, 60, 120), width=3)
