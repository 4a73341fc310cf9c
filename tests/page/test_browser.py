"""The page in a real browser: choosing, framing and reading a photo, for everyone and every screen.

`CALCINOSIS_SCREENSHOTS=FOLDER` keeps pictures of the page to look at; only drawn photos are ever on them.
"""

import base64
import io
import json
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import pytest
from axe_playwright_python.sync_playwright import Axe
from calcinosis.data.synthetic import draw_set
from calcinosis.model.predictor import Predictor
from calcinosis.model.quality import BOUNDS, find_quality_issue
from calcinosis.page import server as demo
from calcinosis.page.words import words
from PIL import Image
from playwright.sync_api import Page, Route

from tests.drawings import draw, encode
from tests.unusable import UNUSABLE

Open = Callable[..., Page]
DESKTOP: Final = {"width": 1200, "height": 900}
PHONE: Final = {"width": 360, "height": 740}


def upload(page: Page, *contents: bytes, name: str = "photo.png") -> None:
    """Choose files, as a visitor does in the file dialog."""
    files = [{"name": name, "mimeType": "image/png", "buffer": content} for content in contents]
    page.set_input_files("#cc-file", files)  # type: ignore[arg-type]


def look(page: Page) -> str:
    """Press the button and wait for the answer; returns its text."""
    page.click("[data-do=look]:not([disabled])")
    page.wait_for_function("document.activeElement?.id === 'cc-finding-title'")
    return page.inner_text(".cc-finding")


def drawn(label: str = "milium", seed: int = 0, size: tuple[int, int] = (480, 400)) -> bytes:
    return encode(draw(label, seed, size))


def keep(page: Page, name: str) -> None:
    folder = os.environ.get("CALCINOSIS_SCREENSHOTS")
    if folder:
        page.screenshot(path=str(Path(folder) / f"{name}.png"), full_page=True)


def serious(page: Page) -> list[str]:
    """What axe-core finds wrong that keeps someone out."""
    found = Axe().run(page).response["violations"]
    return [
        f"{v['id']}: {[node['target'] for node in v['nodes']]}"
        for v in found
        if v["impact"] in ("serious", "critical")
    ]


def fits(page: Page) -> bool:
    return bool(page.evaluate("document.documentElement.scrollWidth <= window.innerWidth"))


def test_a_photo_becomes_a_finding_that_defers(open_page: Open) -> None:
    page = open_page()
    before = page.inner_text("body")
    assert before.index("not a diagnosis") < before.index("Choose a photo")
    assert "See a clinician soon" in before
    upload(page, drawn())
    text = look(page)
    assert "Only a clinician who examines the skin can tell" in text
    assert "Assumed before looking" in text
    assert page.inner_text("[data-show=status]") == "The finding is ready."
    alternatives = [image.get_attribute("alt") for image in page.query_selector_all(".cc-pair img")]
    assert len(alternatives) == 2
    assert all(alternatives)
    assert "See a clinician soon" in page.inner_text("body")


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("desktop-light", {"viewport": DESKTOP}),
        ("desktop-dark", {"viewport": DESKTOP, "color_scheme": "dark"}),
        ("phone-light", {"viewport": PHONE}),
        ("phone-dark", {"viewport": PHONE, "color_scheme": "dark", "reduced_motion": "reduce"}),
    ],
)
def test_the_page_is_accessible_and_fits_before_and_after_a_finding(
    open_page: Open, name: str, settings: dict[str, Any]
) -> None:
    page = open_page(**settings)
    assert serious(page) == []
    assert fits(page)
    keep(page, f"{name}-start")
    upload(page, drawn(), drawn(seed=1))
    look(page)
    assert serious(page) == []
    assert fits(page)
    keep(page, f"{name}-finding")


def test_a_spanish_browser_is_met_in_spanish_and_can_switch(open_page: Open) -> None:
    page = open_page(locale="es-ES")
    page.wait_for_selector("text=Antes de empezar")
    assert page.get_attribute("html", "lang") == "es"
    upload(page, drawn())
    assert "Solo un profesional sanitario" in look(page)
    assert serious(page) == []
    keep(page, "spanish")
    page.click("[data-language=en]")
    page.wait_for_selector("text=Before you start")
    assert page.get_attribute("html", "lang") == "en"
    assert "Only a clinician" in look(page)


