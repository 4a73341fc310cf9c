"""The guard's rates, and whose they are."""

import asyncio

import pytest
import uvicorn
from starlette.responses import PlainTextResponse

from calcinosis.page.guard import MAX_BODY, Guard, Rate


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_an_address_gets_its_burst_and_then_a_calm_rate() -> None:
    clock = Clock()
    rate = Rate(60, clock)
    assert [rate.allows("a") for _ in range(61)] == [True] * 60 + [False]
    assert rate.allows("b")
    clock.now = 1.0
    assert [rate.allows("a"), rate.allows("a")] == [True, False]


def test_addresses_are_forgotten_and_memory_stays_small() -> None:
    rate = Rate(60, Clock())
    for number in range(12_000):
        rate.allows(str(number))
    assert len(rate.buckets) == 10_000


def scope(forwarded: str) -> dict[str, object]:
    return {
        "type": "http",
        "client": ("10.0.0.1", 1),
        "headers": [(b"x-forwarded-for", forwarded.encode())],
    }


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"content-length": "5"}, None),
        ({"content-length": str(MAX_BODY + 1)}, 413),
        ({}, 411),
        ({"content-length": "-5"}, 411),
        ({"transfer-encoding": "chunked"}, 411),
        ({"content-length": "5", "transfer-encoding": "chunked"}, 411),
    ],
)
def test_a_body_has_the_length_that_it_says(headers: dict[str, str], status: int | None) -> None:
    async def nothing(*_: object) -> None: ...

    request = {
        **scope("1.2.3.4"),
        "method": "POST",
        "path": "/gradio_api/queue/join",
        "headers": [(name.encode(), value.encode()) for name, value in headers.items()],
    }
    answer = Guard(nothing)._answer(request)
    assert (answer and answer.status_code) == status


def test_a_visitor_cannot_choose_the_address_that_is_counted() -> None:
    async def nothing(*_: object) -> None: ...

    assert Guard(nothing)._address(scope("1.2.3.4")) == "10.0.0.1"
    behind = Guard(nothing, behind_proxy=True)
    assert behind._address(scope("6.6.6.6, 1.2.3.4")) == "1.2.3.4"


@pytest.mark.parametrize(("trusted", "passed"), [("10.0.0.1", [200, 200]), ("", [200, 429])])
def test_behind_a_proxy_that_is_named_each_visitor_has_a_bound(
    trusted: str, passed: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FORWARDED_ALLOW_IPS", trusted)
    # As Gradio starts the server.
    config = uvicorn.Config(Guard(PlainTextResponse(""), readings_per_minute=1))
    config.load()
    told = []

    async def send(message: dict[str, int]) -> None:
        told.append(message.get("status"))

    for visitor in (b"1.2.3.4", b"5.6.7.8"):
        headers = [(b"x-forwarded-for", visitor), (b"content-length", b"5")]
        request = {**scope(""), "method": "POST", "path": "/gradio_api/queue/join"}
        asyncio.run(config.loaded_app({**request, "headers": headers}, None, send))  # type: ignore[arg-type]
    assert [status for status in told if status] == passed
