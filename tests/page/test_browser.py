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
from PIL import Image
from playwright.sync_api import Page, Route

from calcinosis.data.synthetic import draw_set
from calcinosis.model.predictor import Predictor
from calcinosis.model.quality import BOUNDS, find_quality_issue
from calcinosis.page import server as demo
from calcinosis.page.requests import MOST_PHOTOS
from calcinosis.page.words import words
from tests.drawings import draw, encode
from tests.unusable import UNUSABLE

pytestmark = pytest.mark.slow

Open = Callable[..., Page]
DESKTOP: Final = {"width": 1200, "height": 900}
PHONE: Final = {"width": 360, "height": 740}


def upload(page: Page, first: bytes, *views: bytes, name: str = "photo.png") -> None:
    """Choose a photo, as a visitor does in the file dialog, and add more views of the same lesion."""
    files = [{"name": name, "mimeType": "image/png", "buffer": file} for file in (first, *views)]
    page.set_input_files("#cc-file", files[0])  # type: ignore[arg-type]
    if views:
        page.wait_for_selector(".cc-stage:not([hidden])")
        page.set_input_files("#cc-add", files[1:])  # type: ignore[arg-type]
        page.wait_for_function(f"document.querySelectorAll('.cc-thumb').length === {len(files)}")


def unfold(page: Page) -> None:
    """Open all that is folded, as who reads everything does."""
    page.evaluate(
        """document.querySelectorAll('details').forEach((part) => {
            part.removeAttribute('name'); // of several with one name, only one is open
            part.open = true;
        })"""
    )


def problem_line(page: Page) -> str:
    page.wait_for_selector("[data-show=problem]:not(:empty)")
    return page.inner_text("[data-show=problem]")


def look(page: Page) -> str:
    """Press the button and wait for the answer; returns its text."""
    page.click("[data-do=look]:not([disabled])")
    page.wait_for_function("document.activeElement?.id === 'cc-finding-title'")
    page.wait_for_selector("[data-do=look]:not([disabled])")
    unfold(page)
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
    assert before.index("Not a diagnosis") < before.index("Choose a photo")
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
    unfold(page)
    assert serious(page) == []
    assert fits(page)
    keep(page, f"{name}-unfolded")
    upload(page, drawn(), drawn(seed=1))
    look(page)
    assert serious(page) == []
    assert fits(page)
    keep(page, f"{name}-finding")


def test_a_spanish_browser_is_met_in_spanish_and_can_switch(open_page: Open) -> None:
    page = open_page(locale="es-ES")
    page.wait_for_selector("text=No es un diagnóstico")
    assert page.get_attribute("html", "lang") == "es"
    upload(page, drawn())
    assert "Solo un profesional sanitario" in look(page)
    assert serious(page) == []
    keep(page, "spanish")
    page.click("[data-language=en]")
    page.wait_for_selector("text=Not a diagnosis")
    assert page.get_attribute("html", "lang") == "en"
    assert "Only a clinician" in look(page)


def test_a_change_of_language_keeps_the_finding_and_tells_it_anew(open_page: Open) -> None:
    page = open_page()
    upload(page, drawn("gouty_tophus"))
    look(page)
    pictures = [image.get_attribute("src") for image in page.query_selector_all(".cc-pair img")]
    page.fill("[data-move=zoom]", "2")
    page.click("[data-language=es]")
    page.wait_for_selector(".cc-finding >> text=Solo un profesional sanitario")
    after = [image.get_attribute("src") for image in page.query_selector_all(".cc-pair img")]
    assert after == pictures, "it is still the finding of the frame that was read"
    assert page.is_visible(".cc-stale-note")
    page.wait_for_selector("[data-do=look]:not([disabled])")
    assert page.inner_text("[data-show=status]") == "El resultado está listo."


def test_a_change_of_language_while_a_photo_is_read_is_kept_to(open_page: Open) -> None:
    page = open_page()
    upload(page, drawn())
    page.wait_for_selector("[data-do=look]:not([disabled])")
    page.evaluate(
        "for (const what of ['[data-do=look]', '[data-language=es]']) document.querySelector(what).click()"
    )
    page.wait_for_selector(".cc-finding >> text=Solo un profesional sanitario")
    page.wait_for_selector("[data-do=look]:not([disabled])")
    assert page.inner_text("[data-show=status]") == words("es").table["frame"]["ready"]