def test_the_keyboard_alone_is_enough(open_page: Open) -> None:
    page = open_page(viewport=PHONE)
    page.focus("[data-language=en]")

    def tab_to(selector: str) -> None:
        for _ in range(40):
            page.keyboard.press("Tab")
            if page.evaluate(f"document.activeElement.matches({selector!r})"):
                return
        raise AssertionError(f"the keyboard does not reach {selector}")

    tab_to("#cc-file")
    outline = page.evaluate(
        "getComputedStyle(document.querySelector('label[for=cc-file]')).outlineStyle"
    )
    assert outline == "solid"
    with page.expect_file_chooser() as chooser:
        page.keyboard.press("Space")
    chooser.value.set_files({"name": "a.png", "mimeType": "image/png", "buffer": drawn()})
    page.wait_for_selector(".cc-stage:not([hidden])")
    tab_to("[data-move=zoom]")
    size = page.inner_text("[data-show=size]")
    for _ in range(20):
        page.keyboard.press("ArrowRight")
    assert page.inner_text("[data-show=size]") != size
    tab_to("[data-do=look]")
    page.keyboard.press("Enter")
    page.wait_for_function("document.activeElement?.id === 'cc-finding-title'")


def sent_photos(page: Page) -> list[Image.Image]:
    """The pictures that pressing the button sends, which is all that leaves the browser."""
    with page.expect_request("**/queue/join*", timeout=60_000) as request:
        page.click("[data-do=look]:not([disabled])")
    photos = json.loads(request.value.post_data or "{}")["event_data"]["photos"]
    return [Image.open(io.BytesIO(base64.b64decode(p.partition(",")[2]))) for p in photos]


def test_only_the_frame_is_sent_and_without_metadata(open_page: Open) -> None:
    left_red = Image.new("RGB", (600, 300), (40, 160, 60))
    left_red.paste((200, 30, 30), (0, 0, 200, 300))
    exif = Image.Exif()
    exif[0x010F] = "PhoneMaker"
    exif.get_ifd(0x8825).update({1: "N", 2: (48.0, 51.0, 30.2)})
    page = open_page()
    upload(page, encode(left_red, "JPEG", exif=exif, quality=95), name="a.jpg")
    page.wait_for_selector(".cc-stage:not([hidden])")
    page.fill("[data-move=zoom]", "2")
    page.fill("[data-move=x]", "0")
    (photo,) = sent_photos(page)
    assert photo.size == (150, 150)
    red, green, _ = photo.convert("RGB").getpixel((75, 75))  # type: ignore[misc]
    assert red > 150 > green
    assert dict(photo.getexif()) == {}
    assert "exif" not in photo.info
    assert "comment" not in photo.info


def test_a_phone_photo_is_upright(open_page: Open) -> None:
    top_red = Image.new("RGB", (300, 300), (40, 160, 60))
    top_red.paste((200, 30, 30), (0, 0, 300, 100))
    exif = Image.Exif()
    exif[0x0112] = 6  # as stored, the top is on the left
    stored = top_red.transpose(Image.Transpose.ROTATE_90)
    page = open_page()
    upload(page, encode(stored, "JPEG", exif=exif, quality=95), name="a.jpg")
    page.wait_for_selector(".cc-stage:not([hidden])")
    (photo,) = sent_photos(page)
    red, green, _ = photo.convert("RGB").getpixel((150, 40))  # type: ignore[misc]
    assert red > 150 > green


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"just words", "This file is not a picture"),
        (b"", "The file is empty"),
        (drawn()[:900], "damaged or cut short"),
        (encode(draw("milium"), "TIFF"), "This kind of picture is not read here"),
    ],
)
def test_a_bad_file_is_answered_kindly(open_page: Open, content: bytes, says: str) -> None:
    page = open_page()
    upload(page, content)
    page.wait_for_selector(".cc-stage:not([hidden])")
    text = look(page)
    assert says in text
    assert "Only a clinician" in text
    assert "There is no finding" in page.inner_text("[data-show=status]")
    keep(page, "bad-file")
    assert serious(page) == []


def test_every_refusal_of_the_gate_says_why_and_what_to_do_better(open_page: Open) -> None:
    page = open_page(viewport=PHONE)
    say = words()
    for code in BOUNDS:
        photo = UNUSABLE[code](draw("calcinosis_cutis", size=(480, 400)))
        upload(page, encode(photo))
        text = look(page)
        (sent,) = sent_photos(page)
        page.wait_for_function("!document.querySelector('[data-do=look]').disabled")
        problem = find_quality_issue(sent)
        assert problem is not None, code
        assert problem.code == code
        assert say(f"quality.{code}.reason", **problem.values) in text
        assert say(f"quality.{code}.advice") in text
        assert "Only a clinician" in text
        assert "Assumed before looking" not in text  # no figures, since no answer is used
        keep(page, f"refused-{code}")
        page.click("[aria-label='Remove photo 1']")
    assert serious(page) == []


