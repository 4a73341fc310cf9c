"""Makes the README's pictures, docs/page.png and docs/phone.png: a drawing was given, never a photograph.

make picture    # needs chromium, or another browser that CALCINOSIS_BROWSER names
"""

import io
import os
import shutil
import sys
from pathlib import Path
from typing import Any, Final

from PIL import Image, ImageFilter
from playwright.sync_api import Browser, Page, sync_playwright

from calcinosis.data.synthetic import draw
from calcinosis.model.config import SHIPPED
from calcinosis.model.predictor import Predictor
from calcinosis.page import server as demo
from calcinosis.page.validation_stats import read_mixups, read_validation_stats

FOLDER: Final = Path(__file__).parent
_DESKTOP: Final[Any] = {"viewport": {"width": 720, "height": 900}, "locale": "en-GB"}
_PHONE: Final[Any] = {
    "viewport": {"width": 390, "height": 844},
    "locale": "en-GB",
    "has_touch": True,
}
_COLOURS: Final = 128  # of the palette that makes the file small


def desktop(browser: Browser, address: str) -> Image.Image:
    """The page once it has read a drawing: above what was asked, beside it what came back."""
    page = opened(browser, address, _DESKTOP)
    look(page)
    top = round(top_of(page, ".cc-finding")) - 12
    shown = taken(page, full_page=True)
    page.close()
    return beside(shown.crop((0, 0, shown.width, top)), shown.crop((0, top, shown.width, 2 * top)))


def phone(browser: Browser, address: str) -> Image.Image:
    """A phone's first screen, the finding of a drawing, and a worked case with what was known before."""
    page = opened(browser, address, _PHONE)
    screens = [taken(page)]
    look(page)
    scroll_to(page, ".cc-finding")
    screens.append(taken(page))
    page.click("#cc-cases .cc-case:last-of-type > summary")
    page.click("[data-fill*=gout]")
    scroll_to(page, "#cc-cases .cc-prior .cc-known fieldset")
    screens.append(taken(page))
    page.close()
    return beside(*screens)


def opened(browser: Browser, address: str, settings: Any) -> Page:
    page = browser.new_page(**settings)
    page.goto(address)
    page.wait_for_selector("[data-do=look]", state="attached")
    page.wait_for_timeout(500)
    return page


def look(page: Page) -> None:
    drawing = io.BytesIO()
    draw("milium", 1, (640, 640)).filter(ImageFilter.GaussianBlur(2)).save(drawing, "PNG")
    file = {"name": "drawing.png", "mimeType": "image/png", "buffer": drawing.getvalue()}
    page.set_input_files("#cc-file", [file])  # type: ignore[list-item]
    page.click("[data-do=look]:not([disabled])")
    page.wait_for_selector(".cc-finding .cc-pair")
    page.wait_for_selector("[data-do=look]:not([disabled])")


def top_of(page: Page, selector: str) -> float:
    return float(
        page.evaluate(
            "(s) => scrollY + document.querySelector(s).getBoundingClientRect().top", selector
        )
    )


def scroll_to(page: Page, selector: str) -> None:
    page.evaluate("(top) => scrollTo(0, top)", top_of(page, selector) - 8)
    page.wait_for_timeout(300)


def taken(page: Page, **settings: Any) -> Image.Image:
    return Image.open(io.BytesIO(page.screenshot(**settings))).convert("RGB")


def beside(*pictures: Image.Image) -> Image.Image:
    """Pictures in a row, as high as the first, with a little room between."""
    width = sum(picture.width for picture in pictures) + 16 * (len(pictures) - 1)
    row = Image.new("RGB", (width, pictures[0].height), "white")
    left = 0
    for picture in pictures:
        row.paste(picture, (left, 0))
        left += picture.width + 16
    return row


def main() -> None:
    """Serve the shipped checkpoint, take the pictures, and write them small.

    A visitor's drawing would be refused, as unlike all photographs that the network learnt from.
    """
    program = os.environ.get("CALCINOSIS_BROWSER") or shutil.which("chromium")
    if not program:
        sys.exit("There is no chromium; install it, or name a browser in CALCINOSIS_BROWSER.")
    app = demo.build_app(
        Predictor(SHIPPED, skip_ood_check=True),
        record=read_validation_stats(SHIPPED),
        mixups=read_mixups(SHIPPED),
    )
    _, address, _ = demo.launch(app, prevent_thread_lock=True, quiet=True)
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=program, args=["--no-sandbox"])
        for name, take in (("page", desktop), ("phone", phone)):
            shown = take(browser, address)
            small = shown.quantize(
                _COLOURS, method=Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE
            )
            file = FOLDER / f"{name}.png"
            small.save(file, optimize=True)
            print(f"{file.name}: {small.width} × {small.height}, {file.stat().st_size:,} bytes")
        browser.close()
    app.close()


if __name__ == "__main__":
    main()
