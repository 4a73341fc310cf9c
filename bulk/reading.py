"""Reading a few photos of a manifest, in a process of its own."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from calcinosis.common.errors import CalcinosisError
from calcinosis.data.locating import open_source

if TYPE_CHECKING:
    from calcinosis.model.predictor import Predictor

Record = dict[str, Any]
"""What is said of one photo: the columns of `bulk.table`."""


@dataclass(frozen=True)
class Job:
    """What every worker of a run has to know.

    Attributes:
        root: the folder that the manifest's files lie below.
        checkpoint: that is asked.
        prior: the chances that probabilities assume; the checkpoint's unless given.
        context: instead of a prior, names of what is known before looking.
        language: of the reasons and the advice.
    """

    root: Path
    checkpoint: Path
    prior: tuple[float, ...] | None = None
    language: str = "en"
    context: tuple[str, ...] = ()

    def open_predictor(self) -> "Predictor":
        """What reads the photos, with one thread.

        Raises:
            CheckpointError: if the checkpoint cannot be loaded.
            ValueError: if the prior, the context or the language is not usable.
        """
        # Here, where the process has been told how many threads to use.
        from calcinosis.model.predictor import Predictor

        return Predictor(
            self.checkpoint,
            prior=self.prior,
            context=self.context,
            language=self.language,
            threads=1,
        )


class Worker:
    """A reader that turns a manifest's files into records, one each, whatever happens to a photo."""

    def __init__(self, job: Job) -> None:
        self._root = job.root
        self._reader = job.open_predictor()
        self.labels: tuple[str, ...] = self._reader.config.labels

    def read(self, first: int, files: Sequence[str]) -> list[Record]:
        """The records of consecutive rows, of which the first has the number `first`."""
        return [self._read(first + i, file) for i, file in enumerate(files)]

    def _read(self, row: int, file: str) -> Record:
        try:
            finding = self._reader.read(open_source(self._root, file))
        except CalcinosisError as error:
            return failure(row, file, error.code, error.message)
        except Exception as error:  # one photo of millions must not end the run
            return failure(row, file, "unexpected", f"{type(error).__name__}: {error}")
        return {
            "row": row,
            "file": file,
            "outcome": finding.outcome,
            "problem": finding.problem,
            **{f"p_{label}": p for label, p in finding.probabilities.items()},
            "prediction_set": list(finding.prediction_set),
            "reasons": [*finding.summary, *finding.reasons],
            "advice": finding.advice,
            "checkpoint": finding.checkpoint,
        }


def failure(row: int, file: str, code: str, message: str) -> Record:
    """The record of a photo that got no finding."""
    told = message.encode(errors="backslashreplace").decode()  # a path may be no UTF-8; a table is
    return {"row": row, "file": file, "error_code": code, "error_message": told}
