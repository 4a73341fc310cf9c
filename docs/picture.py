"""Makes docs/page.png, the README's picture of the page: a drawing was given, never a photograph.

make picture    # needs chromium, or another browser that CALCINOSIS_BROWSER names
"""

import io
import os
import shutil
import sys
from pathlib import Path
from typing import Final

from calcinosis.data.synthetic import draw
from calcinosis.model.config import SHIPPED
from calcinosis.model.predictor import Predictor
from calcinosis.page import server as demo
from calcinosis.page.validation_stats import read_validation_stats
from PIL import Image, ImageFilter
from playwright.sync_api import sync_playwright

PICTURE: Final = Path(__file__).with_name("page.png")
_VIEW: Final = {"width": 720, "height": 900}
_COLOURS: Final = 128  # of the palette that makes the file small


def photograph(address: str, browser: str) -> Image.Image:
    """The page once it has read a drawing: above what was asked, beside it what came back."""
    with sync_playwright() as driver:
        chromium = driver.chromium.launch(executable_path=browser, args=["--no-sandbox"])
        page = chromium.new_page(viewport=_VIEW, locale="en-GB")  # type: ignore[arg-type]
        page.goto(address)
        page.wait_for_selector("#cc-file", state="attached")
        drawing = io.BytesIO()
        draw("milium", 1, (640, 640)).filter(ImageFilter.GaussianBlur(2)).save(drawing, "PNG")
        file = {"name": "drawing.png", "mimeType": "image/png", "buffer": drawing.getvalue()}
        page.set_input_files("#cc-file", [file])  # type: ignore[list-item]
        page.click("[data-do=look]:not([disabled])")
        page.wait_for_selector(".cc-finding .cc-pair")
        top = page.evaluate(
            "scrollY + document.querySelector('.cc-finding').getBoundingClientRect().top"
        )
        shown = Image.open(io.BytesIO(page.screenshot(full_page=True))).convert("RGB")
        chromium.close()
    return side_by_side(shown, round(top) - 12)


def side_by_side(page: Image.Image, top: int) -> Image.Image:
    """What stands above a line of the page, and beside it as much of what follows."""
    both = Image.new("RGB", (2 * page.width, top), "white")
    both.paste(page.crop((0, 0, page.width, top)), (0, 0))
    both.paste(page.crop((0, top, page.width, 2 * top)), (page.width, 0))
    return both


def main() -> None:
    """Serve the shipped checkpoint, take the picture, and write it small.

    A visitor's drawing would be refused, as unlike all photographs that the network learnt from.
    """
    browser = os.environ.get("CALCINOSIS_BROWSER") or shutil.which("chromium")
    if not browser:
        sys.exit("There is no chromium; install it, or name a browser in CALCINOSIS_BROWSER.")
    page = demo.build_app(
        Predictor(SHIPPED, skip_ood_check=True), record=read_validation_stats(SHIPPED)
    )
    _, address, _ = demo.launch(page, prevent_thread_lock=True, quiet=True)
    shown = photograph(address, browser)
    page.close()
    small = shown.quantize(_COLOURS, method=Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE)
    small.save(PICTURE, optimize=True)
    print(
        f"{PICTURE.name}: {small.width} × {small.height} pixels, {PICTURE.stat().st_size:,} bytes"
    )


if __name__ == "__main__":
    main()
