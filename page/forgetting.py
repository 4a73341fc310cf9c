"""What Gradio would keep of visitors, and this page forgets once they have their answer.

Gradio notes what each of ten thousand sessions was shown last, so that a visitor finds it again: here a
finding, pictures and all. And what nobody fetched waits for whoever asked, of two thousand sessions. Neither is
kept here, so that memory does not grow with visitors, and nothing of a photo outlasts its answer.
"""

from typing import Any, Final
from urllib.parse import parse_qs

import gradio as gr
from gradio.queueing import AsyncQueue
from gradio.utils import LRUCache
from starlette.types import ASGIApp, Message, Receive, Scope, Send

MOST_UNREAD: Final = 256
"""Sessions whose answers may wait to be fetched: a few times what the queue holds."""

_EVENTS: Final = "/gradio_api/queue/data"
_CLOSING: Final = b'"msg":"close_stream"'
_CALLS: Final = "/gradio_api/call/finding_v1/"


class Unread(LRUCache[str, AsyncQueue[Any]]):
    """What waits for each session; what is said to one that has left, nobody hears.

    Args:
        asked: what each session asked for; the oldest session goes from it as well.
    """

    def __init__(self, asked: dict[str, set[str]]) -> None:
        super().__init__(MOST_UNREAD)
        self._asked = asked

    def __missing__(self, session: str) -> AsyncQueue[Any]:
        return AsyncQueue()

    def popitem(self, last: bool = True) -> tuple[str, AsyncQueue[Any]]:
        session, messages = super().popitem(last)
        self._asked.pop(session, None)
        return session, messages


class Forgetting:
    """ASGI middleware: when the stream that answers a session ends, what is known of the session goes.

    Args:
        page: whose visitors these are.
    """

    def __init__(self, app: ASGIApp, *, page: gr.Blocks) -> None:
        self.app = app
        self.page = page

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if not (session := _session(scope)):
            await self.app(scope, receive, send)
            return
        gone = stayed = closed = False

        async def receive_noting() -> Message:
            nonlocal gone
            message = await receive()
            gone = gone or message["type"] == "http.disconnect"
            return message

        async def send_noting(message: Message) -> None:
            nonlocal closed
            closed = closed or _CLOSING in message.get("body", b"")
            await send(message)

        try:
            await self.app(scope, receive_noting, send_noting)
            stayed = not gone
        finally:  # who was told that the stream ends hangs up, and may ask the next question at once
            self._forget(session, left=not (stayed or closed))

    def _forget(self, session: str, *, left: bool) -> None:
        queue, states = self.page._queue, self.page.state_holder
        asked = queue.pending_event_ids_session.get(session, set())
        events = (queue.event_ids_to_events.get(event) for event in asked)
        if asked and (not left or any(event.alive for event in events if event)):
            return  # something else was asked meanwhile: its answer is still to come, or to be fetched
        queue.pending_messages_per_session.pop(session, None)
        queue.pending_event_ids_session.pop(session, None)
        states.session_data.pop(session, None)
        states.time_last_used.pop(session, None)


def _session(scope: Scope) -> str:
    """The session that a request listens for; empty for another request."""
    path = str(scope.get("path", ""))
    if path == _EVENTS:
        return parse_qs(scope["query_string"].decode()).get("session_hash", [""])[0]
    return path.removeprefix(_CALLS) if path.startswith(_CALLS) else ""