def test_what_is_started_over_while_it_is_read_brings_no_finding(open_page: Open) -> None:
    page = open_page()
    upload(page, drawn())
    with page.expect_response("**/queue/data*"):
        page.click("[data-do=look]:not([disabled])")
        page.click("[data-do=over]")
    # Not until that answer is complete: whether a stream that the page left ever ends is the browser's affair.
    page.wait_for_timeout(2000)
    assert page.query_selector(".cc-finding") is None
    assert page.inner_text("[data-show=status]") == words().table["frame"]["cleared"]
    upload(page, drawn())
    look(page)
    assert page.is_hidden(".cc-stale-note")


def test_the_keyboard_alone_is_enough(open_page: Open) -> None:
    page = open_page(viewport=PHONE)
    page.on("filechooser", lambda _: None)  # asked for now, so that it is intercepted by then
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


@pytest.mark.parametrize("cut", [1, 2])
def test_a_jpeg_that_lacks_its_end_mark_is_framed_and_read(open_page: Open, cut: int) -> None:
    page = open_page()
    upload(page, encode(draw("milium", size=(480, 400)), "JPEG", quality=90)[:-cut], name="a.jpg")
    assert "clinician" in look(page)
    (photo,) = sent_photos(page)
    assert photo.size == (400, 400)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"just words", "This file is not a picture"),
        (b"", "The file is empty"),
        (drawn()[:900], "damaged or cut short"),
        (encode(draw("milium"), "JPEG", progressive=True)[:-300], "damaged or cut short"),
        (encode(draw("milium"), "TIFF"), "This kind of picture is not read here: TIFF"),
        (b"\0\0\0\x0cJXL \r\n\x87\n" + bytes(200), "not read here: JPEG XL"),
    ],
)
def test_a_bad_file_is_answered_kindly(open_page: Open, content: bytes, says: str) -> None:
    page = open_page()
    upload(page, content, name="bump.jpg")
    assert says in problem_line(page)
    assert "bump.jpg" in problem_line(page)
    assert not page.is_visible(".cc-stage"), "no empty picture, no button that can only fail"
    keep(page, "bad-file")
    assert serious(page) == []
    upload(page, drawn())
    page.wait_for_selector(".cc-stage:not([hidden])")
    assert page.inner_text("[data-show=problem]") == ""
    upload(page, content)
    problem_line(page)
    assert page.is_visible(".cc-stage"), "the photo from before is still there"


def test_a_file_that_is_too_large_is_refused_where_it_was_chosen(open_page: Open) -> None:
    page = open_page()
    page.evaluate(
        """() => {
            const transfer = new DataTransfer();
            const file = new File([new Uint8Array(41 * 1024 * 1024)], "huge.jpg", { type: "image/jpeg" });
            transfer.items.add(file);
            const input = document.getElementById("cc-file");
            input.files = transfer.files;
            input.dispatchEvent(new Event("change", { bubbles: true }));
        }"""
    )
    assert "larger than" in problem_line(page)
    assert page.get_attribute("[data-show=problem]", "role") == "alert"
    assert not page.is_visible("[data-do=look]")


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
        assert "probabilit" not in text
        assert "Why, and why it may be wrong" not in text
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

    page.click("[data-quiz=start][data-deck=photos]")
    for number in (1, 2):
        page.wait_for_selector(f"text=Question {number} of 4")
        assert ticked() == [False] * 4
        assert not page.is_visible(".cc-quiz .cc-pair")
        page.check(".cc-question input >> nth=1")
        page.check(".cc-question input >> nth=2")
        page.click("[data-quiz=check]")
        page.wait_for_selector(".cc-quiz [role=status] p")
        assert ticked() == [False, True, True, False]
        assert "You kept: gouty tophus and milium" in page.inner_text(".cc-quiz")
        page.wait_for_selector(".cc-quiz .cc-pair img >> nth=1")
        page.click("[data-quiz=next]")
    page.wait_for_selector("text=Question 3 of 4")
    assert serious(page) == []
    page.click("[data-quiz=check]")
    page.click("[data-quiz=summary]")
    page.wait_for_selector(".cc-mixed")
    assert "on average (3 answered)" in page.inner_text(".cc-quiz")
    assert serious(page) == []


@pytest.mark.parametrize("locale", ["en-GB", "es-ES"])
def test_the_cases_in_words_are_asked_on_a_phone_by_keyboard(open_page: Open, locale: str) -> None:
    page = open_page(viewport=PHONE, locale=locale)
    page.wait_for_selector(f"html[lang={locale[:2]}]")
    page.focus("[data-quiz=start]")
    page.keyboard.press("Enter")
    page.wait_for_selector(".cc-question svg[role=img]")
    assert page.evaluate("document.activeElement.id") == "cc-quiz-title"
    page.keyboard.press("Tab")
    page.keyboard.press("Space")
    page.focus("[data-quiz=check]")
    page.keyboard.press("Enter")
    page.wait_for_selector("[data-quiz=next]")
    assert fits(page)
    assert serious(page) == []
    keep(page, f"quiz-{locale}")


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
    page.wait_for_selector("[data-do=look]", state="attached")
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


