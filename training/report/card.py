"""The model card: what a checkpoint is, how it was made, what was measured and what was not.

Everything on it comes from the checkpoint's own JSON and from `metrics.json`. What nobody measured
is called so.
"""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

from calcinosis.data.catalogue import list_sets
from calcinosis.training.evaluate.metrics.registry import find_figure
from calcinosis.training.report.clear_derm import answer_clear_derm
from calcinosis.training.report.formatting import format_estimate, plain_name, plain_tone
from calcinosis.training.robustness.skin_tone import PREFIX

Meta = dict[str, Any]
Metrics = dict[str, Any]

LICENCE_NAME: Final = "research-and-education-non-commercial"
_CATALOGUED: Final = {"dermnet_nz": "dermnet"}
"""Sources that the catalogue lists by another name."""
_NO_OPEN_LICENCE: Final = ("web_milia", "goutpal", "selfmanage")

FIGURES: Final = (
    # name, what it says, Hugging Face's metric type, as a percentage
    ("three_way_balanced_accuracy", "Balanced accuracy among the conditions", "balanced_accuracy", True),
    ("balanced_accuracy", "Balanced accuracy, all labels", "balanced_accuracy", True),
    ("auroc.*", "AUROC against every other photo", "roc_auc", False),
    ("auroc_lookalike.*", "AUROC against other conditions and look-alikes", "roc_auc", False),
    ("average_precision.*", "Average precision", "average_precision", False),
    ("sensitivity.*", "Sensitivity of the most probable label", "recall", True),
    ("specificity.*", "Specificity of the most probable label", "specificity", True),
    ("ece", "Expected calibration error at the stated prior, 15 bins", "ece", False),
    ("brier", "Brier score at the stated prior, all labels, 0 to 2", "brier_score", False),
    ("conformal.coverage.*", "Prediction set holds the label", "coverage", True),
    ("conformal.mean_set_size", "Mean size of the prediction set", "set_size", False),
    ("three_way.selective.risk_at_80", "Wrong among the most_confident 80 %, conditions only", "risk", True),
    ("selective.aurc", "AURC", "aurc", False),
    ("selective.augrc", "AUGRC", "augrc", False),
)  # fmt: skip


def write_card(checkpoint_meta: Meta, metrics: Metrics, out: Path) -> None:
    """Write a model card in Hugging Face's format, and the weights' licence as `LICENSE` beside it.

    Args:
        checkpoint_meta: the checkpoint's `config.json`.
        metrics: `metrics.json`. Beside the figures of `compute_metrics` the card shows, where
            present: `watermark` (for each way of changing the photos, what `watermark_effect`
            gives), `leave_one_source_out` (what the function of that name gives) and
            `out_of_distribution` (for each kind of picture, the figure of the share refused).
        out: the card to write, such as `model/weights/README.md`.

    Raises:
        KeyError: the checkpoint's JSON lacks an entry that the card needs.
    """
    parts = (
        _front_matter,
        _what_it_is,
        _uses,
        _data,
        _making,
        _figures,
        _subgroups,
        _robustness,
        _limits,
        _licence,
    )
    body = [line for part in parts for line in part(checkpoint_meta, metrics)]
    body += answer_clear_derm(checkpoint_meta, metrics)
    out.parent.mkdir(parents=True, exist_ok=True)
    for path, text in (
        (out.with_name("LICENSE"), licence_text(checkpoint_meta)),
        (out, "\n".join(body) + "\n"),
    ):
        partial = path.with_name(path.name + ".partial")
        partial.write_text(text, encoding="utf-8")
        partial.replace(path)


def licence_text(meta: Meta) -> str:
    """The terms of the weights, with the terms of each source they were learnt from."""
    terms = "\n".join(
        f"- {source}: {licence}; {conditions}" for source, licence, conditions in _terms(meta)
    )
    return f"""Terms of the weights "{meta["name"]}"

These weights may be used for {meta["licence"]}.

They were learnt from photographs of these sources, whose terms come first:

{terms}

Give the sources their attribution when you publish anything made with these weights. They come
without any warranty. They are not a medical device: they must not be used to diagnose a person or
to decide on care. The code around them has a licence of its own.
"""


def _terms(meta: Meta) -> Iterator[tuple[str, str, str]]:
    """Source, licence and conditions of each source that the training used."""
    catalogue = {entry.name: entry for entry in list_sets()}
    for source in sorted(meta["training"]["sources"]):
        entry = catalogue.get(_CATALOGUED.get(source, source))
        if entry is not None and entry.access != "own":
            yield source, entry.licence, f'{entry.conditions}. Attribution: "{entry.title}"'
        elif source in _NO_OPEN_LICENCE:
            yield source, "no open licence", "the rights stay with whoever took the photographs"
        else:
            yield source, "not catalogued", "ask whoever holds the photographs"


