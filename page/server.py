"""The demo: a page that shows what `model/` says about a photo, and decides nothing itself.

Run it with `calcinosis demo`, or `python app.py`, which is also how a Hugging Face Space starts it.
"""

import atexit
import importlib
import logging
import os
import re
import shutil
import signal
import socket
import sys
import tempfile
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import MappingProxyType
from typing import Any

# Read when Gradio is imported: it keeps the hour of an event and how long it took, and would sum them up after each.
os.environ["GRADIO_ANALYTICS_MAX_EVENTS"] = "1"
os.environ["GRADIO_ANALYTICS_CACHE_FREQUENCY"] = str(10**9)

import gradio as gr
from starlette.middleware import Middleware

from calcinosis.common.errors import CalcinosisError, CheckpointError, PhotoError
from calcinosis.common.memory import return_large_blocks
from calcinosis.model.config import SHIPPED
from calcinosis.model.predictor import Predictor
from calcinosis.page import requests as incoming
from calcinosis.page import sections as views
from calcinosis.page.cases import cases
from calcinosis.page.findings import Reader
from calcinosis.page.findings import finding as finding_html
from calcinosis.page.forgetting import Forgetting, Unread
from calcinosis.page.guard import Guard
from calcinosis.page.ports import asked_port, check_port
from calcinosis.page.quiz import Quiz
from calcinosis.page.validation_stats import Figure, Mixups, read_mixups, read_validation_stats

_AT_ONCE = 2  # photos that are read; the others wait
_FOLDER = "calcinosis-demo"  # how the server's folder for temporary files begins
_LEFT = re.compile(rf"{_FOLDER}-([0-9]{{1,9}})-[a-z0-9_]{{8}}")  # as `mkdtemp` names what begins so

log = logging.getLogger("calcinosis")

# What the page runs in the browser once an answer is there, or has failed to come.
_ANSWERED = "(html) => window.calcinosisAnswered(html !== null)"


class Answers:
    """What the page's parts and its one endpoint answer. Each asks `model/` and shows what it says."""

    def __init__(
        self,
        reader: Predictor,
        record: Mapping[str, Figure],
        quiz: Sequence[tuple[Path, str]],
        mixups: Mixups | None = None,
    ) -> None:
        self.reader = reader
        self.told_with = Reader(reader.config, reader.prior.tolist(), record)
        self.quiz = Quiz(quiz, reader, mixups=mixups)

    def look(self, event: gr.EventData) -> str:
        """The finding for the photos that the page sent, as HTML."""
        language = _language(event)
        try:
            photos = incoming.open_photos(_sent(event).get("photos"))
            finding = self.reader.in_language(language).predict_group(photos)
            return finding_html(finding, photos, self.told_with, language)
        except Exception as error:
            return views.problem(_code(error), language, _kind(error))

    def finding_v1(self, photo: str, language: str = "en") -> dict[str, Any]:
        """The finding for one photo, as `calcinosis predict --json` prints it, without `file`.

        `photo` is the file's bytes as base64 (JPEG, PNG or WebP). The answer is an object with
        `outcome`, `probabilities`, `prediction_set`, `reasons`, `advice`, `checkpoint`, `coverage`,
        `frequency`, `problem` and `version`, or with `error`: its `code` and `message`.
        """
        language = incoming.language_of(language)
        try:
            picture = incoming.open_photos([photo])[0]
            return self.reader.in_language(language).read(picture).as_json()
        except Exception as error:
            code = _code(error)
            message = views.problem_text(code, language, _kind(error))
            return {"error": {"code": code, "message": message}}

    def sections(self, language: str) -> dict[str, str]:
        """Every section of the page in a language by its name, in their order, without a finding."""
        labels = self.reader.config.labels
        sections = {
            "header": views.header(language, labels),
            "frame": views.frame(language, labels),
            "finding": "",
            "cases": cases(self.told_with, language),
            "learn": views.learn(language, labels),
            "quiz": self.quiz.start(language),
            "sources": views.sources(language),
        }
        return {name: text for name, text in sections.items() if text or name == "finding"}


