"""The data card as Croissant JSON-LD, for tools that look for data sets: `python -m calcinosis.data.croissant`."""

from datetime import datetime
from pathlib import Path
from typing import Any, Final

from calcinosis.common.files import file_digest, write_json

HERE: Final = Path(__file__).parent
POOL: Final = HERE / "curated" / "pool.csv"
CARD: Final = HERE / "croissant.json"

_COLUMNS: Final = {
    "file": "Path of the photograph below the root folder that its holder keeps.",
    "label": "One of calcinosis_cutis, gouty_tophus, milium, other.",
    "source": "The collection that the photograph comes from.",
    "group": "Photographs of one patient or one picture share it, copies that the audit found included.",
    "source_label": "What the source calls the condition.",
    "kind": "target, lookalike (easily mistaken for one of the three) or distant.",
    "body_site": "Where on the body: acral_hand, acral_foot, ear, elbow_knee, face, trunk or other; empty where "
    "it is not known.",
    "body_site_basis": "How the site is known: eye (somebody looked), name (the condition's name says it) or usual "
    "(the condition sits there as a rule).",
    "skin_tone": "With its scale, such as fitzpatrick:4; empty where unknown.",
    "licence": "Of the photograph, where its holder states one.",
    "url": "Where the photograph was published.",
    "fold": "Number of the cross-validation fold; no group is split.",
}


def describe() -> dict[str, Any]:
    """The card of the curated list, with the list's digest in it.

    The vocabulary is that of the Croissant format specification, version 1.1, as `mlcroissant` writes it.
    """
    import mlcroissant as mlc

    with POOL.open(encoding="utf-8") as stream:
        columns = stream.readline().strip().split(",")
    fields = [
        mlc.Field(
            id=f"photos/{name}",
            name=name,
            description=_COLUMNS[name],
            data_types=[mlc.DataType.INTEGER if name == "fold" else mlc.DataType.TEXT],
            source=mlc.Source(file_object="pool.csv", extract=mlc.Extract(column=name)),
        )
        for name in columns
    ]
    file = mlc.FileObject(
        id="pool.csv",
        name="pool.csv",
        content_url=POOL.relative_to(HERE).as_posix(),
        encoding_formats=["text/csv"],
        sha256=file_digest(POOL),
    )
    card = mlc.Metadata(
        ctx=mlc.Context(conforms_to="http://mlcommons.org/croissant/1.1"),
        name="calcinosis-pool",
        description="Names, labels, groups and folds of clinical photographs of calcinosis cutis, gouty "
        "tophi, milia and other skin conditions, after an audit for copies and for pictures that show no "
        "skin. The photographs themselves are not part of it: their holders' terms apply.",
        version="2.0.0",
        date_published=datetime(2026, 11, 26),
        license=["https://www.apache.org/licenses/LICENSE-2.0"],
        cite_as="calcinosis: curated list of clinical photographs, version 2.0.0 (2026).",
        creators=[mlc.Organization(name="The calcinosis authors")],
        keywords=["dermatology", "calcinosis cutis", "milia", "gouty tophi"],
        data_collection="Photographs that dermatological web sites publish; labels are the sources' "
        "own and not confirmed by a pathologist.",
        data_biases=[
            "Sources and labels are confounded, and two sources bear marks. Skin types are known of one "
            "source alone, and ages of none; in a random 200 of the others most skin looks light."
        ],
        personal_sensitive_information=[
            "None in this list. The photographs show patients, some of whom can be recognised."
        ],
        distribution=[file],
        record_sets=[
            mlc.RecordSet(
                id="photos",
                name="photos",
                description="One record a photograph.",
                key=["photos/file"],
                fields=fields,
            )
        ],
    )
    return card.to_json()


if __name__ == "__main__":
    write_json(CARD, describe())
