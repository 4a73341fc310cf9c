"""The card's answers to CLEAR Derm, item by item.

Daneshjou et al., Checklist for Evaluation of Image-Based Artificial Intelligence Reports in
Dermatology (CLEAR Derm), JAMA Dermatology 2022, doi:10.1001/jamadermatol.2021.4915. The items are
named here in the project's own words; each answer says what is known from the run, or that it is
not known.
"""

from collections.abc import Iterator
from typing import Any

from calcinosis.training.evaluate.metrics.registry import find_figure
from calcinosis.training.report.formatting import format_estimate, plain_name


def answer_clear_derm(meta: dict[str, Any], metrics: dict[str, Any]) -> list[str]:
    """The section of the card as lines of Markdown: 25 numbered items under four headings."""
    lines = [
        "## CLEAR Derm, item by item",
        "",
        "The checklist of Daneshjou et al., JAMA Dermatology 2022, "
        "doi:10.1001/jamadermatol.2021.4915, in our words.",
        "",
    ]
    number = 1
    for heading, items in (
        ("Data", _data(meta, metrics)),
        ("Technique", _technique(meta)),
        ("Technical assessment", _assessment(meta, metrics)),
        ("Application", _application(meta, metrics)),
    ):
        lines += [f"### {heading}", ""]
        for item, answer in items:
            lines.append(f"{number}. **{item}.** {answer}")
            number += 1
        lines.append("")
    return lines


def _data(meta: dict[str, Any], metrics: dict[str, Any]) -> Iterator[tuple[str, str]]:
    training, labels = meta["training"], meta["labels"]
    marks, foreign = metrics.get("watermark"), metrics.get("out_of_distribution")
    tones = metrics.get("by_skin_tone") or {}
    yield (
        "Kinds of image",
        "Clinical photographs, as far as the sources' labels tell; other kinds among them are not "
        "marked one by one.",
    )
    yield (
        "Artefacts in the images",
        "Some sources print a logo on every photo; rulers, pen marks and dressings occur and are not "
        "recorded. "
        + (
            "The effect of pasting or masking the logo is listed under the figures."
            if marks
            else "The effect of the logo was not measured for this checkpoint."
        ),
    )
    yield (
        "How the images were taken",
        "Not known: cameras, light and photographers differ and the sources do not say.",
    )
    size = meta["preprocessing"]["size"]
    share = meta["preprocessing"]["crop"]
    yield (
        "Preparation of the images",
        f"Orientation applied, metadata dropped, RGB; the middle square ({share:.0%} of the shorter "
        f"side) resized to {size} pixels, bicubic; each channel normalised. The same code prepares "
        "photos for training and for use.",
    )
    yield (
        "Synthetic images",
        "None was generated. Training may alter photos at random, as the recipe says.",
    )
    yield ("Sources of public images", "Named with their terms under Data.")
    yield (
        "Facts about the patients",
        "Age, sex, ethnicity and place are not in the manifest, so none was used and none can be "
        "reported.",
    )
    if not tones:
        tone = "Not reported: the manifest does not say and it was not estimated for these figures."
    elif any(name.startswith("ita_estimate:") for name in tones):
        tone = (
            "Estimated from the colours of the skin around the lesion (individual typology angle, "
            "Chardon et al. 1991), not judged by a person; figures by group are above."
        )
    else:
        tone = "As the manifest says; figures by group are above."
    yield ("Skin tone and how it was judged", tone)
    yield (
        "Bias that these facts may bring",
        "Sources hold different conditions, so the look of a source can stand in for a condition. "
        "Figures within each source are above. Bias by age, sex or ethnicity cannot be examined.",
    )
    yield (
        "How the data were divided",
        "By patient or picture into folds; every figure is of photos in the fold that was left out. "
        "Calibration and prediction sets were fitted on predictions for left-out photos.",
    )
    counts = "; ".join(
        f"{plain_name(label)} {training['photos'][label]:,} photos of "
        f"{training['groups'][label]:,} patients or pictures"
        for label in labels
    )
    yield ("How many images", f"{counts}.")
    yield ("A test set from elsewhere", "None: no figure here is from an outside collection.")
    yield ("Devices of several makers", "Makers and models of the cameras are not recorded.")
    most = max(training["photos"].values())
    rarest = min(labels, key=lambda label: training["photos"][label])
    yield (
        "Balance of the classes",
        f"Far from balanced: {plain_name(rarest)} is the rarest, at 1 to "
        f"{most / max(1, training['photos'][rarest]):,.0f} of the most frequent label. Sampling and "
        "the stated prior make up for it; figures are given label by label.",
    )
    yield (
        "Images from outside the distribution",
        "Shares refused are above."
        if foreign
        else "Not measured for this checkpoint. Photos of other conditions are part of the task, as "
        "a label of their own.",
    )


def _technique(meta: dict[str, Any]) -> Iterator[tuple[str, str]]:
    yield (
        "How the images were labelled",
        "By their sources. A table in the code says which source label became which of ours. Nobody "
        "labelled them anew for this checkpoint.",
    )
    yield (
        "Accepted names of diagnoses",
        f"{', '.join(plain_name(label) for label in meta['labels'][:-1])} are standard names; "
        "everything else is pooled.",
    )
    yield (
        "Histopathology of malignant conditions",
        "The manifest records none, for any photo; malignant conditions among the pooled others are "
        "unconfirmed.",
    )
    yield (
        "How the algorithm was developed",
        "The code, the recipe, the seed and the command are above, and repeat the training.",
    )


def _assessment(meta: dict[str, Any], metrics: dict[str, Any]) -> Iterator[tuple[str, str]]:
    yield (
        "How others can test it",
        "The weights come with the code. `calcinosis evaluate` measures them on anyone's photographs "
        "and writes the same figures.",
    )
    three = format_estimate(find_figure(metrics, "three_way_balanced_accuracy"), percent=True)
    yield (
        "Measures of performance",
        "AUROC, average precision, sensitivity and specificity, calibration, prediction sets and "
        "selective risk, each with a 95 % interval over patients. Balanced accuracy among the "
        f"conditions: {three}.",
    )
    yield (
        "Comparison with others, and what is new",
        "Nothing was compared with clinicians. The linear probe in the code is the baseline to "
        "measure a recipe against.",
    )
    yield (
        "Assessment of bias",
        "By source and, where known or estimated, by skin tone, above; small groups are shown with "
        "their counts. A group without figures is a gap, not a pass.",
    )


def _application(meta: dict[str, Any], metrics: dict[str, Any]) -> Iterator[tuple[str, str]]:
    conditions = ", ".join(plain_name(label) for label in meta["labels"][:-1])
    yield (
        "Where it may be used, and for which conditions",
        f"Education and research on {conditions}. Not for care.",
    )
    called = metrics["confusion"]
    background = meta["labels"][-1]
    missed = sum(called[label][background] for label in meta["labels"][:-1])
    alarms = sum(n for label, n in called[background].items() if label != background)
    shown = sum(sum(called[label].values()) for label in meta["labels"][:-1])
    yield (
        "What it could do to patients and their carers",
        f"Taking the most probable label, {missed:,} of {shown:,} photos of the conditions were "
        f"called something else and {alarms:,} of {sum(called[background].values()):,} others were "
        "called one of them. Believed without a clinician, the first could delay care and the second "
        "frighten. That is why every outcome defers.",
    )
