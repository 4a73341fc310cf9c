"""Drawings of the page, by code: sites with bumps on them, cross-sections of the skin, and a map of the body.

They are schematic and clearly so; no photograph is behind any of them. Colours are those of the style sheet, so
that a drawing follows light and dark, and each says in words what it shows.
"""

import math
from typing import Final

from markupsafe import Markup, escape

_SKIN: Final = (
    'fill="var(--cc-skin)" stroke="var(--cc-mark)" stroke-width="2" stroke-linejoin="round"'
)
_LINE: Final = 'fill="none" stroke="var(--cc-mark)" stroke-width="2" stroke-linecap="round"'

SCENES: Final = {
    "finger": (
        f'<path {_SKIN} d="M45 120V55a35 42 0 0 1 70 0v65z"/><path {_LINE} d="M55 92q25 8 50 0M57 102q23 6 46 0"/>',
        (80, 50),
    ),
    "ear": (
        f'<path {_SKIN} d="M62 104C30 84 34 14 84 12c42-2 46 44 22 60-12 8-10 20-18 30-8 8-18 8-26 2z"/><path {_LINE} d="M66 84C48 62 54 28 84 28c22 0 24 24 10 36-8 6-6 14-12 20"/>',
        (106, 26),
    ),
    "eye": (
        f'<rect width="160" height="120" rx="12" fill="var(--cc-skin)"/><path {_LINE} d="M22 24q56-24 114 0M26 56q54-38 108 0"/><path fill="var(--cc-chalk)" stroke="var(--cc-mark)" stroke-width="2" d="M26 56q54-34 108 0-54 26-108 0z"/><circle cx="80" cy="54" r="11" fill="var(--cc-mark)"/>',
        (80, 88),
    ),
    "cheek": (
        f'<rect width="160" height="120" rx="12" fill="var(--cc-skin)"/><path {_LINE} d="M132 6q22 50 8 70-14 16-30 8M16 112q30-12 60 0"/>',
        (66, 56),
    ),
    "elbow": (
        f'<path {_SKIN} d="M6 34q60-20 92 8 20 18 36 74H92Q80 86 62 78 34 68 6 78z"/><path {_LINE} d="M84 50q10 6 14 16"/>',
        (92, 50),
    ),
    "heel": (
        f'<path {_SKIN} d="M52 4q-6 40-22 62-14 26 4 42 12 8 36 4l84-2q2-16-20-24-36-8-34-48V4z"/>',
        (46, 88),
    ),
    "toe": (
        f'<path {_SKIN} d="M30 120V62Q26 20 56 14q30-2 30 40 4-26 22-24 18 4 14 32 12-8 18 6 4 22-8 52z"/><path {_LINE} d="M44 24q12-8 24 0"/>',
        (56, 62),
    ),
    "shin": (
        f'<path {_SKIN} d="M44 0q-8 60 6 120h60q14-60 6-120z"/><path {_LINE} d="M80 8v100" stroke-dasharray="2 8"/>',
        (80, 60),
    ),
}
"""What a bump is drawn on, and where on it."""


def _dots(places: str, radius: float, fill: str, middle: str = "") -> str:
    drawn = ""
    for place in places.split():
        x, y = place.split(",")
        drawn += f'<circle cx="{x}" cy="{y}" r="{radius}" fill="{fill}" stroke="var(--cc-mark)" stroke-width=".8"/>'
        if middle:
            drawn += f'<circle cx="{x}" cy="{y}" r="{radius / 3:.1f}" fill="{middle}"/>'
    return drawn


LESIONS: Final = {
    "pearls": _dots("-18,-2 -6,6 7,-4 18,5 0,-12 -24,9", 3.2, "var(--cc-chalk)"),
    "chalk": '<path fill="#f5ecc9" stroke="var(--cc-mark)" d="M-20-4l9-9 10 4 3 10-8 9-11-2zM6-12l12 2 4 9-9 7-9-4zM-2 12l9-3 8 6-6 8-10-3z"/>',
    "lump": '<ellipse rx="19" ry="15" fill="#f0d9a0" stroke="#b4553f" stroke-width="2"/><path fill="var(--cc-chalk)" d="M-8-5l7-3 5 4-6 5zM4 3l6-2 2 5-6 2z"/>',
    "dimpled": _dots("-15,-4 1,7 15,-7", 7, "#f7d9cb", "#9c6a52"),
    "pearly": '<ellipse rx="17" ry="13" fill="#f3ddd6" stroke="#a96a5c" stroke-width="1.5"/><ellipse rx="6" ry="4" fill="#8a4b3c"/><path fill="none" stroke="#c0392b" stroke-width="1.1" d="M-16-2q6 2 9-3M15 3q-5-4-7 1M-3-12q1 5 5 6M-6 11q2-4 0-6"/>',
    "yellow": '<path fill="#efc95a" stroke="#a07c1e" d="M-28 2q6-12 22-9 12 0 18 8-2 10-18 9-16 2-22-8z"/>',
    "stone": '<ellipse rx="16" ry="12" fill="#b9bfd0" stroke="#5a6480" stroke-width="1.5"/><path fill="none" stroke="#5a6480" d="M-8-4l6 3 4-5 7 4"/>',
    "nodule": '<ellipse rx="17" ry="12" fill="var(--cc-skin-deep)" stroke="var(--cc-mark)" stroke-width="1.5"/>',
}  # fmt: skip
"""What a bump looks like, around the middle of its place."""


def bump(scene: str, lesion: str, described: str) -> Markup:
    """A bump on its site, with what it shows in words."""
    place, (x, y) = SCENES[scene]
    mark = f'<g transform="translate({x} {y})">{LESIONS[lesion]}</g>'
    return _svg("0 0 160 120", place + mark, described, "cc-drawing")


