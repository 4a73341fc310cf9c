"""The version of the package, installed or not."""

from pathlib import Path

_CHECKOUT = Path(__file__).resolve().parents[1]


def package_version() -> str:
    """As `pyproject.toml` says it in a checkout, and the installation elsewhere."""
    if (_CHECKOUT / "pyproject.toml").is_file():
        import tomllib

        with (_CHECKOUT / "pyproject.toml").open("rb") as file:
            return str(tomllib.load(file)["project"]["version"])
    from importlib.metadata import version

    return version("calcinosis")