def _matching(metrics: Metrics, name: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """The label ("" for none) and figure of each figure that a name with `*` stands for."""
    labels = metrics["labels"] if name.endswith("*") else [""]
    for label in labels:
        figure = find_figure(metrics, name.removesuffix("*") + label)
        if figure is not None:
            yield label, figure


def _titled(words: str, label: str) -> str:
    return f"{words}: {plain_name(label)}" if label else words


def _front_matter(meta: Meta, metrics: Metrics) -> Iterator[str]:
    """YAML; every scalar is written as JSON, which YAML contains."""
    quoted = json.dumps
    yield "---"
    yield "language: en"
    yield "license: other"
    yield f"license_name: {LICENCE_NAME}"
    yield "license_link: LICENSE"
    yield "library_name: pytorch"
    yield "pipeline_tag: image-classification"
    yield "tags:"
    conditions = (label.replace("_", "-") for label in meta["labels"][:-1])
    for tag in ("dermatology", *conditions, "calibration", "conformal-prediction", "education",
                "research-only"):  # fmt: skip
        yield f"- {tag}"
    yield "model-index:"
    yield f"- name: {quoted(meta['name'])}"
    yield "  results:"
    yield "  - task:"
    yield "      type: image-classification"
    yield "    dataset:"
    yield f"      name: {quoted(_evaluation_name(meta))}"
    yield "      type: photographs"
    yield "    metrics:"
    for name, words, kind, _ in FIGURES:
        for label, figure in _matching(metrics, name):
            if figure["value"] is not None:
                yield f"    - type: {kind}"
                yield f"      name: {quoted(_titled(words, label))}"
                yield f"      value: {quoted(round(figure['value'], 4))}"
                if figure["low"] is not None:
                    bounds = [round(figure["low"], 4), round(figure["high"], 4)]
                    yield f"      args: {quoted({'interval_95': bounds, 'n': figure['n']})}"
    yield "---"
    yield ""


def _evaluation_name(meta: Meta) -> str:
    return f"{', '.join(sorted(meta['training']['sources']))}; photos of patients not learnt from"


def _what_it_is(meta: Meta, metrics: Metrics) -> Iterator[str]:
    conditions = [plain_name(label) for label in meta["labels"][:-1]]
    size = meta["preprocessing"]["size"]
    yield f"# {meta['name']}"
    yield ""
    yield (
        f"A convolutional network that estimates how well a clinical photograph fits "
        f"{_join(conditions, 'or')}, or none of them. **It does not diagnose. Whatever it says, only a "
        "clinician can tell, with examination and tests.** For education and research."
    )
    yield ""
    yield f"- Backbone: `{meta['backbone']}`, input {size} × {size} pixels, RGB."
    yield (
        f"- Output: probabilities of {_join([plain_name(label) for label in meta['labels']])}; a "
        f"prediction set meant to hold the true label in {meta['conformal']['coverage']:.0%} of "
        "the photos of each label; an outcome, which always defers to a clinician."
    )
    prior = ", ".join(
        f"{plain_name(label)} {share:.1%}"
        for label, share in zip(meta["labels"], meta["prior"], strict=True)
    )
    yield (
        f"- The probabilities assume that photos come in these proportions: {prior}. Elsewhere they "
        "come otherwise, and the probabilities with them: set the prior when you ask."
    )
    yield f"- Calibrated with temperature {meta['calibration']['temperature']:.3g} and a bias a label."
    yield ""


def _join(words: Sequence[str], last: str = "and") -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} {last} {words[-1]}"


def _uses(meta: Meta, metrics: Metrics) -> Iterator[str]:
    yield "## Intended use"
    yield ""
    yield (
        "Teaching how such conditions look and how a classifier's doubt can be shown; research on "
        "small, confounded image collections; a starting point for a researcher's own data."
    )
    yield ""
    yield "## Out of scope"
    yield ""
    for item in (
        "Diagnosing anyone, choosing or withholding care, triage, screening. Software meant for "
        "that is a medical device; this is not one.",
        "Reassurance: a low probability excludes nothing, and many dangerous conditions were never "
        "among the labels.",
        "Dermoscopy, X-ray, ultrasound, histology, drawings, pictures of anything but skin.",
        "Commercial use: the photographs' terms exclude it.",
        "Finding out who someone is, or anything about a person but the look of a lesion.",
    ):
        yield f"- {item}"
    yield ""


