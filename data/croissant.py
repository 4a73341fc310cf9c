"""The data card as Croissant JSON-LD, for tools that look for data sets: `python -m calcinosis.data.croissant`."""

import hashlib
import json
from pathlib import Path
from typing import Any, Final

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
    "fold": "Number of the cross-validation fold; no group is split.",
}
_CONTEXT: Final = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "arrayShape": "cr:arrayShape",
    "citeAs": "cr:citeAs",
    "column": "cr:column",
    "conformsTo": "dct:conformsTo",
    "containedIn": "cr:containedIn",
    "cr": "http://mlcommons.org/croissant/",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataBiases": "cr:dataBiases",
    "dataCollection": "cr:dataCollection",
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "dct": "http://purl.org/dc/terms/",
    "equivalentProperty": "cr:equivalentProperty",
    "examples": {"@id": "cr:examples", "@type": "@json"},
    "extract": "cr:extract",
    "field": "cr:field",
    "fileObject": "cr:fileObject",
    "fileProperty": "cr:fileProperty",
    "fileSet": "cr:fileSet",
    "format": "cr:format",
    "includes": "cr:includes",
    "isArray": "cr:isArray",
    "isLiveDataset": "cr:isLiveDataset",
    "jsonPath": "cr:jsonPath",
    "key": "cr:key",
    "md5": "cr:md5",
    "parentField": "cr:parentField",
    "path": "cr:path",
    "personalSensitiveInformation": "cr:personalSensitiveInformation",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "recordSet": "cr:recordSet",
    "references": "cr:references",
    "regex": "cr:regex",
    "repeated": "cr:repeated",
    "replace": "cr:replace",
    "samplingRate": "cr:samplingRate",
    "sc": "https://schema.org/",
    "separator": "cr:separator",
    "source": "cr:source",
    "subField": "cr:subField",
    "transform": "cr:transform",
    "value": "cr:value",
}


def describe(pool: Path = POOL) -> dict[str, Any]:
    """The card of the curated list, with the list's digest in it.

    The vocabulary is that of the Croissant format specification, version 1.1.
    """
    return {
        "@context": _CONTEXT,
        "@type": "sc:Dataset",
        "conformsTo": "http://mlcommons.org/croissant/1.1",
        "name": "calcinosis-pool",
        "description": "Names, labels, groups and folds of clinical photographs of calcinosis cutis, gouty "
        "tophi, milia and other skin conditions, after an audit for copies and for pictures that show no "
        "skin. The photographs themselves are not part of it: their holders' terms apply.",
        "version": "1.0.0",
        "datePublished": "2026-11-23",
        "license": "https://www.apache.org/licenses/LICENSE-2.0",
        "citeAs": "calcinosis: curated list of clinical photographs, version 1.0.0 (2026).",
        "creator": {"@type": "sc:Organization", "name": "The calcinosis authors"},
        "keywords": ["dermatology", "calcinosis cutis", "milia", "gouty tophi"],
        "rai:dataCollection": "Photographs that dermatological web sites publish; labels are the sources' "
        "own and not confirmed by a pathologist.",
        "rai:dataBiases": "Sources and labels are confounded, and one source bears a logo. Skin tones and "
        "ages are not recorded; in a random 200 most skin looks light.",
        "rai:personalSensitiveInformation": "None in this list. The photographs show patients, some of "
        "whom can be recognised.",
        "distribution": [
            {
                "@type": "cr:FileObject",
                "@id": "pool.csv",
                "name": "pool.csv",
                "contentUrl": pool.relative_to(HERE).as_posix(),
                "encodingFormat": "text/csv",
                "sha256": hashlib.sha256(pool.read_bytes()).hexdigest(),
            }
        ],
        "recordSet": [
            {
                "@type": "cr:RecordSet",
                "@id": "photos",
                "name": "photos",
                "description": "One record a photograph.",
                "key": {"@id": "photos/file"},
                "field": [_field(name, text) for name, text in _COLUMNS.items()],
            }
        ],
    }


def _field(name: str, text: str) -> dict[str, Any]:
    return {
        "@type": "cr:Field",
        "@id": f"photos/{name}",
        "name": name,
        "description": text,
        "dataType": "sc:Integer" if name == "fold" else "sc:Text",
        "source": {"fileObject": {"@id": "pool.csv"}, "extract": {"column": name}},
    }


if __name__ == "__main__":
    CARD.write_text(json.dumps(describe(), indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