def build_app(
    reader: Predictor,
    *,
    record: Mapping[str, Figure] = MappingProxyType({}),
    quiz: Sequence[tuple[Path, str]] = (),
    mixups: Mixups | None = None,
) -> gr.Blocks:
    """The page for a reader, with one public endpoint, `/finding_v1`.

    Args:
        reader: what is asked about photos.
        record: how often its prediction sets were right, by label.
        quiz: photographs with their labels to practise on, beside the cases in words.
        mixups: what its prediction sets kept for what, to show after the quiz.
    """
    answers = Answers(reader, record, quiz, mixups)
    hidden: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden"}
    shared: dict[str, Any] = {"concurrency_limit": _AT_ONCE, "concurrency_id": "reading"}
    with gr.Blocks(title="calcinosis", analytics_enabled=False, fill_width=True) as app:
        parts = {
            name: gr.HTML(text, js_on_load=views.script(name), apply_default_css=False)
            for name, text in answers.sections("en").items()
        }

        def in_language(language: str) -> dict[gr.HTML, str]:
            texts = answers.sections(language)
            return {parts[name]: text for name, text in texts.items() if name != "finding"}

        def translate(event: gr.EventData) -> dict[gr.HTML, str]:
            """The page in the language that a visitor chose; its script asks for the finding anew."""
            return in_language(_language(event))

        def greet(request: gr.Request) -> Any:
            """The page in the language that a visitor's browser asks for."""
            language = incoming.accepted_language(request.headers.get("accept-language", ""))
            return gr.skip() if language == "en" else in_language(language)

        parts["frame"].submit(answers.look, outputs=parts["finding"], **hidden, **shared).then(
            None, inputs=parts["finding"], js=_ANSWERED, **hidden
        )
        parts["frame"].clear(None, outputs=parts["finding"], js="() => ''", **hidden)
        everything = [part for name, part in parts.items() if name != "finding"]
        parts["header"].select(translate, outputs=everything, **hidden)
        app.load(greet, outputs=everything, **hidden)
        if "quiz" in parts:
            _add_quiz(parts["quiz"], answers.quiz, {**hidden, **shared})
        gr.api(answers.finding_v1, api_name="finding_v1", **shared)
    app.queue(max_size=64, default_concurrency_limit=_AT_ONCE)
    queue = app._queue
    queue.pending_messages_per_session = Unread(queue.pending_event_ids_session)
    return app


def _add_quiz(part: gr.HTML, quiz: Quiz, settings: dict[str, Any]) -> None:
    def ask(event: gr.EventData) -> str:
        return quiz.ask(_sent(event), _language(event))

    def compare(event: gr.EventData) -> str:
        return quiz.compare(_sent(event), _language(event))

    part.select(ask, outputs=part, **settings)
    part.submit(compare, outputs=part, **settings)


def _sent(event: gr.EventData) -> dict[str, Any]:
    """What the page's script sent with an event: anything at all, if someone made it up."""
    return event._data if isinstance(event._data, dict) else {}


def _language(event: gr.EventData) -> str:
    return incoming.language_of(_sent(event).get("language"))


def _code(error: Exception) -> str:
    """The code of an error; one that nobody foresaw goes to the log and to no visitor."""
    if isinstance(error, CalcinosisError):
        return error.code
    log.error("a photo could not be read", exc_info=error)
    return "unexpected"


def _kind(error: Exception) -> str:
    return error.kind if isinstance(error, PhotoError) else ""


