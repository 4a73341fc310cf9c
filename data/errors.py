"""What can go wrong with a data set, said so that its owner knows which row to mend and how."""


class DataError(Exception):
    """Something that the owner of the data can mend.

    Attributes:
        code: a short name that programs can rely on, such as `missing_photo`.
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


class ManifestError(DataError):
    """A manifest that cannot be used, or a photo that it names and that is not there."""
