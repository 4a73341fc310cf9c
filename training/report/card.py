"""The model card: what a checkpoint is, how it was made, what was measured and what was not.

Everything on it comes from the checkpoint's `config.json`, `metrics.json` and `facts.toml`. What
nobody measured or stated is called so.
"""

import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

from huggingface_hub import EvalResult, ModelCard, ModelCardData

from calcinosis.common.files import atomic_write
from calcinosis.model.conformal import Conformal
from calcinosis.training.evaluate.metrics.compute import find_figure
from calcinosis.training.evaluate.metrics.registry import FEW_GROUPS
from calcinosis.training.report.applied_card import applied_card
from calcinosis.training.report.facts import FILE, Facts, read_facts
from calcinosis.training.report.figures import averaged, external_figures, list_figures
from calcinosis.training.report.formatting import (
    format_estimate,
    plain_name,
    plain_tone,
    render,
)
from calcinosis.training.report.licence import Terms, is_non_commercial, source_terms
from calcinosis.training.report.sections import GROUPS
from calcinosis.training.robustness.skin_tone import PREFIX

Meta = dict[str, Any]
Metrics = dict[str, Any]

APPLIED_CARD: Final = "applied_model_card.xml"
_HUB_METRICS: Final = {
    "three_way_balanced_accuracy": "balanced_accuracy",
    "auroc": "roc_auc",
    "auroc_lookalike": "roc_auc",
    "sensitivity": "recall",
    "brier": "brier_score",
    "suggestive.precision": "precision",
}
"""What Hugging Face calls the figures that it knows; the others keep their name."""


def write_card(checkpoint: Path) -> None:
    """Write the card of a checkpoint beside it: `README.md`, `LICENSE` and the applied model card as XML.

    Args:
        checkpoint: the folder with `config.json`, `metrics.json` and, where its makers filled one in,
            `facts.toml`. Of the metrics the card shows those that `compute_metrics` gives and, where
            present, `watermark` (for each way of changing the photos, what `watermark_effect` gives),
            `leave_source_out` (what `left_out_block` gives, by source), `learning_curve` and
            `out_of_distribution` (for each kind of picture, the figure of the share refused).

    Raises:
        TrainingError: `bad_facts`.
        KeyError: the checkpoint's JSON lacks an entry that the card needs.
    """
    meta, metrics = (
        json.loads((checkpoint / name).read_text(encoding="utf-8"))
        for name in ("config.json", "metrics.json")
    )
    metrics = averaged(metrics)
    facts = read_facts(checkpoint / FILE)
    terms = source_terms(meta["training"], facts)
    context = _context(meta, metrics, facts, terms)
    body = render("card/card.md", **context)
    text = re.sub(r"\n{3,}", "\n\n", body)
    card = ModelCard(f"---\n{_front_matter(meta, metrics).to_yaml()}\n---\n\n{text}")
    atomic_write(
        checkpoint / "LICENSE", render("card/licence.txt", meta=meta, terms=terms).encode()
    )
    atomic_write(checkpoint / APPLIED_CARD, applied_card(context).encode())
    atomic_write(checkpoint / "README.md", str(card).encode())


def _front_matter(meta: Meta, metrics: Metrics) -> ModelCardData:
    """What the hub reads."""
    sources = ", ".join(sorted(meta["training"]["sources"]))
    known = f"{sources}; photos of patients not learnt from"
    figures = [(f"left out of training: {title}", row) for title, row in external_figures(metrics)]
    results = []
    for dataset, row in (*figures, *((known, row) for row in list_figures(metrics))):
        figure, family = row.figure, row.name.removesuffix(f".{row.name.split('.')[-1]}")
        if figure["value"] is None:
            continue
        told: dict[str, Any] = {"n": figure["n"]}
        if figure["low"] is not None:
            told["interval_95"] = [round(figure["low"], 4), round(figure["high"], 4)]
        elif "reason" in figure:
            told["no_interval"] = figure["reason"]
        results.append(
            EvalResult(
                task_type="image-classification",
                dataset_type="photographs",
                dataset_name=dataset,
                metric_type=_HUB_METRICS.get(row.name, _HUB_METRICS.get(family, family)),
                metric_name=row.title,
                metric_value=round(figure["value"], 4),
                metric_args=told,
            )
        )
    non_commercial = is_non_commercial(meta["licence"])
    conditions = [label.replace("_", "-") for label in meta["labels"][:-1]]
    return ModelCardData(
        language="en",
        license="other",
        license_name="research-and-education-non-commercial"
        if non_commercial
        else "terms-of-the-photographs",
        license_link="LICENSE",
        library_name="pytorch",
        pipeline_tag="image-classification",
        tags=["dermatology", *conditions, "calibration", "conformal-prediction", "education"]
        + ["research-only"] * non_commercial,
        model_name=meta["name"],
        eval_results=results,
    )