def section(label: str, described: str) -> Markup:
    """Where in the skin the calcium, the urate or the keratin lies."""
    layers = (
        '<rect y="28" width="240" height="18" fill="var(--cc-skin-deep)"/>'
        '<rect y="46" width="240" height="56" fill="var(--cc-skin)"/>'
        '<rect y="102" width="240" height="44" fill="var(--cc-fat)"/>'
        '<path fill="none" stroke="var(--cc-mark)" d="M0 28h240M0 46q10 6 20 0t20 0 20 0 20 0 20 0 20 0 20 0 20 0 20 0 20 0 20 0 20 0M0 102h240"/>'
    )
    return _svg("0 0 240 150", layers + _DEPOSITS[label], described, "cc-section")


def _needles(x: float, y: float, count: int, reach: float) -> str:
    ends = (
        (reach * math.cos(k * math.pi / count), reach * math.sin(k * math.pi / count))
        for k in range(count)
    )
    return "".join(
        f'<path stroke="#3a6ea5" stroke-width="1.6" d="M{x - a:.1f} {y - b:.1f}L{x + a:.1f} {y + b:.1f}"/>'
        for a, b in ends
    )


_DEPOSITS: Final = {
    "milium": (
        '<path fill="var(--cc-skin-deep)" stroke="var(--cc-mark)" d="M88 28q32-24 64 0z"/>'
        '<circle cx="120" cy="42" r="19" fill="var(--cc-chalk)" stroke="var(--cc-mark)" stroke-width="2.5"/>'
        '<g fill="none" stroke="var(--cc-mark)" stroke-width=".8"><circle cx="120" cy="42" r="14"/><circle cx="120" cy="42" r="9"/><circle cx="120" cy="42" r="4"/></g>'
    ),
    "calcinosis_cutis": (
        '<path fill="var(--cc-skin-deep)" stroke="var(--cc-mark)" d="M60 28q60-20 120 0z"/>'
        '<g fill="var(--cc-chalk)" stroke="var(--cc-mark)">'
        '<path d="M84 62l14-8 12 6 2 12-14 6-14-4zM122 58l16-4 8 10-8 12-14-4zM100 84l18-4 10 8-6 12-20-2zM138 84l14-6 10 10-10 10-14-4zM76 88l10-6 8 8-6 10-10-2zM112 110l14-4 8 8-10 8-12-4z"/></g>'
    ),
    "gouty_tophus": (
        '<path fill="var(--cc-skin-deep)" stroke="var(--cc-mark)" d="M50 28q70-28 140 0z"/>'
        '<ellipse cx="120" cy="90" rx="62" ry="36" fill="#f0d9a0" stroke="#b4553f" stroke-width="3" stroke-dasharray="3 4"/>'
        + _needles(96, 84, 8, 17) + _needles(134, 78, 8, 16) + _needles(120, 106, 8, 15)
    ),
}  # fmt: skip

_BODY: Final = (
    '<g fill="var(--cc-skin)" stroke="var(--cc-mark)" stroke-width="2" stroke-linejoin="round">'
    '<path d="M92 92h56q14 2 20 16l22 62 12 40-12 6-20-42-18-44-2 60 8 90-4 78 16 12h-28l-6-12-6-84-10-62-10 62-6 84-6 12H70l16-12-4-78 8-90-2-60-18 44-20 42-12-6 12-40 22-62q6-14 20-16z"/>'
    '<path d="M106 92V78h28v14z" stroke="none"/><ellipse cx="120" cy="50" rx="28" ry="34"/>'
    '<path d="M92 46q-8 0-7 10 2 8 9 8M148 46q8 0 7 10-2 8-9 8"/></g>'
    '<g fill="none" stroke="var(--cc-mark)" stroke-width="2"><path d="M104 46q6-4 10 0M126 46q6-4 10 0M112 68q8 5 16 0"/></g>'
)
_USUAL: Final = {
    "milium": ((109, 52), (131, 52), (106, 60), (134, 60), (120, 30)),
    "gouty_tophus": ((156, 48), (196, 204), (180, 158), (158, 374)),
    "calcinosis_cutis": ((44, 206), (60, 158), (93, 262), (96, 320)),
}
_SIGNS: Final = {
    "milium": '<circle r="4.5" fill="var(--cc-chalk)" stroke="#111" stroke-width="1.5"/>',
    "gouty_tophus": '<path d="M0-8L8 6H-8z" fill="#3a6ea5" stroke="#111" stroke-width="1.5"/>',
    "calcinosis_cutis": '<rect x="-6.5" y="-6.5" width="13" height="13" fill="#f5b335" stroke="#111" stroke-width="1.5"/>',
}


def body_map(described: str) -> Markup:
    """The usual sites of the three conditions, each with a sign of its own shape."""
    signs = "".join(
        f'<g transform="translate({x} {y})">{_SIGNS[label]}</g>'
        for label, places in _USUAL.items()
        for x, y in places
    )
    return _svg("20 8 200 400", _BODY + signs, described, "cc-body")


def sign(label: str) -> Markup:
    """The sign of a condition on the map, for its legend."""
    return Markup(  # noqa: S704 - our own drawing
        '<svg class="cc-sign" viewBox="-10 -10 20 20" width="20" height="20" aria-hidden="true" focusable="false">'
        f"{_SIGNS[label]}</svg>"
    )


def _svg(box: str, drawn: str, described: str, name: str) -> Markup:
    return Markup(  # noqa: S704 - our own drawing; the words are escaped
        f'<svg class="{name}" viewBox="{box}" role="img" aria-label="{escape(described)}" focusable="false">{drawn}</svg>'
    )
