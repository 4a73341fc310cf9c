"""What a source's name becomes, and which labels their link contradicts."""

import csv
from collections import Counter
from pathlib import Path

import pytest

from calcinosis.common.errors import DataError
from calcinosis.data.croissant import POOL
from calcinosis.data.curation import (
    LABELS,
    Taxonomy,
    default_taxonomy,
    disease_key,
    is_malignant,
    url_folder,
    words,
)

TABLE = default_taxonomy()


def real_table(photos: Path) -> list[dict[str, str]]:
    path = photos.parent / "metadata" / "fitzpatrick17k.csv"
    if not path.is_file():
        pytest.skip(f"{path.name} is not beside the photo pool")
    with path.open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


@pytest.mark.parametrize(
    ("name", "label", "kind"),
    [
        ("calcinosis cutis", "calcinosis_cutis", "target"),
        ("Calcinosis_Cutis", "calcinosis_cutis", "target"),
        ("Calcified nodule (dermatomyositis)", "calcinosis_cutis", "target"),
        ("Gouty tophi", "gouty_tophus", "target"),
        ("GOUT", "gouty_tophus", "target"),
        ("Milia", "milium", "target"),
        ("xanthomas", "other", "lookalike"),
        ("Epidermoid_Cyst", "other", "lookalike"),
        ("cyst_epidermoid", "other", "lookalike"),
        ("Pilar cyst", "other", "lookalike"),
        ("syringoma", "other", "lookalike"),
        ("Sebaceous_Gland_Hyperplasia", "other", "lookalike"),
        ("molluscum-contagiosum", "other", "lookalike"),
        ("Osteoma cutis", "other", "lookalike"),
        ("multiple miliary osteoma cutis", "other", "lookalike"),
        ("pilomatrixoma", "other", "lookalike"),
        ("Rheumatoid nodules", "other", "lookalike"),
        ("granuloma annulare", "other", "lookalike"),
        ("Colloid milium", "other", "lookalike"),
        ("miliaria", "other", "distant"),
        ("Benign familial pemphigus", "other", "distant"),
        ("psoriasis", "other", "distant"),
    ],
)
def test_a_name_becomes_what_a_dermatologist_would_call_it(
    name: str, label: str, kind: str
) -> None:
    decision = TABLE.decide(name)
    assert (decision.label, decision.kind) == (label, kind)
    assert decision.reason


def test_names_are_one_disease_by_spelling_and_two_by_script_or_digits() -> None:
    for one, other in (
        ("Congenital_naevi", "melanocytic nevus"),
        ("Меланома кожи", "кожи, меланома"),
        ("Type_1 reaction", "reaction (type 1)"),
        ("C43", "c43"),
        ("乾癬", "%E4%B9%BE%E7%99%AC"),
    ):
        assert disease_key(one) == disease_key(other)
    names = [
        "Меланома",
        "Экзема",
        "湿疹",
        "乾癬",
        "दाद",
        "दादा",
        "C43",
        "C44",
        "Type 1 reaction",
        "Type 2 reaction",
    ]
    assert len({disease_key(name) for name in names} - {""}) == len(names)


@pytest.mark.parametrize("name", ["Calcinosis of unknown sort", "gouty arthritis", "milia-like"])
def test_a_name_that_sounds_like_a_target_is_never_quietly_a_negative(name: str) -> None:
    assert TABLE.decide(name).dropped
    assert "taxonomy" in TABLE.decide(name).reason


def test_heat_rash_and_boils_under_milia_are_other_with_that_reason() -> None:
    for folder in ("miliaria", "boil"):
        decision = TABLE.decide("milia", set_name="fitzpatrick17k", folder=folder)
        assert (decision.label, decision.kind) == ("other", "distant")
        assert folder in decision.reason
    unnamed = TABLE.decide("milia", set_name="fitzpatrick17k", folder="")
    assert unnamed.label == "milium"


def test_a_set_s_rule_holds_for_that_set_only() -> None:
    assert TABLE.decide("milia", set_name="scin").label == "milium"
    assert TABLE.decide("milia", set_name="own", folder="miliaria").dropped


def test_a_contradicted_label_is_decided_by_the_folder_or_dropped() -> None:
    as_the_folder_says = TABLE.decide("squamous cell carcinoma", folder="eruptive_xanthoma")
    assert (as_the_folder_says.label, as_the_folder_says.kind) == ("other", "lookalike")
    assert TABLE.decide("xanthomas", folder="anthrax").kind == "distant"
    assert TABLE.decide("eczema", folder="calcinosis_cutis").dropped
    assert TABLE.decide("calcinosis cutis", folder="psoriasis").dropped


@pytest.mark.parametrize(
    ("label", "folder"),
    [
        ("xanthomas", "anthrax"),
        ("dermatomyositis", "dermatophytie"),
        ("milia", "miliaria"),
        ("milia", "boil"),
        ("scabies", "abcess"),
        ("sarcoidosis", "discoid_le"),
        ("scleroderma", "scleredema"),
        ("lichen simplex", "chicken_pox"),
        ("langerhans cell histiocytosis", "non_langerhans_cell_histiocytosis"),
        ("congenital nevus", "congenital_dimple"),
        ("seborrheic dermatitis", "seborrhoeic-warts"),
    ],
)
def test_different_conditions_do_not_agree(label: str, folder: str) -> None:
    assert TABLE.agrees(label, folder) is False


