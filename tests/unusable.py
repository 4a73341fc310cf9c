"""Drawn pictures that the quality gate must refuse, by the code of its reason."""

from collections.abc import Callable
from typing import Final

from PIL import Image, ImageDraw, ImageFilter, ImageOps

Degrade = Callable[[Image.Image], Image.Image]


def scaled(factor: float) -> Degrade:
    return lambda photo: Image.eval(photo, lambda value: min(255, round(value * factor)))


def screenshot(photo: Image.Image) -> Image.Image:
    page = Image.new("RGB", (500, 500), (242, 242, 247))
    page.paste(photo.resize((180, 160)), (160, 170))
    return page


def tube(photo: Image.Image) -> Image.Image:
    square = ImageOps.fit(photo, (400, 400))
    disc = Image.new("L", square.size)
    ImageDraw.Draw(disc).ellipse((0, 0, 400, 400), fill=255)
    return Image.composite(square, Image.new("RGB", square.size), disc)


UNUSABLE: Final[dict[str, Degrade]] = {
    "too_small": lambda photo: photo.resize((90, 80)),
    "too_dark": scaled(0.15),
    "too_bright": lambda photo: Image.blend(photo, Image.new("RGB", photo.size, "white"), 0.99),
    "blank": lambda photo: Image.new("RGB", photo.size, (180, 140, 120)),
    "screenshot": screenshot,
    "no_colour": lambda photo: photo.convert("L").convert("RGB"),
    "no_skin": lambda photo: Image.merge("RGB", photo.split()[::-1]),
    "dermoscopy": tube,
    "blurred": lambda photo: photo.filter(ImageFilter.GaussianBlur(12)),
}
