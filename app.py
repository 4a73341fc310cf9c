"""The demo: a page that shows what `model/` says about a photo, and decides nothing itself.

Run it with `calcinosis demo`, or `python app.py`, which is also how a Hugging Face Space starts it.
"""

import atexit
import logging
import os
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

# Read when Gradio is imported: nothing is reported home, and nothing of a visitor is recorded.
os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"

import gradio as gr
import torch
from starlette.middleware import Middleware

from model.checkpoint import SHIPPED
from model.errors import CalcinosisError, CheckpointError
from model.reader import Reader
from page import incoming, views
from page.guard import Guard

log = logging.getLogger("calcinosis")

# What the page runs in the browser once an answer is there, or has failed to come.
_ANSWERED = "(html) => window.calcinosisAnswered(html !== null)"


def build_app(reader: Reader, *, concurrency: int = 2) -> gr.Blocks:
    """The page for a reader, with one public endpoint, `/finding_v1`.

    Args:
        reader: what is asked about photos.
        concurrency: photos read at the same time; the others wait.
    """

    def look(event: gr.EventData) -> str:
        """The finding for the photos that the page sent, as HTML."""
        sent: dict[str, Any] = event._data if isinstance(event._data, dict) else {}
        language = incoming.language_of(sent.get("language"))
        try:
            photos = incoming.open_photos(sent.get("photos"))
            finding = reader.in_language(language).read(photos[0])
            return views.finding(finding, photos[0], reader.config, reader.prior.tolist(), language)
        except CalcinosisError as error:
            return views.problem(error, language)
        except Exception:
            log.exception("a photo could not be read")
            return views.problem(CalcinosisError("unexpected", ""), language)

    def finding_v1(photo: str, language: str = "en") -> dict[str, Any]:
        """The finding for one photo, as `calcinosis predict --json` prints it, without `file`.

        `photo` is the file's bytes as base64 (JPEG, PNG or WebP). The answer is an object with
        `outcome`, `probabilities`, `prediction_set`, `reasons`, `advice` and `checkpoint`, or with
        `error`: its `code` and `message`.
        """
        language = incoming.language_of(language)
        try:
            picture = incoming.open_photos([photo])[0]
            return reader.in_language(language).read(picture).as_json()
        except CalcinosisError as error:
            code = error.code
        except Exception:
            log.exception("a photo could not be read")
            code = "unexpected"
        return {"error": {"code": code, "message": views.problem_text(code, language)}}

    def page_in(language: str) -> tuple[str, str, str, str]:
        return (
            views.header(language),
            views.frame(language),
            views.waiting(language),
            views.learn(language),
        )

    def choose_language(event: gr.EventData) -> tuple[str, str, str, str]:
        return page_in(incoming.language_of(event._data.get("language")))

    def greet(request: gr.Request) -> Any:
        language = incoming.accepted_language(request.headers.get("accept-language", ""))
        return gr.skip() if language == "en" else page_in(language)

    texts = page_in("en")
    with gr.Blocks(title="calcinosis", analytics_enabled=False, fill_width=True) as app:
        header = gr.HTML(texts[0], js_on_load=views.script("header"), apply_default_css=False)
        frame = gr.HTML(texts[1], js_on_load=views.script("frame"), apply_default_css=False)
        finding = gr.HTML(texts[2], js_on_load=None, apply_default_css=False)
        learn = gr.HTML(texts[3], js_on_load=None, apply_default_css=False)

        hidden: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden"}
        parts = [header, frame, finding, learn]
        frame.submit(
            look,
            outputs=finding,
            concurrency_limit=concurrency,
            concurrency_id="reading",
            trigger_mode="once",
            **hidden,
        ).then(None, inputs=finding, js=_ANSWERED, **hidden)
        header.select(choose_language, outputs=parts, **hidden)
        app.load(greet, outputs=parts, **hidden)
        gr.api(
            finding_v1,
            api_name="finding_v1",
            concurrency_limit=concurrency,
            concurrency_id="reading",
        )
    app.queue(max_size=64, default_concurrency_limit=concurrency)
    return app


def launch(app: gr.Blocks, **settings: Any) -> Any:
    """Launch the page with all that keeps it private; returns what `Blocks.launch` returns."""
    on_space = "SPACE_ID" in os.environ
    private: dict[str, Any] = {
        "app_kwargs": {"middleware": [Middleware(Guard, behind_proxy=on_space)]},
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


def serve(*, port: int = 7860, checkpoint: Path = SHIPPED, host: str = "127.0.0.1") -> None:
    """Serve the page until it is stopped.

    Raises:
        CheckpointError: if the checkpoint cannot be loaded; there is never a page without one.
    """
    reader = Reader(checkpoint)
    torch.set_num_threads(1)  # each of the photos read at the same time has a core of its own
    _make_private_folder()
    launch(build_app(reader), server_name=host, server_port=port)


def _make_private_folder() -> None:
    """Gradio's folder for files: this page puts none there, and it goes when the server does."""
    folder = tempfile.mkdtemp(prefix="calcinosis-")
    os.environ["GRADIO_TEMP_DIR"] = folder
    atexit.register(shutil.rmtree, folder, ignore_errors=True)


if __name__ == "__main__":
    try:
        serve(
            port=int(os.environ.get("GRADIO_SERVER_PORT", "7860")),
            host=os.environ.get("GRADIO_SERVER_NAME", "127.0.0.1"),
        )
    except CheckpointError as error:
        sys.exit(f"The demo cannot start without its checkpoint. {error}")