def launch(app: gr.Blocks, *, readings_per_minute: float = 300, **settings: Any) -> Any:
    """Launch the page with all that keeps it private; returns what `Blocks.launch` returns.

    `readings_per_minute` is for one address; a class may share one. `settings` go to Gradio.
    """
    _settle_matplotlib()
    return_large_blocks()
    guard = Middleware(
        Guard, readings_per_minute=readings_per_minute, behind_proxy="SPACE_ID" in os.environ
    )
    private: dict[str, Any] = {
        "app_kwargs": {"middleware": [guard, Middleware(Forgetting, page=app)]},
        "state_session_capacity": 1,  # of who never fetched an answer; of all others none is kept
        "css": views.style(),
        "theme": gr.themes.Base(
            font=["system-ui", "sans-serif"], font_mono=["ui-monospace", "monospace"]
        ),
        "footer_links": [],
        "run_history": False,
        "enable_monitoring": False,
        "max_file_size": "1kb",  # nothing is uploaded; photos travel in the request itself
        "share": False,
        "show_error": False,
        "ssr_mode": False,
        "pwa": False,
        "mcp_server": False,
    }
    return app.launch(**{**private, **settings})


def serve(
    *,
    port: int = 7860,
    checkpoint: Path = SHIPPED,
    host: str = "127.0.0.1",
    quiz: Sequence[tuple[Path, str]] = (),
) -> None:
    """Serve the page until it is stopped.

    Args:
        port: where to listen; 0 takes a free one.
        checkpoint: folder of the checkpoint.
        host: 127.0.0.1 keeps the page to this machine.
        quiz: photographs with their labels to practise on.

    Raises:
        CheckpointError: if the checkpoint cannot be loaded; there is never a page without one.
    """
    if threading.current_thread() is threading.main_thread():
        # As process 1 of a container it would not end on this signal otherwise.
        signal.signal(signal.SIGTERM, signal.default_int_handler)
    # Each of the photos read at the same time has a core of its own.
    reader = Predictor(checkpoint, threads=1)
    _make_private_folder()
    page = build_app(
        reader,
        record=read_validation_stats(checkpoint),
        quiz=quiz,
        mixups=read_mixups(checkpoint),
    )
    _, address, _ = launch(
        page,
        server_name=host,
        server_port=port or _free_port(),
        prevent_thread_lock=True,
        quiet=True,
    )
    print(f"The demo is at {address} until you stop it with Ctrl+C.", flush=True)
    page.block_thread()


def _settle_matplotlib() -> None:
    """Let no visitor wait for matplotlib, where it is installed; the page itself draws nothing with it.

    Gradio asks it for its backend around every event. Were it to choose one with the first, that would
    hold the server for a second and longer, and whoever asked meanwhile would give up.
    """
    with suppress(ImportError):
        importlib.import_module("matplotlib").use("agg")


def _free_port() -> int:
    """A port that nobody listens on; Gradio takes no 0 for one."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


def _make_private_folder() -> None:
    """Gradio's folder for files: this page puts none there, and it goes when the server does.

    What a server that was killed left behind goes now.
    """
    parent = Path(tempfile.gettempdir())
    for left in parent.glob(f"{_FOLDER}-*") if os.name == "posix" else ():
        name = _LEFT.fullmatch(left.name)
        if name and not _is_running(int(name[1])):
            shutil.rmtree(left, ignore_errors=True)
    folder = tempfile.mkdtemp(prefix=f"{_FOLDER}-{os.getpid()}-")
    os.environ["GRADIO_TEMP_DIR"] = folder
    atexit.register(shutil.rmtree, folder, ignore_errors=True)


def _is_running(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True  # it runs, as another user
    return True


def main() -> None:
    """Serve the page as the environment of a Hugging Face Space or of a container asks for it.

    Raises:
        CalcinosisError: `bad_port` or `port_taken`.
    """
    port, host = asked_port(), os.environ.get("GRADIO_SERVER_NAME", "127.0.0.1")
    check_port(port, "GRADIO_SERVER_PORT", host)
    try:
        serve(port=port, host=host)
    except CheckpointError as error:
        sys.exit(f"The demo cannot start without its checkpoint. {error}")
