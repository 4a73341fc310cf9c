"""The estimated skin tone, against skin drawn in known colours."""

import numpy as np
import pytest
from PIL import Image, ImageDraw

from calcinosis.training.robustness.skin_tone import (
    PREFIX,
    TONES,
    estimate_angle,
    estimate_tone,
    lab,
    tone_of,
)

# L* and b* of drawn skin, and the group that its angle belongs to.
DRAWN = {
    "very_light": (74, 14),
    "light": (68, 17),
    "intermediate": (62, 18),
    "tan": (56, 18),
    "brown": (45, 17),
    "dark": (32, 12),
}


def srgb(lightness, redness, yellowness):
    """The slow way back from L*a*b*, one colour at a time."""
    y = (lightness + 16) / 116
    x, z = y + redness / 500, y - yellowness / 200

    def ratio(t):
        return t**3 if t > 6 / 29 else 3 * (6 / 29) ** 2 * (t - 4 / 29)

    xyz = np.array([0.95047 * ratio(x), ratio(y), 1.08883 * ratio(z)])
    linear = np.linalg.inv(
        [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750], [0.0193339, 0.1191920, 0.9503041]]
    ) @ xyz  # fmt: skip
    value = np.where(
        linear <= 0.0031308, 12.92 * linear, 1.055 * linear.clip(0) ** (1 / 2.4) - 0.055
    )
    return tuple(int(channel) for channel in np.round(value * 255).clip(0, 255))


def drawn_skin(tone, size=(640, 480), seed=0):
    """Skin of one tone with shading and noise, a red and white lesion, a logo and a blue drape."""
    lightness, yellowness = DRAWN[tone]
    photo = Image.new("RGB", size, srgb(lightness, 10, yellowness))
    draw = ImageDraw.Draw(photo)
    width, height = size
    draw.rectangle((0, 0, width, height // 6), fill=(60, 110, 190))
    draw.ellipse((width * 0.4, height * 0.4, width * 0.6, height * 0.6), fill=(190, 60, 60))
    draw.ellipse((width * 0.46, height * 0.46, width * 0.54, height * 0.54), fill=(245, 240, 225))
    draw.rectangle((0, height * 0.92, width * 0.3, height), fill=(255, 255, 255))
    draw.text((8, height * 0.94), "a logo", fill=(0, 60, 120))
    pixels = np.asarray(photo, dtype=float)
    random = np.random.default_rng(seed)
    pixels *= np.linspace(0.97, 1.03, width)[None, :, None]
    pixels += random.normal(scale=4, size=pixels.shape)
    return Image.fromarray(pixels.round().clip(0, 255).astype(np.uint8))


def true_angle(tone):
    lightness, yellowness = DRAWN[tone]
    return np.degrees(np.arctan2(lightness - 50, yellowness))


@pytest.mark.parametrize("tone", DRAWN)
def test_drawn_skin_gets_its_own_tone(tone):
    photo = drawn_skin(tone)
    assert estimate_angle(photo) == pytest.approx(true_angle(tone), abs=4)
    assert estimate_tone(photo) == PREFIX + tone


@pytest.mark.parametrize("tone", ["very_light", "dark"])
def test_the_size_of_the_photo_does_not_matter(tone):
    for size in ((120, 160), (1280, 900)):
        assert estimate_tone(drawn_skin(tone, size)) == PREFIX + tone


def test_the_colour_space_is_the_standards():
    # Reference values of sRGB red, green and blue under D65.
    corners = lab(np.eye(3, dtype=np.float32)[None])[0]
    expected = [[53.24, 80.09, 67.20], [87.73, -86.18, 83.18], [32.30, 79.19, -107.86]]
    np.testing.assert_allclose(corners, expected, atol=0.03)
    np.testing.assert_allclose(lab(np.ones((1, 1, 3), np.float32))[0, 0], [100, 0, 0], atol=0.01)
    np.testing.assert_allclose(lab(np.zeros((1, 1, 3), np.float32))[0, 0], [0, 0, 0], atol=1e-9)


def test_a_picture_without_skin_has_no_tone():
    grey = np.random.default_rng(0).integers(0, 255, (200, 200), dtype=np.uint8)
    for picture in (
        Image.fromarray(grey).convert("RGB"),
        Image.new("RGB", (100, 100), (40, 90, 200)),
        Image.new("RGB", (100, 100), "white"),
        Image.new("RGB", (1, 1), "black"),
    ):
        assert estimate_angle(picture) is None
        assert estimate_tone(picture) == ""


@pytest.mark.parametrize(
    ("angle", "tone"),
    [(90, "very_light"), (55.1, "very_light"), (55, "light"), (28.1, "intermediate"), (28, "tan"),
     (10, "brown"), (-30, "dark"), (-90, "dark")],
)  # fmt: skip
def test_each_angle_has_one_group(angle, tone):
    assert tone_of(angle) == tone
    assert [name for name, _ in TONES] == list(DRAWN)