def test_a_frame_of_too_few_pixels_says_so_at_once_and_is_refused(open_page: Open) -> None:
    page = open_page(viewport=PHONE)
    say = words()
    upload(page, drawn(size=(480, 400)))
    page.wait_for_selector(".cc-stage:not([hidden])")
    warning = say("frame.too_few").replace("%s", "128")
    assert warning not in page.inner_text("[data-show=size]")
    page.fill("[data-move=zoom]", "8")
    assert warning in page.inner_text("[data-show=size]")
    text = look(page)
    assert "only 50 pixels on its shorter side" in text
    assert say("quality.too_small.advice") in text
    assert serious(page) == []
    keep(page, "frame-too-small")


@pytest.fixture
def quiz_address(reader: Predictor, tmp_path: Path) -> Iterator[str]:
    """Where a page with a quiz on drawn pictures is served."""
    rows = draw_set(tmp_path, of_each=1, size=(320, 300))
    blocks = demo.build_app(reader, quiz=[(tmp_path / row.file, row.label) for row in rows])
    port = demo._free_port()
    demo.launch(blocks, server_port=port, prevent_thread_lock=True, quiet=True)
    yield f"http://127.0.0.1:{port}"
    blocks.close()


def test_in_the_quiz_ones_own_ticks_stay_beside_the_comparison(
    open_page: Open, quiz_address: str
) -> None:
    page = open_page(quiz_address)

    def ticked() -> list[bool]:
        return [tick.is_checked() for tick in page.query_selector_all(".cc-question input")]

    page.click("[data-quiz=next]")
    page.wait_for_selector(".cc-question")
    for _ in range(2):
        assert ticked() == [False] * 4
        page.check(".cc-question input >> nth=1")
        page.check(".cc-question input >> nth=2")
        page.click("[data-quiz=check]")
        page.wait_for_selector(".cc-quiz [role=status] p")
        assert ticked() == [False, True, True, False]
        assert "You could not exclude: gouty tophus and milium" in page.inner_text(".cc-quiz")
        page.click("[data-quiz=next]")
        page.wait_for_selector("[data-quiz=check]")
    assert serious(page) == []


def test_two_visitors_see_only_their_own(open_page: Open) -> None:
    pages = [open_page(), open_page()]
    labels = ["gouty_tophus", "milium"]
    for page, label in zip(pages, labels, strict=True):
        upload(page, drawn(label))
        page.wait_for_selector(".cc-stage:not([hidden])")
    for page in pages:
        page.click("[data-do=look]:not([disabled])")
    for page in pages:
        page.wait_for_function("document.activeElement?.id === 'cc-finding-title'")
    frames = [page.get_attribute(".cc-pair img", "src") for page in pages]
    assert frames[0] != frames[1]
    alone = []
    for label in labels:
        page = open_page()
        upload(page, drawn(label))
        look(page)
        alone.append(page.get_attribute(".cc-pair img", "src"))
    assert frames == alone


def test_no_foreign_host_is_asked_and_the_page_needs_none(open_page: Open, address: str) -> None:
    page = open_page()
    asked: list[str] = []

    def own_only(route: Route) -> None:
        if route.request.url.startswith((address, "data:", "blob:")):
            route.continue_()
        else:
            asked.append(route.request.url)
            route.abort()

    page.context.route("**/*", own_only)
    page.reload()
    page.wait_for_selector("[data-do=look]")
    upload(page, drawn())
    assert "Only a clinician" in look(page)
    assert asked == []


def test_nothing_stays_in_the_browser(open_page: Open) -> None:
    page = open_page()
    upload(page, drawn())
    look(page)
    kept = page.evaluate(
        """async () => ({
            local: Object.keys(localStorage).map((key) => localStorage[key]).join(),
            session: Object.keys(sessionStorage).map((key) => sessionStorage[key]).join(),
            databases: (await indexedDB.databases()).map((one) => one.name),
            cookies: document.cookie,
        })"""
    )
    assert "data:image" not in json.dumps(kept)
    assert "milium" not in json.dumps(kept)
    assert kept["databases"] == []