@pytest.mark.parametrize(
    ("label", "folder"),
    [
        ("calcinosis cutis", "calcified_nodule_dermatomyositis"),
        ("congenital nevus", "congential_nevus"),
        ("keloid", "kekoid"),
        ("pilomatricoma", "pilomatrixoma"),
        ("halo nevus", "halo_naevus"),
        ("actinic keratosis", "actinic_keratoses"),
        ("stevens johnson syndrome", "stephen-johnson-syndrome"),
        ("pilar cyst", "epidermal_cyst"),
        ("basal cell carcinoma", "carcinoma_basal_cell"),
        ("squamous cell carcinoma", "bowens_disease"),
        ("dyshidrotic eczema", "pompholyx"),
    ],
)
def test_spellings_slips_and_kinds_agree(label: str, folder: str) -> None:
    assert TABLE.agrees(label, folder) is True


def test_where_the_link_names_no_folder_there_is_no_verdict() -> None:
    assert TABLE.agrees("milia", url_folder("http://atlas.example/img?imageId=4351")) is None


@pytest.mark.parametrize(
    ("weights", "label"),
    [
        ({"Milia": 0.8, "Eczema": 0.2}, "milium"),
        ({"Eczema": 0.6, "Psoriasis": 0.4}, "other"),
        ({"Milia": 0.4, "Acne": 0.35, "Eczema": 0.25}, ""),
        ({"Eczema": 0.9, "Calcinosis cutis": 0.1}, ""),
        ({}, ""),
    ],
)
def test_a_doubtful_target_is_neither_positive_nor_negative(
    weights: dict[str, float], label: str
) -> None:
    assert TABLE.decide_weighted(weights).label == label


def test_a_tie_does_not_hang_on_the_order_in_the_file() -> None:
    weights = {"Syringoma": 0.5, "Psoriasis": 0.5}
    backwards = dict(reversed(weights.items()))
    assert TABLE.decide_weighted(weights) == TABLE.decide_weighted(backwards)


@pytest.mark.parametrize(
    "line",
    [
        {"names": ["wart"], "label": "milium", "kind": "lookalike", "reason": "x"},
        {"names": ["wart"], "label": "other", "kind": "target", "reason": "x"},
        {"names": ["wart"], "label": "warts", "kind": "distant", "reason": "x"},
        {"names": ["wart"], "label": "other", "kind": "distant", "reason": ""},
    ],
)
def test_a_table_that_contradicts_itself_is_refused(line: dict[str, object]) -> None:
    default = {"label": "other", "kind": "distant", "reason": "x"}
    with pytest.raises(DataError) as caught:
        Taxonomy({"default": default, "condition": [line]})
    assert caught.value.code == "taxonomy"


def test_one_name_cannot_mean_two_things() -> None:
    default = {"label": "other", "kind": "distant", "reason": "x"}
    lines = [
        {"names": ["milia"], "label": "milium", "kind": "target", "reason": "x"},
        {"names": ["Milium"], "label": "other", "kind": "distant", "reason": "x"},
    ]
    with pytest.raises(DataError, match="two conditions"):
        Taxonomy({"default": default, "condition": lines})


def test_words_see_through_spelling() -> None:
    assert words("Naevus sebaceus") == words("nevus_sebaceus12")
    assert words("Haemangioma") == words("HEMANGIOMAS")
    assert words("Becker's nevus") == words("Beckers_naevi")


def test_the_real_table_flags_what_is_known_to_be_wrong(photos: Path) -> None:
    flagged: dict[str, int] = {}
    targets: dict[str, int] = {}
    for row in real_table(photos):
        folder = url_folder(row["url"])
        decision = TABLE.decide(row["label"], set_name="fitzpatrick17k", folder=folder)
        if decision.kind == "target":
            targets[decision.label] = targets.get(decision.label, 0) + 1
        if TABLE.agrees(row["label"], folder) is False:
            flagged[row["label"]] = flagged.get(row["label"], 0) + 1
    assert targets == {"calcinosis_cutis": 80, "milium": 10}
    assert flagged["milia"] == 102
    assert flagged["xanthomas"] == 18
    assert flagged["dermatomyositis"] == 24  # 22 dermatophytie, 2 dermal melanocytosis
    assert sum(flagged.values()) == 1466
    assert "calcinosis cutis" not in flagged


def test_the_pool_s_own_kinds_follow_from_the_table(photos: Path) -> None:
    """The pool was labelled by hand: one calcinosis photo comes from a folder of another name, and three of the
    atlas's conditions were found to be look-alikes that are distant elsewhere."""
    with POOL.open(encoding="utf-8", newline="") as stream:
        listed = {row["file"] for row in csv.DictReader(stream)}
    with (photos / "photos.csv").open(encoding="utf-8", newline="") as stream:
        rows = [row for row in csv.DictReader(stream) if row["file"] in listed]
    differing = [
        row["source_label"]
        for row in rows
        if (row["label"], row["kind"])
        != (TABLE.decide(row["source_label"]).label, TABLE.decide(row["source_label"]).kind)
    ]
    assert {row["label"] for row in rows} <= set(LABELS)
    assert Counter(differing) == {
        "Systemic sclerosis": 1,
        "naevus comedonicus": 8,
        "scleroderma": 27,
        "tuberous sclerosis": 29,
    }


@pytest.mark.parametrize(
    ("name", "dangerous"),
    [
        ("Melanoma", True),
        ("Squamous cell carcinomas", True),
        ("Sézary syndrome", True),
        ("Acral lentiginous melanoma", True),
        ("Actinic keratosis", False),
        ("Keratoacanthoma", False),
        ("Melanocytic naevus", False),
        ("", False),
    ],
)
def test_cancers_are_told_by_their_name(name: str, dangerous: bool) -> None:
    assert is_malignant(name) is dangerous
