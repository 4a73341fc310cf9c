"""What MkDocs asks of this project: figures, the catalogue and links are filled in when a page is read."""

import logging
import re
import shutil
import sys
from pathlib import Path
from typing import Any, Final

from mkdocs.plugins import event_priority

ROOT: Final = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from calcinosis.data.catalogue import list_sets, shown  # noqa: E402 - found through the path above
from calcinosis.model.config import SHIPPED, load_config  # noqa: E402
from calcinosis.training.report.formatting import markdown_table, plain_name  # noqa: E402
from docs.figures import every_figure, read_metrics, summary  # noqa: E402

log = logging.getLogger("mkdocs.hooks.calcinosis")


@event_priority(100)  # before mkdocstrings looks which of its paths are there
def on_config(config: Any) -> Any:
    """Lay out the package as the wheel has it: what reads its docstrings does not follow `package-dir`."""
    package = ROOT / "build" / "docs" / "calcinosis"
    shutil.rmtree(package.parent, ignore_errors=True)
    package.mkdir(parents=True)
    for file in (ROOT / "calcinosis").glob("*.py"):
        (package / file.name).symlink_to(file)
    for room in ("bulk", "cli", "common", "data", "model", "page", "training"):
        (package / room).symlink_to(ROOT / room, target_is_directory=True)
    return config


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Fill in the parts that a page asks for, such as `{{ summary: what stands here }}`."""
    parts = {
        "summary": lambda: summary(read_metrics()),
        "figures": lambda: every_figure(read_metrics()),
        "catalogue": catalogue,
        "learnt_from": learnt_from,
    }
    return re.sub(r"{{ (\w+)(?:: [^}]*)? }}", lambda found: parts[found[1]](), markdown)


def on_post_page(output: str, page: Any, **_: Any) -> str:
    """Warn, which fails the build, where a page would fetch something from another host."""
    for part in re.findall(r"<(?:script|link|img|iframe)\b[^>]*https?://[^>]*>", output):
        log.warning("%s fetches from elsewhere: %s", page.file.src_path, part)
    return output


def catalogue() -> str:
    """The public sets with their terms."""
    rows = []
    for entry in list_sets():
        held = (entry.holds.calcinosis_cutis, entry.holds.gouty_tophus, entry.holds.milium)
        counts = [shown(number) for number in held]
        rows.append([entry.title, *counts, entry.licence, entry.conditions])
    head = ["Set", "Calcinosis cutis", "Gouty tophi", "Milia", "Licence", "Conditions"]
    return markdown_table(head, rows)


def learnt_from() -> str:
    """How many photographs of how many patients the shipped network learnt each label from."""
    training = load_config(SHIPPED).training
    rows = [
        [plain_name(label), f"{count:,}", f"{training['groups'][label]:,}"]
        for label, count in training["photos"].items()
    ]
    sources = ", ".join(f"{name} {count:,}" for name, count in training["sources"].items())
    return f"{markdown_table(['Label', 'Photos', 'Patients or pictures'], rows)}\n\nSources: {sources}."