def test_the_report_is_a_page_without_the_photo(open_page: Open) -> None:
    page = open_page()
    upload(page, drawn())
    look(page)
    sizes = []
    for ticked in (False, True):
        page.set_checked("#cc-with-photo", ticked)
        with page.expect_download() as download:
            page.click(".cc-report a:visible")
        assert re.fullmatch(r"calcinosis-\d{4}-\d\d-\d\d\.html", download.value.suggested_filename)
        text = Path(download.value.path()).read_text(encoding="utf-8")
        assert "Only a clinician" in text
        assert ("data:image" in text) == ticked
        sizes.append(len(text))
    assert sizes[0] < sizes[1]


def test_photos_are_pasted_dropped_and_taken_with_the_camera(open_page: Open) -> None:
    page = open_page(permissions=["camera"])
    encoded = base64.b64encode(drawn()).decode()
    for event, data in (("paste", "clipboardData"), ("drop", "dataTransfer")):
        page.evaluate(
            """([event, data, encoded]) => {
                const bytes = Uint8Array.from(atob(encoded), (letter) => letter.charCodeAt(0));
                const transfer = new DataTransfer();
                transfer.items.add(new File([bytes], "a.png", { type: "image/png" }));
                const target = document.querySelector(".cc-drop");
                const options = { bubbles: true, cancelable: true, [data]: transfer };
                target.dispatchEvent(event === "paste"
                    ? new ClipboardEvent(event, options) : new DragEvent(event, options));
            }""",
            [event, data, encoded],
        )
    page.wait_for_function("document.querySelectorAll('.cc-thumb').length === 2")
    page.click("[data-do=camera]")
    page.wait_for_function("document.querySelector('video').videoWidth > 0")
    page.click("[data-do=shutter]")
    page.wait_for_function("document.querySelectorAll('.cc-thumb').length === 3")
    assert "Look at these 3 photos" in page.inner_text("[data-do=look]")
    page.click("[aria-label='Remove photo 2']")
    assert len(page.query_selector_all(".cc-thumb")) == 2
    assert serious(page) == []


@pytest.mark.parametrize("status", [429, 503])
def test_when_the_server_refuses_the_page_says_so_and_can_try_again(
    open_page: Open, status: int
) -> None:
    page = open_page()
    upload(page, drawn())
    busy = {"status": status, "content_type": "application/json", "body": '{"detail": "busy"}'}
    page.context.route("**/queue/join*", lambda route: route.fulfill(**busy))
    page.click("[data-do=look]:not([disabled])")
    page.wait_for_function(
        "document.querySelector('[data-show=status]').textContent.includes('did not answer')"
    )
    page.context.unroute("**/queue/join*")
    assert "Only a clinician" in look(page)


def test_a_lost_network_is_said_and_costs_no_frame(open_page: Open) -> None:
    page = open_page()
    upload(page, drawn(), drawn("gouty_tophus"))
    page.wait_for_selector(".cc-stage:not([hidden])")
    page.fill("[data-move=zoom]", "2")
    size = page.inner_text("[data-show=size]")
    page.context.set_offline(True)
    page.wait_for_function(
        "document.querySelector('[data-show=status]').textContent.includes('network is gone')"
    )
    page.click("[data-do=look]:not([disabled])")
    assert "network is gone" in page.inner_text("[data-show=status]")
    keep(page, "offline")
    page.context.set_offline(False)
    page.wait_for_function(
        "document.querySelector('[data-show=status]').textContent.includes('network is back')"
    )
    assert len(page.query_selector_all(".cc-thumb")) == 2
    assert page.inner_text("[data-show=size]") == size
    assert "Only a clinician" in look(page)


def test_after_a_network_lost_while_a_photo_is_read_the_page_works_again(open_page: Open) -> None:
    page = open_page()
    upload(page, drawn())
    page.context.route("**/queue/data*", lambda route: None)  # the answer never comes
    page.click("[data-do=look]:not([disabled])")
    page.wait_for_selector("[data-do=look][disabled]")
    page.context.set_offline(True)
    page.wait_for_selector("[data-do=look]:not([disabled])")
    page.context.unroute("**/queue/data*")
    page.context.set_offline(False)
    page.wait_for_timeout(3000)  # once connected again, Gradio starts the page anew
    page.wait_for_selector("[data-do=look]")
    if not page.query_selector_all(".cc-thumb"):
        upload(page, drawn())
    assert "Only a clinician" in look(page)
