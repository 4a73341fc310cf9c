"""The log of a fit: a CSV with a line an epoch, and TensorBoard's event files where it is installed."""

import csv
import importlib
import importlib.util
import io
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from calcinosis.common.files import atomic_write


@dataclass(frozen=True)
class Epoch:
    """One line of the log.

    Attributes:
        epoch: from 1.
        loss: mean over the epoch's steps.
        learning_rate: of the backbone, in the epoch's last step.
        seconds: that the epoch took.
    """

    epoch: int
    loss: float
    learning_rate: float
    seconds: float


class EpochLog:
    """Keeps `log.csv` and, with TensorBoard installed, event files below `tensorboard/`.

    Args:
        folder: that both are in.
        done: epochs that are done; later ones, of a run that was stopped, are forgotten.
    """

    def __init__(self, folder: Path, done: int) -> None:
        self.path = folder / "log.csv"
        self._epochs = read_log(self.path)[:done] if done else []
        self._events: Any = None

    def add(self, epoch: Epoch) -> None:
        """Add a line."""
        if self._events is None:
            self._events = _open_events(self.path.parent, epoch.epoch)
        self._epochs.append(epoch)
        text = io.StringIO()
        writer = csv.DictWriter(text, [field.name for field in fields(Epoch)], lineterminator="\n")
        writer.writeheader()
        writer.writerows(asdict(line) for line in self._epochs)
        atomic_write(self.path, text.getvalue().encode())
        if self._events is not None:
            for name in ("loss", "learning_rate", "seconds"):
                self._events.add_scalar(name, getattr(epoch, name), epoch.epoch)
            self._events.flush()

    def close(self) -> None:
        """Close the event files; their writer keeps a thread and a file open."""
        if self._events is not None:
            self._events.close()


def _open_events(folder: Path, epoch: int) -> Any:
    """TensorBoard's writer from an epoch on, or None where it is not installed."""
    if not tensorboard_is_installed():
        return None
    tensorboard = importlib.import_module("torch.utils.tensorboard")
    return tensorboard.SummaryWriter(str(folder / "tensorboard"), purge_step=epoch)


def read_log(path: Path) -> list[Epoch]:
    """The lines of a `log.csv`; none where there is no such file."""
    if not path.exists():
        return []
    with path.open(newline="", encoding="utf-8") as stream:
        return [
            Epoch(
                int(line["epoch"]),
                float(line["loss"]),
                float(line["learning_rate"]),
                float(line["seconds"]),
            )
            for line in csv.DictReader(stream)
        ]


def tensorboard_is_installed() -> bool:
    """Whether event files can be written."""
    return importlib.util.find_spec("tensorboard") is not None
