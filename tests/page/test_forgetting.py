"""Once a visitor has an answer, or has left, the server knows nothing of the visit."""

import asyncio
import time
from collections.abc import Callable
from typing import Any

import gradio as gr
import httpx2 as httpx
import orjson
import pytest
from gradio.server_messages import CloseStreamMessage
from gradio_client import Client

from calcinosis.benchmarks.visitor import Visitor
from calcinosis.page import forgetting
from tests.drawings import draw, encode

PHOTO = encode(draw("milium", size=(320, 300)), "JPEG")
PATIENCE = 60.0  # seconds


def kept(page: gr.Blocks) -> list[Any]:
    """All that Gradio holds by a session or by an event."""
    queue, states = page._queue, page.state_holder
    return [
        *queue.pending_messages_per_session,
        *queue.pending_event_ids_session,
        *queue.event_ids_to_events,
        *states.session_data,
        *states.time_last_used,
    ]


def until(true: Callable[[], bool]) -> None:
    end = time.monotonic() + PATIENCE
    while not true():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_after_an_answer_nothing_of_the_visit_is_kept(address: str, page: gr.Blocks) -> None:
    visitor = Visitor(address)
    for _ in range(3):
        html = visitor.ask([PHOTO, PHOTO])
        assert "data:image/jpeg" in html
    Client(address, verbose=False, analytics_enabled=False).predict("", api_name="/finding_v1")
    event = httpx.post(f"{address}/gradio_api/call/finding_v1", json={"data": ["", "en"]}).json()
    assert "error" in httpx.get(f"{address}/gradio_api/call/finding_v1/{event['event_id']}").text
    until(lambda: kept(page) == [])


def test_who_leaves_before_the_answer_is_forgotten_and_costs_the_others_nothing(
    address: str, page: gr.Blocks
) -> None:
    visitor = Visitor(address)
    with httpx.Client(base_url=address, timeout=PATIENCE) as web:
        for _ in range(4):
            where = {"session_hash": visitor.join([PHOTO])}
            with web.stream("GET", "/gradio_api/queue/data", params=where) as stream:
                next(stream.iter_lines())
    assert "cc-finding-title" in visitor.ask([PHOTO])
    until(lambda: kept(page) == [])


def test_of_who_never_fetches_an_answer_little_waits_and_not_for_long(
    address: str, page: gr.Blocks, monkeypatch: pytest.MonkeyPatch
) -> None:
    queue = page._queue
    monkeypatch.setattr(queue.pending_messages_per_session, "max_size", 3)
    visitor = Visitor(address)
    for _ in range(6):
        visitor.join([PHOTO])
        until(lambda: not queue.event_ids_to_events)
    assert len(queue.pending_messages_per_session) == 3
    assert queue.pending_event_ids_session.keys() == queue.pending_messages_per_session.keys()
    assert len(page.state_holder.session_data) == 1
    assert "cc-finding-title" in visitor.ask([PHOTO])
    queue.pending_messages_per_session.clear()
    queue.pending_event_ids_session.clear()


def test_what_was_asked_meanwhile_is_still_answered(page: gr.Blocks) -> None:
    class Waiting:
        alive = True

    queue = page._queue
    door = forgetting.Forgetting(page.app, page=page)
    queue.pending_event_ids_session["them"] = {"asked"}
    queue.pending_messages_per_session["them"] = messages = forgetting.AsyncQueue()
    queue.event_ids_to_events["asked"] = Waiting()  # type: ignore[assignment]
    door._forget("them", left=True)
    assert queue.pending_messages_per_session["them"] is messages
    Waiting.alive = (
        False  # answered before the stream of the question before it had ended, and not fetched yet
    )
    door._forget("them", left=False)
    assert queue.pending_messages_per_session["them"] is messages
    door._forget("them", left=True)
    del queue.event_ids_to_events["asked"]
    assert "them" not in kept(page)


@pytest.mark.parametrize(
    ("leaves", "closed", "waits"),
    [(False, False, True), (True, False, False), (True, True, True)],
)
def test_an_answer_that_is_ready_before_the_last_stream_has_ended_waits_for_who_stays(
    page: gr.Blocks, leaves: bool, closed: bool, waits: bool
) -> None:
    """As in the quiz, whose questions are answered in a few milliseconds. A browser hangs up once it is told of the end."""
    queue = page._queue
    sent: list[Any] = []

    async def stream(scope: Any, receive: Any, send: Any) -> None:
        queue.pending_event_ids_session["them"] = {"answered"}
        queue.pending_messages_per_session["them"] = forgetting.AsyncQueue()
        if closed:
            end = CloseStreamMessage().model_dump()
            await send({"type": "http.response.body", "body": b"data: " + orjson.dumps(end)})
        if leaves:
            await receive()

    async def receive() -> dict[str, str]:
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {"path": "/gradio_api/queue/data", "query_string": b"session_hash=them"}
    asyncio.run(forgetting.Forgetting(stream, page=page)(scope, receive, send))
    assert ("them" in kept(page)) == waits
    assert len(sent) == closed
    queue.pending_messages_per_session.pop("them", None)
    queue.pending_event_ids_session.pop("them", None)
