"""The guard's rates, and whose they are."""

from calcinosis.page.guard import Guard, Rate


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


def test_a_visitor_cannot_choose_the_address_that_is_counted() -> None:
    async def nothing(*_: object) -> None: ...

    assert Guard(nothing)._address(scope("1.2.3.4")) == "10.0.0.1"
    behind = Guard(nothing, behind_proxy=True)
    assert behind._address(scope("6.6.6.6, 1.2.3.4")) == "1.2.3.4"