def _context(meta: Meta, metrics: Metrics, facts: Facts, terms: Sequence[Terms]) -> dict[str, Any]:
    """All that the card's template shows."""
    training, labels = meta["training"], meta["labels"]
    versions = ", ".join(
        f"{name} {version}" for name, version in training.get("versions", {}).items()
    )
    return {
        "meta": meta,
        "metrics": dict.fromkeys(
            ("watermark", "learning_curve", "out_of_distribution", "dermoscopy", "leave_site_out")
        )
        | metrics,
        "facts": facts,
        "terms": terms,
        "conditions": labels[:-1],
        "non_commercial": is_non_commercial(meta["licence"]),
        "coverage": _coverage(meta, metrics),
        "counts": [
            [plain_name(label), training["photos"][label], training["groups"][label]]
            for label in labels
        ],
        "making": [
            ("These weights", training.get("made")),
            ("Date", training.get("date")),
            ("Machine", training.get("machine")),
            ("Minutes", training.get("minutes")),
            ("Digest of the manifest", training.get("manifest_digest")),
            ("Pretrained weights", training.get("start_weights")),
            ("Versions", versions),
        ],
        "recipe": json.dumps(training.get("recipe"), indent=2),
        "external": [
            [title, row.title, row.text, row.figure["n"]]
            for title, row in external_figures(metrics)
        ],
        "not_learnt": [
            (source, [plain_name(label) for label in block["not_learnt"]])
            for source, block in (metrics.get("leave_source_out") or {}).items()
            if block["not_learnt"]
        ],
        "repeats": (metrics.get("repeated") or {}).get("repeats", 1),
        "figures": [[row.title, row.text, row.figure["n"]] for row in list_figures(metrics)],
        "confusion": [
            [plain_name(truth), *metrics["confusion"][truth].values()] for truth in labels
        ],
        "groups": [
            {"title": title, "rows": list(_subgroup(field, metrics))} for field, title in GROUPS
        ],
        "calibration": {
            source: format_estimate(figure, percent=True)
            for source, block in (metrics.get("by_source") or {}).items()
            if (figure := find_figure(block, "ece")) and figure["value"] is not None
        },
        "rarest": min(labels[:-1], key=lambda label: training["groups"][label]),
        "single_sources": list(_single_sources(meta, metrics)),
        "mistaken": _mistaken(metrics),
        "tone": _tone(metrics),
        "imbalance": _imbalance(training),
        "harm": _harm(metrics),
    }


def _coverage(meta: Meta, metrics: Metrics) -> list[list[Any]]:
    """A row per label: the coverage aimed at, what its patients can promise, and the one measured."""
    conformal = Conformal.model_validate(meta["conformal"])
    patients = conformal.patients or ("not counted",) * len(meta["labels"])
    return [
        [
            plain_name(label),
            f"{100 * aim:.4g} %",
            count,
            _bound(count, low),
            format_estimate(find_figure(metrics, f"conformal.coverage.{label}"), percent=True),
        ]
        for label, aim, count, low in zip(
            meta["labels"], conformal.coverage, patients, conformal.lower_bounds, strict=True
        )
    ]


