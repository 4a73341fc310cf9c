"""The applied model card: in the order and with the elements that schema 0.2 of the Coalition for Health AI asks for."""

import json
import os
from pathlib import Path
from xml.etree import ElementTree

import pytest

from calcinosis.model.config import SHIPPED
from calcinosis.training.evaluate.metrics.compute import compute_metrics, find_figure
from tests.training.report.test_card import META, PRIOR, write
from tests.training.tables import drawn_table

SPACE = "{https://mc.chai.org/v0.2/schema.xsd}"
ORDER = {
    "AppliedModelCard": "BasicInfo ReleaseInfo ModelSummary UsesAndDirections Warnings TrustIngredients "
    "KeyMetrics Resources Bibliography",
    "BasicInfo": "ModelName ModelDeveloper DeveloperContact",
    "ReleaseInfo": "ReleaseStage ReleaseDate ReleaseVersion GlobalAvailability RegulatoryApproval",
    "ModelSummary": "Summary Keywords",
    "UsesAndDirections": "IntendedUseAndWorkflow PrimaryIntendedUsers HowToUse TargetedPatientPopulation "
    "CautionedOutOfScopeSettings",
    "Warnings": "KnownRisksAndLimitations KnownBiasesOrEthicalConsiderations ClinicalRiskLevel",
    "TrustIngredients": "AISystemFacts TransparencyInformation",
    "AISystemFacts": "OutcomesAndOutputs ModelType InputDataSource OutputAndInputDataTypes "
    "DevelopmentDataCharacterization BiasMitigationApproaches OngoingMaintenance Security Transparency",
    "TransparencyInformation": "FundingSource StakeholdersConsulted",
    "KeyMetrics": "UsefulnessUsabilityEfficacy FairnessEquity SafetyReliability",
    **dict.fromkeys(
        ("UsefulnessUsabilityEfficacy", "FairnessEquity", "SafetyReliability"),
        "MetricGoal Results Interpretation TestType TestingDataDescription ValidationProcessAndJustification",
    ),
    "MetricResult": "Label ValueJson",
    "Resources": "EvaluationReferences ClinicalTrial PeerReviewedPublications PatientConsentOrDisclosure",
}
"""The schema's sequences, of the elements that the card gives; what it leaves out may be absent."""
SCHEMA = os.environ.get("CALCINOSIS_CARD_SCHEMA")


@pytest.fixture(scope="module")
def metrics():
    return compute_metrics(drawn_table(), prior=PRIOR, resamples=20)


@pytest.fixture
def card(metrics, tmp_path):
    write(tmp_path, metrics, META | {"name": "fish & <chips>"})
    return tmp_path / "applied_model_card.xml"


def parse(card):
    return ElementTree.parse(card).getroot()  # noqa: S314 - the file that the test wrote


def children(element):
    return [child.tag.removeprefix(SPACE) for child in element]


def test_its_elements_stand_in_the_schemas_order(card):
    root = parse(card)
    assert root.tag == f"{SPACE}AppliedModelCard"
    met = set()
    for element in root.iter():
        name = element.tag.removeprefix(SPACE)
        if name in ORDER:
            met.add(name)
            assert children(element) == ORDER[name].split()
        elif name in ("Results", "Keywords"):
            assert set(children(element)) == {"MetricResult" if name == "Results" else "Keyword"}
        else:
            assert children(element) == []
            assert name == "Bibliography" or (element.text or "").strip()
    assert met == set(ORDER)


def test_its_figures_are_those_of_the_run(card, metrics):
    stated = {
        result.find(f"{SPACE}Label").text: json.loads(result.find(f"{SPACE}ValueJson").text)
        for result in parse(card).iter(f"{SPACE}MetricResult")
    }
    value = stated["AUROC against every other photo: milium"]
    figure = find_figure(metrics, "auroc.milium")
    assert value["estimate"] == pytest.approx(figure["value"], abs=1e-4)
    assert (value["lower"], value["upper"]) == pytest.approx(
        (figure["low"], figure["high"]), abs=1e-4
    )
    assert any("brown skin" in label for label in stated)


@pytest.mark.skipif(not SCHEMA, reason="CALCINOSIS_CARD_SCHEMA names no copy of the schema")
def test_it_is_valid_by_the_schema_itself(card):
    xmlschema = pytest.importorskip("xmlschema")
    text = Path(SCHEMA).read_text(encoding="utf-8")
    # The signature, which no card here has, would fetch another schema.
    kept = [
        line for line in text.splitlines() if "ds:Signature" not in line and "xs:import" not in line
    ]
    schema = xmlschema.XMLSchema("\n".join(kept))
    schema.validate(card)
    schema.validate(SHIPPED / "applied_model_card.xml")