def _data(meta: Meta, metrics: Metrics) -> Iterator[str]:
    training = meta["training"]
    yield "## Data"
    yield ""
    yield from _table(
        ["Label", "Photos", "Patients or pictures"],
        [
            [plain_name(label), training["photos"][label], training["groups"][label]]
            for label in meta["labels"]
        ],
    )
    yield from _table(
        ["Source", "Photos", "Licence", "Terms"],
        [
            [source, training["sources"][source], licence, conditions]
            for source, licence, conditions in _terms(meta)
        ],
    )
    yield (
        "Labels are the sources' own; the manifest records no confirmation by pathology. No "
        "photograph comes with the checkpoint."
    )
    yield ""


def _making(meta: Meta, metrics: Metrics) -> Iterator[str]:
    training = meta["training"]
    yield "## How it was made"
    yield ""
    yield "```"
    yield training["command"]
    yield "```"
    yield ""
    facts = {
        "Date": training.get("date"),
        "Machine": training.get("machine"),
        "Minutes": training.get("minutes"),
        "Digest of the manifest": training.get("manifest_digest"),
        "Start weights": training.get("start_weights"),
        "Versions": ", ".join(f"{k} {v}" for k, v in training.get("versions", {}).items()),
    }
    for words, fact in facts.items():
        if fact:
            yield f"- {words}: {fact}"
    yield ""
    if "recipe" in training:
        yield "<details><summary>The whole recipe</summary>"
        yield ""
        yield "```json"
        yield json.dumps(training["recipe"], indent=2)
        yield "```"
        yield ""
        yield "</details>"
        yield ""


def _figures(meta: Meta, metrics: Metrics) -> Iterator[str]:
    yield "## Figures"
    yield ""
    yield (
        f"On {metrics['n']:,} photos of {metrics['groups']:,} patients or pictures, each judged "
        "without having been learnt from. In brackets the 95 % interval, from "
        f"{metrics['resamples']:,} resamples of whole patients."
    )
    yield ""
    rows = []
    for name, words, _, percent in FIGURES:
        for label, figure in _matching(metrics, name):
            said = format_estimate(figure, percent=percent)
            rows.append([_titled(words, label), said, figure["n"]])
    yield from _table(["Figure", "Value (95 % interval)", "Photos"], rows)
    labels = metrics["labels"]
    yield "What was called what (rows: the photo's label; columns: the most probable label):"
    yield ""
    yield from _table(
        ["", *(plain_name(label) for label in labels)],
        [
            [plain_name(truth), *(metrics["confusion"][truth][called] for called in labels)]
            for truth in labels
        ],
    )


def _subgroups(meta: Meta, metrics: Metrics) -> Iterator[str]:
    for field, title in (("by_source", "By source"), ("by_skin_tone", "By skin tone")):
        yield f"### {title}"
        yield ""
        groups = metrics.get(field) or {}
        if not groups:
            yield "Not measured: the manifest does not say."
            yield ""
            continue
        rows = [
            [
                _group_name(field, name),
                plain_name(label),
                block["label_counts"][label],
                _within_group(find_figure(block, f"sensitivity.{label}"), percent=True),
                _within_group(find_figure(block, f"auroc.{label}"), percent=False),
            ]
            for name, block in groups.items()
            for label in metrics["labels"]
            if block["label_counts"][label]
        ]
        yield from _table(["Group", "Label", "Photos", "Sensitivity", "AUROC within it"], rows)


def _group_name(field: str, name: str) -> str:
    if field != "by_skin_tone":
        return name
    return f"{plain_tone(name)}{', estimated' if name.startswith(PREFIX) else ''}"


def _within_group(figure: dict[str, Any] | None, *, percent: bool) -> str:
    """A subgroup's figure with its interval, or no figure at all."""
    if figure is None or figure["low"] is None:
        return "–" if figure is None else figure["reason"]
    return format_estimate(figure, percent=percent)


