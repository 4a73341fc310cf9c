"""What can go wrong, said so that the user knows what to mend: each error has a code, a name and a cure."""

from collections.abc import Sequence
from typing import Final

_NAMED: Final = 20
"""Photos that an error lists; of the others it says how many they are."""


class CalcinosisError(Exception):
    """Something the user can mend.

    Attributes:
        code: a short name that programs can rely on, such as `not_an_image`.
        name: the file it happened with, as the user named it; empty when there is none.
        message: what is wrong and what to do, without the file's name.
    """

    def __init__(self, code: str, message: str, name: str = "") -> None:
        super().__init__(code, message, name)  # all of it, so that it can cross between processes
        self.code = code
        self.name = name
        self.message = message

    def __str__(self) -> str:
        return f"{self.name}: {self.message}" if self.name else self.message


class PhotoError(CalcinosisError):
    """A file that cannot be read as a photo; `kind` is what an `unsupported_format` is, as `GIF`."""

    def __init__(self, code: str, message: str, name: str = "", kind: str = "") -> None:
        super().__init__(code, message, name)
        self.args = (*self.args, kind)
        self.kind = kind


class CheckpointError(CalcinosisError):
    """A checkpoint that is missing, damaged or made for something else."""


class BackboneError(CalcinosisError):
    """A backbone that is unknown, not installed or of the wrong kind."""


class DataError(CalcinosisError):
    """Something that the owner of the data can mend: a row, a folder, a download."""


class ManifestError(DataError):
    """A manifest that cannot be used, or a photo that it names and that is not there."""


class TrainingError(CalcinosisError):
    """A training that cannot start or go on."""


def unreadable_photos(faults: Sequence[str], photos: int, name: str = "") -> TrainingError:
    """The error that lists what is wrong with some of so many photos, each as its file and the fault."""
    listed = "".join(f"\n{fault}" for fault in faults[:_NAMED])
    more = f"\nand {len(faults) - _NAMED} more" if len(faults) > _NAMED else ""
    return TrainingError(
        "unreadable_photos",
        f"{len(faults)} of {photos} photos cannot be read; mend them, or leave their rows out:"
        f"{listed}{more}",
        name=name,
    )


class PredictionsError(CalcinosisError):
    """A predictions table that contradicts itself or cannot be read."""


class BulkError(CalcinosisError):
    """A large run that cannot begin or go on."""
