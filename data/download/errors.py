"""Why a file did not arrive."""

from __future__ import annotations


class DownloadError(Exception):
    """A file that did not arrive: a name for the reason, and the reason in words."""

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(f"{code}: {detail}")
        self.code = code
        self.detail = detail


class PermanentError(DownloadError):
    """Asking again will not help: the link is dead, or it was refused."""


class TransientError(DownloadError):
    """A failure that may pass.

    `after` is how long the server asked to wait; `again` is false where only another run may help.
    """

    def __init__(
        self, code: str, detail: str, *, after: float | None = None, again: bool = True
    ) -> None:
        super().__init__(code, detail)
        self.after = after
        self.again = again


class BadContentError(TransientError):
    """What came is not the photo: it may have been cut short, so it is asked for once more."""