def _bound(patients: object, lower: float | None) -> str:
    """What so many patients promise, of a label's coverage."""
    if lower is not None:
        return f"{lower:.1%}"
    return "–" if isinstance(patients, str) else "too few patients: always in the set"


def _subgroup(field: str, metrics: Metrics) -> Iterator[list[Any]]:
    """A row a group and label: its figures with their intervals, or no figure at all.

    The last, false alarms, is of photos of the background alone.
    """
    for name, block in (metrics.get(field) or {}).items():
        group = name
        if field == "by_skin_tone":
            group = f"{plain_tone(name)}{', estimated' if name.startswith(PREFIX) else ''}"
        elif field == "by_body_site":
            group = name.replace("_", " ")
        for label in metrics["labels"]:
            if block["label_counts"][label]:
                yield [
                    group,
                    plain_name(label),
                    block["label_counts"][label],
                    _within_group(find_figure(block, f"sensitivity.{label}"), percent=True),
                    _within_group(find_figure(block, f"auroc.{label}"), percent=False),
                    _within_group(find_figure(block, f"conformal.coverage.{label}"), percent=True),
                    _within_group(
                        find_figure(block, "suggestive.false_rate")
                        if label == metrics["labels"][-1]
                        else None,
                        percent=True,
                    ),
                ]


def _within_group(figure: dict[str, Any] | None, *, percent: bool) -> str:
    if figure is None or figure["low"] is None:
        return "–" if figure is None else str(figure["reason"])
    return format_estimate(figure, percent=percent)


def _single_sources(meta: Meta, metrics: Metrics) -> Iterator[tuple[str, str]]:
    """Each condition that one of several sources alone shows, with that source."""
    sources = metrics.get("by_source") or {}
    for label in meta["labels"][:-1]:
        homes = [name for name, block in sources.items() if block["label_counts"][label]]
        if len(homes) == 1 and len(sources) > 1:
            yield label, homes[0]


def _mistaken(metrics: Metrics) -> list[str]:
    """The five look-alikes that are most often taken for a condition, of those seen on enough patients."""
    taken = [
        (row["taken_for_condition"], name, row["n"])
        for name, row in metrics.get("by_lookalike", {}).items()
        if row["taken_for_condition"]["value"] > 0 and row.get("groups", 0) >= FEW_GROUPS
    ]
    return [
        f"{name.replace('_', ' ')} ({format_estimate(figure, percent=True)}, {n} photos)"
        for figure, name, n in sorted(taken, key=lambda row: -row[0]["value"])[:5]
    ]


def _tone(metrics: Metrics) -> str:
    tones = metrics.get("by_skin_tone") or {}
    if not tones:
        return "Not reported: the manifest does not say and it was not estimated for these figures."
    if any(name.startswith(PREFIX) for name in tones):
        return (
            "Where the manifest does not say, estimated from the colours of the skin around the lesion "
            "(individual typology angle, Chardon et al. 1991), not judged by a person; figures by group "
            "are above."
        )
    return "As the manifest says; figures by group are above."


def _imbalance(training: dict[str, Any]) -> str:
    photos = training["photos"]
    rarest = min(photos, key=lambda label: photos[label])
    ratio = max(photos.values()) / max(1, photos[rarest])
    return (
        f"{plain_name(rarest).capitalize()} is the rarest, at 1 to {ratio:,.0f} of the most frequent label. "
        "Sampling and the stated prior make up for it; figures are given per label."
    )


def _harm(metrics: Metrics) -> str:
    predicted, background = metrics["confusion"], metrics["labels"][-1]
    conditions = metrics["labels"][:-1]
    missed = sum(predicted[label][background] for label in conditions)
    alarms = sum(predicted[background][label] for label in conditions)
    shown = sum(sum(predicted[label].values()) for label in conditions)
    return (
        f"Taking the most probable label, {missed:,} of {shown:,} photos of the conditions were called "
        f"something else and {alarms:,} of {sum(predicted[background].values()):,} others were called one "
        "of them. Believed without a clinician, the first could delay care and the second frighten. That is "
        "why every outcome defers."
    )
