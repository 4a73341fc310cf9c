"""What a card says and nobody can compute: the facts that a checkpoint's makers fill in."""

import tomllib
from pathlib import Path
from typing import Final

from pydantic import BaseModel, ConfigDict, ValidationError

from calcinosis.common.errors import TrainingError

FILE: Final = "facts.toml"


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class DataFacts(_Part):
    """Of the photographs: each a sentence or more, or empty."""

    images: str = ""
    artefacts: str = ""
    acquisition: str = ""
    people: str = ""
    labelling: str = ""
    pathology: str = ""
    external: str = ""
    limits: tuple[str, ...] = ()


class Facts(_Part):
    """Of the project, its photographs, and the licences of sources that the manifest is silent on."""

    developer: str = ""
    contact: str = ""
    funding: str = ""
    consulted: str = ""
    consent: str = ""
    maintenance: str = ""
    intended_use: str = ""
    choice: str = ""
    publications: str = ""
    data: DataFacts = DataFacts()
    licences: dict[str, str] = {}


def read_facts(path: Path) -> Facts:
    """The facts of a file like `training/report/facts.toml`; where there is no file, none is stated.

    Raises:
        TrainingError: `bad_facts`, naming the line or the entry.
    """
    if not path.exists():
        return Facts()
    try:
        return Facts.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise TrainingError("bad_facts", f"is no TOML: {error}", name=str(path)) from None
    except ValidationError as error:
        place = ".".join(str(part) for part in error.errors()[0]["loc"])
        message = f"{place}: {error.errors()[0]['msg']}; see training/report/facts.toml"
        raise TrainingError("bad_facts", message, name=str(path)) from None