def hand_over(page: Page, event: str, target: str, content: bytes) -> None:
    """Paste or drop a photo on a part of the page."""
    page.evaluate(
        """([event, target, encoded]) => {
            const bytes = Uint8Array.from(atob(encoded), (letter) => letter.charCodeAt(0));
            const transfer = new DataTransfer();
            transfer.items.add(new File([bytes], "a.png", { type: "image/png" }));
            const data = { paste: "clipboardData", drop: "dataTransfer" }[event];
            const options = { bubbles: true, cancelable: true, [data]: transfer };
            document.querySelector(target).dispatchEvent(event === "paste"
                ? new ClipboardEvent(event, options) : new DragEvent(event, options));
        }""",
        [event, target, base64.b64encode(content).decode()],
    )


def framed_size(page: Page, contains: str) -> None:
    page.wait_for_function(
        "(size) => document.querySelector('[data-show=size]').textContent.replaceAll('\\u00a0', ' ').includes(size)",
        arg=contains,
    )


def test_photos_are_pasted_dropped_and_taken_with_the_camera(open_page: Open) -> None:
    page = open_page(permissions=["camera"])
    hand_over(page, "paste", ".cc-frame", drawn(size=(300, 310)))
    framed_size(page, "300 × 300")
    hand_over(page, "drop", "h1", drawn(size=(280, 290)))  # beside the card, too
    framed_size(page, "280 × 280")
    assert len(page.query_selector_all(".cc-thumb")) == 1, "a photo takes the place of another"
    page.click("[data-do=camera]")
    page.wait_for_function("document.querySelector('video').videoWidth > 0")
    page.click("[data-do=shutter]")
    page.wait_for_function(
        "!document.querySelector('[data-show=size]').textContent.includes('280')"
    )
    assert len(page.query_selector_all(".cc-thumb")) == 1
    assert serious(page) == []


def test_more_views_of_one_lesion_are_added_on_purpose_and_all_can_be_cleared(
    open_page: Open,
) -> None:
    page = open_page()
    upload(page, drawn(), drawn(seed=1), drawn(seed=2))
    assert "Look at these 3 photos" in page.inner_text("[data-do=look]")
    assert "Only for the same bump" in page.inner_text("#cc-add-how")
    page.click("[aria-label='Remove photo 2']")
    assert len(page.query_selector_all(".cc-thumb")) == 2
    assert "2 photos were read together" in look(page)
    upload(page, drawn("other"))
    page.wait_for_function("document.querySelectorAll('.cc-thumb').length === 1")
    page.click("[data-do=over]")
    page.wait_for_selector(".cc-finding", state="detached")
    assert not page.is_visible(".cc-stage")
    assert page.evaluate("document.activeElement.id") == "cc-file"


def test_a_finding_is_greyed_the_moment_photo_or_frame_changes(open_page: Open) -> None:
    page = open_page()
    upload(page, drawn())
    look(page)
    assert not page.is_visible(".cc-stale-note")
    page.fill("[data-move=zoom]", "2")
    assert page.is_visible(".cc-stale-note")
    opacity = "Number(getComputedStyle(document.querySelector('.cc-finding .cc-headline')).opacity)"
    assert page.evaluate(opacity) < 0.5
    page.click("[data-do=reset]")
    assert not page.is_visible(".cc-stale-note"), "it is the frame that was read again"
    upload(page, drawn("other"))
    page.wait_for_selector(".cc-stale-note:visible")
    look(page)
    assert not page.is_visible(".cc-stale-note")


def test_a_photo_is_turned_and_sent_as_it_is_shown(open_page: Open) -> None:
    left_red = Image.new("RGB", (300, 300), (40, 160, 60))
    left_red.paste((200, 30, 30), (0, 0, 100, 300))
    page = open_page()
    upload(page, encode(left_red))
    page.wait_for_selector(".cc-stage:not([hidden])")
    page.click("[data-do=turn]")
    page.wait_for_timeout(200)
    (photo,) = sent_photos(page)
    red, green, _ = photo.convert("RGB").getpixel((150, 40))  # type: ignore[misc]
    assert red > 150 > green, "what was left is now on top"


