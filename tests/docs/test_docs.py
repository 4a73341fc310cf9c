"""What the README and the citation state holds: figures, versions and places are those of the project."""

import pkgutil
import re
import tomllib

import yaml

from calcinosis.training.evaluate.metrics.compute import find_figure
from calcinosis.training.report.figures import averaged
from docs.figures import BEGIN, END, README, read_metrics, summary, with_figures

ROOT = README.parent


def test_the_readme_states_the_figures_of_the_shipped_checkpoint() -> None:
    text = README.read_text(encoding="utf-8")
    assert with_figures(text, read_metrics()) == text, "run: make figures"
    stated = text[text.index(BEGIN) : text.index(END)]
    for name in ("three_way_balanced_accuracy", "balanced_accuracy"):
        figure = find_figure(averaged(read_metrics()), name)
        assert figure
        assert f"{figure['value']:.1%} ({figure['low']:.1%} to {figure['high']:.1%})" in stated


def test_a_figure_that_was_not_measured_is_called_so() -> None:
    metrics = averaged(read_metrics())
    metrics.pop("repeated", None)
    metrics["auroc"].pop("milium")
    metrics["sensitivity"]["milium"] |= {"value": None, "low": None, "reason": "no photo of it"}
    assert "| not measured |" in summary(metrics)
    assert "not measurable: no photo of it" in summary(metrics)


def test_every_place_that_the_readme_names_is_there() -> None:
    text = README.read_text(encoding="utf-8")
    for place in re.findall(r"\]\(((?!https?:)[^)#]+)\)", text):
        assert (ROOT / place).exists(), place


def test_the_citation_is_valid_and_of_this_version() -> None:
    """The keys that the Citation File Format 1.2.0 requires, and no other than it knows."""
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    known = {"abstract", "authors", "cff-version", "commit", "contact", "date-released", "doi"}
    known |= {"identifiers", "keywords", "license", "license-url", "message", "preferred-citation"}
    known |= {"references", "repository", "repository-artifact", "repository-code", "title", "type"}
    known |= {"url", "version"}
    assert {"authors", "cff-version", "message", "title"} <= citation.keys() <= known
    assert citation["cff-version"] == "1.2.0"
    assert citation["version"] == project["version"]
    assert citation["license"] == project["license"]
    assert all(author.keys() & {"name", "family-names"} for author in citation["authors"])
    changes = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert f"## {project['version']}" in changes


def test_every_page_is_in_the_navigation() -> None:
    """Strict building sees to it that what the navigation names is there."""
    text = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    for page in (ROOT / "docs").rglob("*.md"):
        assert page.relative_to(ROOT / "docs").as_posix() in text


def test_what_the_api_pages_name_is_there() -> None:
    for page in (ROOT / "docs" / "api").glob("*.md"):
        for name in re.findall(
            r"^::: (\S+)$", page.read_text(encoding="utf-8"), flags=re.MULTILINE
        ):
            module, _, last = name.rpartition(".")
            assert hasattr(pkgutil.resolve_name(module), last) or pkgutil.resolve_name(name), name
