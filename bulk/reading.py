"""Reading a few photos of a manifest, in a process of its own."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from calcinosis.common.errors import CalcinosisError
from calcinosis.data.locating import open_source

Record = dict[str, Any]
"""What is said of one photo: the columns of `bulk.table`."""


@dataclass(frozen=True)
class Job:
    """What every worker of a run has to know.

    Attributes:
        root: the folder that the manifest's files lie below.
        checkpoint: that is asked.
        prior: the chances that probabilities assume; the checkpoint's unless given.
        language: of the reasons and the advice.
    """

    root: Path
    checkpoint: Path
    prior: tuple[float, ...] | None = None
    language: str = "en"


class Worker:
    """A reader that turns a manifest's files into records, one each, whatever happens to a photo."""

    def __init__(self, job: Job) -> None:
        # Here, where the process has been told how many threads to use.
        from calcinosis.model.predictor import Predictor

        self._root = job.root
        self._reader = Predictor(job.checkpoint, prior=job.prior, language=job.language, threads=1)
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
    return {"row": row, "file": file, "error_code": code, "error_message": message}