def touch(page: Page, *moves: list[tuple[float, float]]) -> None:
    """Put as many fingers on the screen as the first move has, and move them."""
    session = page.context.new_cdp_session(page)
    for number, points in enumerate(moves):
        fingers = [{"x": x, "y": y, "id": n} for n, (x, y) in enumerate(points)]
        kind = "touchMove" if number else "touchStart"
        session.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": fingers})
        page.wait_for_timeout(30)
    session.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})
    page.wait_for_timeout(300)


def test_two_fingers_zoom_and_one_scrolls_past_the_photo(open_page: Open) -> None:
    page = open_page(viewport=PHONE, has_touch=True, is_mobile=True)
    upload(page, drawn(size=(480, 400)))
    page.wait_for_selector(".cc-stage:not([hidden])")
    page.evaluate("document.querySelector('.cc-view').scrollIntoView({ block: 'center' })")
    page.wait_for_timeout(300)
    box = page.query_selector(".cc-view canvas").bounding_box()  # type: ignore[union-attr]
    assert box
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    before = page.inner_text("[data-show=size]")
    scrolled = page.evaluate("scrollY")
    touch(page, *[[(x, y - 12 * step)] for step in range(12)])
    assert page.evaluate("scrollY") > scrolled + 40, "one finger scrolls"
    assert page.inner_text("[data-show=size]") == before, "and changes no frame"
    page.evaluate("document.querySelector('.cc-view').scrollIntoView({ block: 'center' })")
    page.wait_for_timeout(300)
    scrolled = page.evaluate("scrollY")
    touch(page, *[[(x - 20 - 6 * step, y), (x + 20 + 6 * step, y)] for step in range(10)])
    zoom = float(page.input_value("[data-move=zoom]"))
    assert 2 < zoom <= 8, "two fingers zoom"
    assert page.evaluate("scrollY") == scrolled
    assert page.evaluate("visualViewport.scale") == 1, "the photo, and not the page"


def test_the_ring_is_a_third_of_the_frame_and_in_no_photo_that_is_sent(open_page: Open) -> None:
    page = open_page(viewport=PHONE)
    green = Image.new("RGB", (300, 300), (40, 160, 60))
    upload(page, encode(green))
    page.wait_for_selector(".cc-stage:not([hidden])")
    boxes = [page.query_selector(s).bounding_box() for s in (".cc-view canvas", ".cc-ring")]  # type: ignore[union-attr]
    assert boxes[0]
    assert boxes[1]
    assert boxes[1]["width"] / boxes[0]["width"] == pytest.approx(1 / 3, abs=0.02)
    (photo,) = sent_photos(page)
    assert max(high - low for low, high in photo.convert("RGB").getextrema()) < 8  # type: ignore[operator, misc]


def test_too_few_pixels_at_the_smallest_zoom_are_not_helped_by_zooming_out(open_page: Open) -> None:
    page = open_page()
    upload(page, drawn(size=(100, 110)))
    page.wait_for_selector(".cc-stage:not([hidden])")
    said = page.inner_text("[data-show=size]")
    assert "too few" in said
    assert "Zoom out" not in said
    page.fill("[data-move=zoom]", "2")
    assert "Zoom out" in page.inner_text("[data-show=size]")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_ticked_box_looks_unlike_an_empty_one(open_page: Open, scheme: str) -> None:
    page = open_page(color_scheme=scheme)
    upload(page, drawn())
    look(page)
    box = page.query_selector("#cc-with-photo")
    assert box
    shown = {}
    for ticked in (False, True):
        page.set_checked("#cc-with-photo", ticked)
        for place in ("away", "over"):
            page.mouse.move(0, 0) if place == "away" else box.hover()
            picture = Image.open(io.BytesIO(box.screenshot())).convert("L")
            shown[ticked, place] = picture
            low, high = picture.getextrema()
            assert high - low > 60, f"the box is seen, {ticked=} {place=}"  # type: ignore[operator]
    for place in ("away", "over"):
        pixels = zip(shown[False, place].tobytes(), shown[True, place].tobytes(), strict=True)
        differing = sum(abs(one - other) > 60 for one, other in pixels)
        assert differing > 20, f"a tick is seen {place}"


def test_numbers_lead_to_a_numbered_list_of_sources(open_page: Open) -> None:
    page = open_page()
    unfold(page)
    cited = {link.inner_text() for link in page.query_selector_all("a.cc-cite")}
    listed = page.query_selector_all(".cc-sources li")
    numbers = [item.inner_text().split()[0] for item in listed]
    assert numbers == [f"[{n}]" for n in range(1, len(listed) + 1)]
    assert cited <= set(numbers)
    page.reload()
    page.wait_for_selector("[data-do=look]", state="attached")
    page.click(".cc-flags a.cc-cite >> nth=0")
    number = page.inner_text(".cc-flags a.cc-cite >> nth=0").strip("[]")
    page.wait_for_selector(f"#cc-source-{number}:visible")
    assert page.evaluate("document.activeElement.id") == f"cc-source-{number}"


