"""The card: valid for the hub, made from the run's JSON alone, and silent on nothing."""

import json
import re

import numpy as np
import pytest
from huggingface_hub import ModelCard

from calcinosis.common.errors import TrainingError
from calcinosis.data.manifest import Row
from calcinosis.training.evaluate.metrics.compute import compute_metrics, find_figure
from calcinosis.training.report.card import write_card
from calcinosis.training.report.facts import Facts, read_facts
from calcinosis.training.report.formatting import TEMPLATES, format_estimate, plain_name
from calcinosis.training.report.licence import source_licences, source_terms, weights_licence
from calcinosis.training.robustness.source_shift import left_out_block
from calcinosis.training.robustness.watermark import watermark_effect
from tests.training.tables import LABELS, drawn_table

FACTS_TO_FILL_IN = TEMPLATES.with_name("facts.toml")
PRIOR = [0.1, 0.2, 0.3, 0.4]
META = {
    "format": 2,
    "name": "a name: with 'marks'",
    "labels": list(LABELS),
    "backbone": "package:tiny",
    "preprocessing": {"size": 96, "mean": [0.5] * 3, "std": [0.5] * 3},
    "calibration": {"temperature": 1.25, "bias": [0.0] * 4},
    "conformal": {"coverage": 0.9, "thresholds": [0.1] * 4},
    "prior": PRIOR,
    "licence": "research and education only, non-commercial",
    "training": {
        "command": "calcinosis train --manifest m.csv --root photos --config c.toml --out run",
        "recipe": {"seed": 7, "epochs": 3},
        "date": "2026-01-02",
        "photos": dict(zip(LABELS, (12, 14, 20, 120), strict=True)),
        "groups": dict(zip(LABELS, (6, 8, 10, 60), strict=True)),
        "sources": {"dermnet_nz": 100, "web_milia": 60, "my|own": 6},
        "versions": {"python": "3.11"},
    },
}


@pytest.fixture(scope="module")
def metrics():
    return compute_metrics(drawn_table(), prior=PRIOR, resamples=40)


@pytest.fixture
def card(metrics, tmp_path):
    return ModelCard.load(write(tmp_path, metrics))


def write(folder, metrics, meta=META, facts=None):
    """The card of a folder that holds nothing but a checkpoint's JSON and its facts."""
    (folder / "config.json").write_text(json.dumps(meta))
    (folder / "metrics.json").write_text(json.dumps(metrics))
    if facts:
        (folder / "facts.toml").write_text(facts)
    write_card(folder)
    return folder / "README.md"


def test_the_hub_reads_its_front_matter(card, metrics):
    data = card.data
    assert data.license == "other"
    assert data.license_name == "research-and-education-non-commercial"
    assert data.license_link == "LICENSE"
    assert data.pipeline_tag == "image-classification"
    assert data.model_name == META["name"]
    results = {result.metric_name: result for result in data.eval_results}
    auroc = results["AUROC against every other photo: calcinosis cutis"]
    figure = find_figure(metrics, "auroc.calcinosis_cutis")
    assert auroc.metric_type == "roc_auc"
    assert auroc.metric_value == pytest.approx(figure["value"], abs=1e-4)
    assert auroc.metric_args["interval_95"] == pytest.approx(
        [figure["low"], figure["high"]], abs=1e-4
    )
    assert len(results) == len(data.eval_results) == 40


def test_it_names_the_command_the_figures_and_the_terms(card, metrics):
    text = card.text
    assert META["training"]["command"] in text
    for name in ("ece", "auroc.milium", "auroc_lookalike.gouty_tophus", "selective.augrc"):
        assert format_estimate(find_figure(metrics, name)) in text
    for words in (
        "CC BY-NC-ND 3.0 NZ",
        "not stated",
        '"seed": 7',
        "my\\|own",
    ):
        assert words in text
    assert "you have" not in text.lower()
    assert "only a clinician can tell" in text


def test_a_lookalike_of_a_handful_of_patients_is_not_called_the_worst(metrics, tmp_path):
    def taken(value, groups):
        figure = {"value": value, "low": 0.0, "high": 1.0, "n": groups}
        return {"taken_for_condition": figure, "n": groups, "groups": groups}

    looks = {"Wart": taken(1.0, 1), "Xanthoma": taken(0.4, 5), "Scar": taken(0.0, 50)}
    text = write(tmp_path, metrics | {"by_lookalike": looks}).read_text()
    line = next(line for line in text.splitlines() if "most often taken for" in line)
    assert "Xanthoma" in line
    assert "Wart" not in line
    assert "Scar" not in line


