"""Where the files of the sets that can be fetched lie: their tables, and from those their photos."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from urllib.parse import quote, urlencode

from calcinosis.common.errors import DataError
from calcinosis.data.curation import Decision, default_taxonomy, url_folder
from calcinosis.data.download.fetch import Fetcher
from calcinosis.data.sources import fitzpatrick17k, isic, scin
from calcinosis.data.sources.tables import find_table, read_table

FITZPATRICK17K_TABLE = (
    "https://raw.githubusercontent.com/mattgroh/fitzpatrick17k/main/fitzpatrick17k.csv"
)
SCIN_BUCKET = "https://storage.googleapis.com/dx-scin-public-data/"
SCIN_LICENCE = "https://raw.githubusercontent.com/google-research-datasets/scin/main/LICENSE"
ISIC_API = "https://api.isic-archive.com/api/v2/images/search/"
# The terms of the archive's tree of diagnoses that are one of the three or a look-alike.
ISIC_SEARCH = " OR ".join(
    f'diagnosis_3:"{term}"'
    for term in (
        "Milium",
        "Infundibular or epidermal cyst",
        "Trichilemmal or isthmic-catagen or pilar cyst",
        "Steatocystoma",
        "Digital mucous cyst",
        "Comedo",
        "Sebaceous hyperplasia",
        "Syringoma",
        "Muluscum",
        "Pilomatricoma",
        "Trichoepithelioma",
        "Osteoma cutis",
        "Angiofibroma",
    )
)

_MAX_PAGES = 10_000
_MAX_PAGE_BYTES = 20 * 1024 * 1024
_CC_DEEDS = {
    "CC0 1.0": "https://creativecommons.org/publicdomain/zero/1.0/",
    "CC BY 4.0": "https://creativecommons.org/licenses/by/4.0/",
    "CC BY-NC 4.0": "https://creativecommons.org/licenses/by-nc/4.0/",
}


@dataclass(frozen=True)
class RemoteFile:
    """One file to fetch.

    Attributes:
        url: where it lies.
        file: where it goes, below the folder that the user named.
        md5: what its set says of its content, where it does.
        bytes: its size, where the set says it.
        kind: what curation makes of it (`target`, `lookalike`, `distant`, or "" for dropped).
        columns: what `metadata.csv` says of it further.
    """

    url: str
    file: str
    md5: str = ""
    bytes: int = 0
    kind: str = ""
    licence: str = ""
    licence_url: str = ""
    attribution: str = ""
    columns: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class FileList:
    """How a set is fetched: first its tables, then the photos that they name.

    Attributes:
        tables: files that are not photos; one that is there already is kept.
        photos: the photos, once the tables are in the folder.
        robots: whether the photos lie on web sites, whose robots.txt is then asked; not so for a
            bucket or an API that is published for fetching.
        usual_bytes: what a photo takes, to judge the disk by where the set does not say.
    """

    tables: tuple[RemoteFile, ...]
    photos: Callable[[Path, Fetcher], Iterator[RemoteFile]]
    robots: bool
    usual_bytes: int


def sources_for(set_name: str, *, search: str = "") -> FileList:
    """How a set is fetched.

    Args:
        set_name: a set of the catalogue with `fetch`.
        search: for the ISIC Archive, a query in its own language; by default the three conditions
            and their look-alikes.

    Raises:
        DataError: code `cannot_fetch` for a set that has to be brought by hand, `usage` for a search elsewhere.
    """
    maker = _MAKERS.get(set_name)
    if maker is None:
        raise DataError(
            "cannot_fetch",
            f"this set has to be brought by hand; those that can be fetched are {', '.join(_MAKERS)}",
            name=set_name,
        )
    if search and set_name != "isic":
        raise DataError("usage", "a search is for the ISIC Archive only", name=set_name)
    return maker(search)


def _fitzpatrick17k(_: str) -> FileList:
    table = RemoteFile(FITZPATRICK17K_TABLE, fitzpatrick17k.TABLE)
    return FileList((table,), _fitzpatrick17k_photos, robots=True, usual_bytes=120_000)


def _fitzpatrick17k_photos(root: Path, _: Fetcher) -> Iterator[RemoteFile]:
    table = default_taxonomy()
    rows = read_table(find_table(root, fitzpatrick17k.TABLE), needs=("md5hash", "label", "url"))
    for row in rows:
        decision = table.quality("fitzpatrick17k", row) or table.decide(
            row["label"], set_name="fitzpatrick17k", folder=url_folder(row["url"])
        )
        yield RemoteFile(
            url=row["url"],
            file=f"images/{row['md5hash']}.jpg",
            md5=row["md5hash"],
            kind=decision.kind,
            licence=fitzpatrick17k.LICENCE,
            licence_url="https://creativecommons.org/licenses/by-nc-sa/3.0/",
            attribution=_atlas(row["url"]),
            columns={"source_label": row["label"]},
        )


def _atlas(url: str) -> str:
    atlases = {"dermaamin.com": "DermaAmin", "atlasdermatologico.com.br": "Atlas Dermatologico"}
    return next((name for site, name in atlases.items() if site in url), "")


def _scin(_: str) -> FileList:
    tables = (
        RemoteFile(f"{SCIN_BUCKET}dataset/{scin.CASES}", scin.CASES),
        RemoteFile(f"{SCIN_BUCKET}dataset/{scin.LABELS}", scin.LABELS),
        RemoteFile(SCIN_LICENCE, "licenses/SCIN Data Use License.txt"),
    )
    return FileList(tables, _scin_photos, robots=False, usual_bytes=1_500_000)


def _scin_photos(root: Path, _: Fetcher) -> Iterator[RemoteFile]:
    table = default_taxonomy()
    needs = ("case_id", "weighted_skin_condition_label")
    labels = {
        row["case_id"]: row["weighted_skin_condition_label"]
        for row in read_table(find_table(root, scin.LABELS), needs=needs)
    }
    for case in read_table(find_table(root, scin.CASES), needs=("case_id", "image_1_path")):
        weights = scin.parse_weights(labels.get(case["case_id"], ""), f"case {case['case_id']}")
        decision = table.decide_weighted(weights, set_name="scin")
        for number in (1, 2, 3):
            path = case.get(f"image_{number}_path", "")
            if path:
                yield RemoteFile(
                    url=SCIN_BUCKET + quote(path),
                    file=path.removeprefix("dataset/"),
                    kind=decision.kind,
                    licence=scin.LICENCE,
                    licence_url=SCIN_LICENCE,
                    attribution="SCIN, Google LLC and Stanford Medicine",
                    columns={"case_id": case["case_id"]},
                )


def _isic(search: str) -> FileList:
    query = search or ISIC_SEARCH

    def photos(_: Path, fetcher: Fetcher) -> Iterator[RemoteFile]:
        return _isic_photos(fetcher, query)

    return FileList((), photos, robots=False, usual_bytes=3_000_000)


def _isic_photos(fetcher: Fetcher, query: str) -> Iterator[RemoteFile]:
    """Walk the pages of the archive's answer; each names the next one."""
    page = f"{ISIC_API}?{urlencode({'query': query, 'limit': 100})}"
    seen: set[str] = set()
    for _ in range(_MAX_PAGES):
        if page in seen:
            return
        seen.add(page)
        try:
            answer = json.loads(fetcher.read(page, _MAX_PAGE_BYTES))
            items = [_isic_item(entry) for entry in answer["results"]]
            following = answer.get("next")
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise DataError(
                "unexpected_answer",
                f"the archive's answer is not as documented ({type(error).__name__}); "
                "its own tool isic-cli may be newer, and its folder builds just as well",
                name=page,
            ) from None
        yield from items
        if not following:
            return
        page = str(following)


def _isic_item(entry: Mapping) -> RemoteFile:
    columns = {"isic_id": str(entry["isic_id"]), "copyright_license": entry["copyright_license"]}
    for part in entry.get("metadata", {}).values():
        columns.update({name: str(value) for name, value in part.items() if value is not None})
    licence = isic.LICENCES.get(entry["copyright_license"], entry["copyright_license"])
    full = entry["files"]["full"]
    return RemoteFile(
        url=str(full["url"]),
        file=f"images/{entry['isic_id']}.jpg",
        bytes=int(full.get("size") or 0),
        kind=_isic_decision(columns).kind,
        licence=licence,
        licence_url=_CC_DEEDS.get(licence, ""),
        attribution=str(entry.get("attribution") or ""),
        columns=columns,
    )


def _isic_decision(columns: Mapping[str, str]) -> Decision:
    table = default_taxonomy()
    return table.quality("isic", columns) or table.decide(
        isic.diagnosis(dict(columns)), set_name="isic"
    )


_MAKERS: Mapping[str, Callable[[str], FileList]] = MappingProxyType(
    {"fitzpatrick17k": _fitzpatrick17k, "scin": _scin, "isic": _isic}
)