def test_text_to_read_is_larger_than_what_is_said_in_passing(open_page: Open) -> None:
    page = open_page()
    upload(page, drawn())
    look(page)
    size = "(s) => Math.min(...[...document.querySelectorAll(s)].map((e) => parseFloat(getComputedStyle(e).fontSize)))"
    body = page.evaluate(size, ".cc-card p:not(.cc-quiet), .cc-card li, .cc-card td")
    assert body >= 16
    assert 14 <= page.evaluate(size, ".cc-quiet") < body


def test_bars_are_seen_in_forced_colours(open_page: Open) -> None:
    page = open_page(forced_colors="active")
    upload(page, drawn())
    look(page)
    bar = page.query_selector(".cc-bar")
    assert bar
    low, high = Image.open(io.BytesIO(bar.screenshot())).convert("L").getextrema()
    assert high - low > 60  # type: ignore[operator]


def test_a_finding_prints_without_the_tools_around_it(open_page: Open) -> None:
    page = open_page()
    upload(page, drawn())
    look(page)
    page.emulate_media(media="print")
    assert page.is_visible(".cc-finding .cc-headline")
    assert not page.is_visible(".cc-frame")
    assert not page.is_visible(".cc-languages")


@pytest.mark.parametrize("paper", ["A4", "Letter"])
@pytest.mark.parametrize("photos", [0, 1, MOST_PHOTOS])
def test_the_notes_are_one_page_with_room_for_what_the_clinician_found(
    open_page: Open, tmp_path: Path, paper: str, photos: int
) -> None:
    page = open_page(locale="es-ES")  # the longer words
    page.wait_for_selector("html[lang=es]")
    upload(page, drawn())
    view = {"name": "a.png", "mimeType": "image/png", "buffer": drawn()}
    page.set_input_files("#cc-add", [view] * (photos - 1))  # type: ignore[list-item]
    look(page)
    page.set_checked("#cc-with-photo", photos > 0)
    with page.expect_download() as download:
        page.click(".cc-report a:visible")
    notes = page.context.new_page()
    notes.set_content(Path(download.value.path()).read_text(encoding="utf-8"))
    assert len(notes.query_selector_all(".cc-line")) == 2
    assert len(notes.query_selector_all("img")) == 2 * photos
    assert "Lo que encontró el profesional" in notes.inner_text("body")
    assert "Lo que dijo la herramienta, sin cambios" in notes.inner_text("body")
    printed = notes.pdf(format=paper, prefer_css_page_size=False)
    assert len(re.findall(rb"/Type\s*/Page\b", printed)) == 1, paper
    assert serious(notes) == []


@pytest.mark.parametrize("width", [320, 360, 390])
def test_on_a_phone_the_three_ways_in_are_on_the_first_screen(open_page: Open, width: int) -> None:
    page = open_page(viewport={"width": width, "height": 740})
    assert fits(page)
    for way in (
        "label[for=cc-file]",
        "[data-do=camera]",
        "a[href='#cc-cases']",
        "[data-language=es]",
    ):
        box = page.query_selector(way).bounding_box()  # type: ignore[union-attr]
        assert box
        assert box["y"] + box["height"] < 740
    page.click("a[href='#cc-cases']")
    assert page.evaluate("document.activeElement.id") == "cc-cases"
    unfold(page)
    assert fits(page)


@pytest.mark.parametrize("locale", ["en-GB", "es-ES"])
def test_a_finding_is_two_screens_of_a_phone_before_its_folds(open_page: Open, locale: str) -> None:
    page = open_page(viewport={"width": 390, "height": 844}, locale=locale)
    page.wait_for_selector(f"html[lang={locale[:2]}]")
    for label in ("milium", "other", "gouty_tophus"):
        upload(page, drawn(label))
        look(page)
        height = page.evaluate(
            """() => {
                const finding = document.querySelector(".cc-finding");
                const fold = finding.querySelector("details");
                return fold.getBoundingClientRect().top - finding.getBoundingClientRect().top;
            }"""
        )
        assert height < 2 * 844
        badge = page.query_selector(".cc-outcome")
        assert badge
        assert badge.query_selector("svg")
        assert len(badge.inner_text().strip()) > 5, "by a word as well, never by colour alone"


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
    page.wait_for_selector("[data-do=look]", state="attached")
    if not page.query_selector_all(".cc-thumb"):
        upload(page, drawn())
    assert "Only a clinician" in look(page)