def _robustness(meta: Meta, metrics: Metrics) -> Iterator[str]:
    yield "### The source's mark, left-out sources, fewer patients, foreign pictures"
    yield ""
    marks = metrics.get("watermark") or {}
    if not marks:
        yield "- Effect of a watermark on the probabilities: not measured."
    for how, effect in marks.items():
        yield (
            f"- Watermark {how}: mean probability changes by {format_estimate(effect['mean_change'])}, "
            f"single ones by {format_estimate(effect['mean_absolute_change'])} either way."
        )
    sources = metrics.get("leave_one_source_out") or {}
    if not sources:
        yield "- Learning without one source and judging its photos: not measured."
    for source, block in sources.items():
        said = [
            f"{plain_name(label)} {format_estimate(figure, percent=True)} of {figure['n']}"
            for label, figure in block.get("sensitivity", {}).items()
            if figure["value"] is not None
        ]
        lost = [plain_name(label) for label in block["not_learnt"]]
        yield (
            f"- Learning without {source}, sensitivity there: {'; '.join(said) or 'none measurable'}"
            + (f". No other source shows {_join(lost)}." if lost else ".")
        )
    yield from _learning(meta, metrics)
    foreign = metrics.get("out_of_distribution") or {}
    if not foreign:
        yield "- Pictures that are no such photographs, share refused: not measured."
    for kind, figure in foreign.items():
        share = format_estimate(figure, percent=True)
        caught = format_estimate(figure.get("caught"), percent=True)
        yield (
            f"- {plain_name(kind).capitalize()}: refused {share} of {figure['n']}; by the score alone, "
            f"at the threshold that accepts 95 % of the conditions' photos, {caught}; taken for one "
            f"condition {figure.get('suggestive', 'not counted')}."
        )
    yield ""


def _learning(meta: Meta, metrics: Metrics) -> Iterator[str]:
    curve = metrics.get("learning_curve") or []
    if not curve:
        yield "- Learning from fewer patients: not measured."
        return
    for label in curve[0]["auroc"]:
        steps = [
            f"{point['auroc'][label]['mean']:.3f} from {point['groups'][label]}" for point in curve
        ]
        yield (
            f"- AUROC of {plain_name(label)} by patients or pictures learnt from, a fifth of them "
            f"held out at a time: {', '.join(steps)}."
        )
    recipe = meta["training"].get("recipe", {})
    if recipe.get("method") == "distil":
        yield (
            "- For these the trained stages, which learn nothing of what the conditions' photos show, were not "
            "trained anew: they have seen the photos that were left out, but not what they show."
        )


def _limits(meta: Meta, metrics: Metrics) -> Iterator[str]:
    training, conditions = meta["training"], meta["labels"][:-1]
    rarest = min(conditions, key=lambda label: training["groups"][label])
    yield "## Limits"
    yield ""
    yield (
        f"- **Few patients.** {plain_name(rarest).capitalize()} was learnt from "
        f"{training['photos'][rarest]} photos of {training['groups'][rarest]} patients or pictures; "
        "the intervals above are as wide as they are because of that."
    )
    sources = metrics.get("by_source") or {}
    for label in conditions:
        homes = [name for name, block in sources.items() if block["label_counts"][label]]
        if len(homes) == 1 and len(sources) > 1:
            yield (
                f"- **One source.** Every photo of {plain_name(label)} comes from {homes[0]}: what "
                "looks like the condition may in part be the look of that source."
            )
    confused = sorted(
        metrics.get("by_lookalike", {}).items(),
        key=lambda item: -item[1]["taken_for_condition"]["value"],
    )
    mistaken = [
        f"{name.replace('_', ' ')} ({format_estimate(row['taken_for_condition'], percent=True)}, "
        f"{row['n']} photos)"
        for name, row in confused[:5]
        if row["taken_for_condition"]["value"] > 0
    ]
    if mistaken:
        yield f"- **Look-alikes** most often taken for one of the conditions: {'; '.join(mistaken)}."
    for limit in (
        "**Labels** are the sources' own. Some are wrong, and a photo labelled as something else may "
        "show one of the conditions.",
        "**Photographs of atlases** are typical, well lit and near. Those of a patient's phone are "
        "not, and the figures do not speak for them.",
        "**The prior.** No clinic has the proportions that the probabilities assume.",
        "**Intervals** count patients, not the ways in which another clinic differs: nothing here "
        "was measured on an outside collection unless it is listed above.",
    ):
        yield f"- {limit}"
    yield ""


def _licence(meta: Meta, metrics: Metrics) -> Iterator[str]:
    yield "## Licence"
    yield ""
    yield (
        f"The weights: {meta['licence']} (`LICENSE` beside this card, with the terms of each "
        "source). The code has a licence of its own."
    )
    yield ""


def _table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> Iterator[str]:
    def line(cells: Sequence[object]) -> str:
        texts = (f"{cell:,}" if isinstance(cell, int) else str(cell) for cell in cells)
        return "| " + " | ".join(text.replace("|", "\\|") for text in texts) + " |"

    yield line(head)
    yield "|" + "---|" * len(head)
    yield from (line(row) for row in rows)
    yield ""