def test_each_source_has_its_coverage_and_false_alarms_and_one_round_is_said_to_be_one(
    metrics, tmp_path
):
    text = write(tmp_path, metrics).read_text()
    block = metrics["by_source"]["first"]
    for label in LABELS[:2] + LABELS[3:]:
        (line,) = re.findall(rf"^\| first \| {plain_name(label)} \|.*$", text, re.MULTILINE)
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        held = find_figure(block, f"conformal.coverage.{label}")
        assert cells[5] == format_estimate(held, percent=True)
        alarms = find_figure(block, "suggestive.false_rate")
        expected = format_estimate(alarms, percent=True) if label == "other" else "–"
        assert cells[6] == expected
    assert "of the first of these" not in text
    twice = write(tmp_path, metrics | {"repeated": {"repeats": 2}}).read_text()
    assert "of the first of these cross-validations alone" in twice


def test_the_licence_lies_beside_it_with_each_sources_terms(card, tmp_path):
    text = (tmp_path / "LICENSE").read_text()
    assert META["licence"] in text
    assert "dermnet_nz: CC BY-NC-ND 3.0 NZ" in text
    assert 'Attribution: "DermNet' in text
    written = {path.name for path in tmp_path.iterdir()} - {"config.json", "metrics.json"}
    assert written == {"LICENSE", "README.md", "applied_model_card.xml"}


def test_clear_derm_is_answered_item_by_item(card):
    section = card.text.split("## CLEAR Derm")[1]
    items = re.findall(r"^(\d+)\. \*\*(.+?)\.\*\* (.+)$", section, flags=re.MULTILINE)
    assert [int(number) for number, _, _ in items] == list(range(1, 26))
    assert all(len(answer) > 15 for _, _, answer in items)


def test_what_nobody_measured_is_called_so(card):
    assert card.text.lower().count("not measured") >= 3
    assert "Effect of a watermark on the probabilities: not measured." in card.text


def test_what_was_measured_beside_the_figures_is_shown(metrics, tmp_path):
    table = drawn_table()
    before = table.probabilities[:, 0]
    effect = watermark_effect(before, before * 0.9, table.group, resamples=30)
    told = {**effect, "label": "milium", "photos": "all", "by_label": {"other": effect}}
    milia, even = table.label == 2, np.arange(len(table)) % 2 == 0
    sources = {
        "north": left_out_block(table, even & ~milia, None, resamples=5),
        "south": left_out_block(table, milia, None, resamples=5),
    }
    share = {"value": 0.9, "low": 0.8, "high": 0.95, "n": 50}
    more = metrics | {
        "watermark": {"pasted": told},
        "leave_source_out": sources,
        "learning_curve": [
            {
                "share": share_learnt,
                "groups": {"milium": groups},
                "repeats": 3,
                "auroc": {"milium": {"mean": mean, "lowest": mean, "highest": mean}},
            }
            for share_learnt, groups, mean in ((0.5, 20, 0.8), (1.0, 40, 0.9))
        ],
        "out_of_distribution": {"x_ray": share | {"caught": share, "suggestive": 2, "retake": 40}},
    }
    text = write(tmp_path, more).read_text()
    change = format_estimate(effect["mean_change"])
    assert f"probability of milium changes by {change}" in text
    assert f"that of something else by {change}" in text
    assert "No other source than south shows milium." in text
    assert (
        "| all photos from north | Sensitivity of the most probable label: gouty tophus |" in text
    )
    told = "X ray: 40 refused as photos and 5 out of scope, together 90.0% (80.0% to 95.0%) of 50;"
    assert told in text
    assert "called suggestive of a condition or of a deposit 2." in text
    assert "held out at a time: 0.800 from 20, 0.900 from 40." in text
    assert (
        "not measured." not in text.split("out-of-distribution pictures")[1].split("## Limits")[0]
    )


def test_a_condition_from_one_source_is_named_as_a_limit(card):
    limits = card.text.split("## Limits")[1].split("## Licence")[0]
    assert "Every photo of calcinosis cutis comes from first" in limits
    assert "Every photo of milium" not in limits  # milium comes from both
    assert "12 photos of 6 patients" in limits


def test_every_table_has_as_many_cells_in_each_row(card):
    for block in re.findall(r"(?:^\|.*\n)+", card.text, flags=re.MULTILINE):
        cells = {len(re.findall(r"(?<!\\)\|", line)) for line in block.strip().splitlines()}
        assert len(cells) == 1


