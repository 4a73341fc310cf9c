"""Pictures that the tests draw: as different from each other, and as alike, as photographs of skin are."""

import io

import cv2
import numpy as np
from PIL import Image, ImageDraw


def skin(seed: int, size: tuple[int, int] = (320, 240)) -> Image.Image:
    """A patch of drawn skin: its tone, light, pores, hairs and spots depend on the seed."""
    rng = np.random.default_rng(seed)
    width, height = size
    tone = np.array([[232, 190, 172], [198, 134, 96], [141, 85, 54], [96, 57, 38]])[
        rng.integers(4)
    ].astype(np.float32)
    y, x = np.mgrid[:height, :width].astype(np.float32)
    lamp = rng.uniform(0.2, 0.8, 2) * (width, height)
    light = 1.15 - 0.5 * np.hypot(x - lamp[0], y - lamp[1]) / max(size)
    relief = cv2.GaussianBlur(rng.normal(size=(height, width)).astype(np.float32), (0, 0), 3)
    pores = cv2.GaussianBlur(rng.normal(size=(height, width)).astype(np.float32), (0, 0), 1)
    grey = light + 0.35 * relief + 0.06 * pores
    picture = Image.fromarray((tone * grey[..., None]).clip(0, 255).astype(np.uint8))
    draw = ImageDraw.Draw(picture)
    for _ in range(rng.integers(3, 15)):
        radius = rng.uniform(3, 22)
        cx, cy = rng.uniform(0, 1, 2) * (width, height)
        colour = tuple(int(v) for v in (tone * rng.uniform(0.5, 1.2, 3)).clip(0, 255))
        draw.ellipse((cx - radius, cy - radius * 0.7, cx + radius, cy + radius * 0.7), fill=colour)
    for _ in range(rng.integers(0, 25)):
        cx, cy = rng.uniform(0, 1, 2) * (width, height)
        dx, dy = rng.normal(0, 30, 2)
        draw.line((cx, cy, cx + dx, cy + dy), fill=(50, 35, 30))
    return picture


def saved(picture: Image.Image, quality: int) -> Image.Image:
    """The picture after a JPEG of some quality."""
    stream = io.BytesIO()
    picture.save(stream, "JPEG", quality=quality)
    return Image.open(io.BytesIO(stream.getvalue())).convert("RGB")


def cropped(picture: Image.Image, rng: np.random.Generator, share: float) -> Image.Image:
    """A crop that keeps `share` of each side."""
    width, height = (round(side * share) for side in picture.size)
    left = int(rng.integers(picture.width - width + 1))
    upper = int(rng.integers(picture.height - height + 1))
    return picture.crop((left, upper, left + width, upper + height))


def stamped(picture: Image.Image, text: str = "atlas", colour: str = "white") -> Image.Image:
    """The picture with a publisher's mark in its lower left."""
    marked = picture.copy()
    draw = ImageDraw.Draw(marked)
    height = picture.height // 8
    left, upper = picture.width // 20, picture.height - 2 * height
    draw.ellipse((left, upper, left + height, upper + height), outline=colour, width=3)
    draw.text((left + height + 6, upper), text, fill=colour, font_size=height * 0.8)
    return marked


def x_ray(seed: int) -> Image.Image:
    rng = np.random.default_rng(seed)
    picture = Image.new("L", (320, 240), 12)
    draw = ImageDraw.Draw(picture)
    for i in range(5):
        x = 40 + i * 55 + int(rng.integers(-8, 8))
        draw.rounded_rectangle((x, 30, x + 24, 210), 12, fill=int(rng.integers(120, 220)))
    return picture.convert("RGB")


def slide(seed: int) -> Image.Image:
    picture = Image.new("RGB", (320, 240), "white")
    draw = ImageDraw.Draw(picture)
    for line in range(7):
        draw.text((20, 20 + 28 * line), f"Slide {seed}, line {line}", fill="navy", font_size=18)
    return picture


def embed(photos) -> np.ndarray:
    """A stand-in for a backbone: n × 216, how much of the photo has each colour, wherever it is."""
    vectors = []
    for photo in photos:
        colours = np.asarray(photo.resize((64, 64), Image.Resampling.BOX)).reshape(-1, 3)
        counts = np.histogramdd(colours, bins=(6, 6, 6), range=[(0, 256)] * 3)[0].reshape(-1)
        vectors.append(np.sqrt(counts))
    return np.stack(vectors)