def test_a_users_card_carries_no_facts_of_another_pool(card):
    for words in ("labelled them anew", "atlases", "print a logo", "Maintenance", "goutpal"):
        assert words not in card.text
    assert card.text.count("Not stated by its makers.") >= 6


def test_facts_stand_on_the_card_as_they_were_filled_in(metrics, tmp_path):
    facts = """
        maintenance = "Two people, until 2030."
        [data]
        labelling = "Three dermatologists, by majority."
        limits = ["**Hands** alone."]
        [licences]
        "my|own" = "CC0 1.0"
    """
    text = write(tmp_path, metrics, facts=facts).read_text()
    for words in (
        "Two people, until 2030.",
        "- Labels: Three derm",
        "- **Hands** alone.",
        "CC0 1.0",
    ):
        assert words in text


def test_a_slip_in_the_facts_is_named(metrics, tmp_path):
    with pytest.raises(TrainingError, match="labeling"):
        write(tmp_path, metrics, facts='[data]\nlabeling = "by us"')
    with pytest.raises(TrainingError, match="no TOML"):
        write(tmp_path, metrics, facts="labelling = by us")


def test_every_entry_of_the_facts_to_fill_in_is_known(tmp_path):
    text = (FACTS_TO_FILL_IN).read_text()
    (tmp_path / "facts.toml").write_text(re.sub(r"^# (?=\w+ = |\[)", "", text, flags=re.MULTILINE))
    facts = read_facts(tmp_path / "facts.toml")
    assert set(facts.model_fields_set) == set(Facts.model_fields)
    assert set(facts.data.model_fields_set) == set(type(facts.data).model_fields)


@pytest.mark.parametrize(
    ("licences", "stamp"),
    [
        (["CC BY 4.0"], "any use that the photographs' licences allow (CC BY 4.0)"),
        (["CC BY 4.0", "CC BY-NC 4.0"], "non-commercial"),
        ([""], "no licence is stated for the photographs of clinic"),
    ],
)
def test_the_weights_licence_follows_the_manifest(licences, stamp):
    rows = [
        Row(file=f"{n}.jpg", label="milium", source="clinic", group=str(n), licence=licence)
        for n, licence in enumerate(licences)
    ]
    training = {"sources": {"clinic": len(rows)}, "licences": source_licences(rows)}
    licence = weights_licence(source_terms(training, Facts()))
    assert stamp in licence
    assert ("non-commercial" in licence) == ("CC BY-NC 4.0" in licences)


def test_a_source_of_a_few_photos_has_no_calibration_and_the_card_is_written(metrics, tmp_path):
    few = {"n": 7, "label_counts": dict.fromkeys(metrics["labels"], 0)}
    sources = {"small": few, **metrics["by_source"]}
    text = write(tmp_path, metrics | {"by_source": sources}).read_text()
    (line,) = [line for line in text.splitlines() if line.startswith("Error of calibration")]
    assert "small" not in line


def test_what_was_left_out_of_training_comes_first_and_repeats_are_averaged(metrics, tmp_path):
    figure = {"value": 0.125, "low": 0.1, "high": 0.15, "n": 80}
    block = {
        "suggestive": {"false_rate": figure},
        "auroc": {"milium": figure},
        "sensitivity": {"milium": figure, "other": figure},
    }
    repeated = {"repeats": 5, "auroc": {"milium": metrics["auroc"]["milium"] | {"value": 0.777}}}
    more = {
        "leave_source_out": {"second": block | {"not_learnt": {}}},
        "leave_other_out": {"first": block},
        "leave_site_out": {"milium": {"ear": block, "face": {"reason": "fewer than 3 groups"}}},
        "repeated": repeated,
    }
    text = write(tmp_path, metrics | more).read_text()
    figures = text.split("## Figures")[1]
    external, validated = figures.split("### Cross-validated")
    left_out = ("all photos from second", "something else from first, no condition", "milium, ear")
    for title in left_out:
        assert f"| {title} | Something else that is called suggestive" in external
        assert f"| {title} | AUROC against every other photo: milium" in external
        assert f"| {title} | Sensitivity of the most probable label: something else" in external
    of_milia = "Sensitivity of the most probable label: milium"  # whose sources had been learnt
    assert f"| {left_out[0]} | {of_milia}" in external
    assert f"| {left_out[1]} | {of_milia}" not in external
    applied = (tmp_path / "applied_model_card.xml").read_text()
    assert f"(left out of training: {left_out[0]})" in applied
    assert "mean over 5 cross-validations" in validated
    assert "| AUROC against every other photo: milium | 0.777" in validated
