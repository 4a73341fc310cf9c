"""A download gets what can be had, says what cannot, and never leaves a half photo or goes astray."""

import csv
import hashlib
import json
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
from click.testing import Result
from PIL import Image
from typer.testing import CliRunner

from calcinosis.cli.main import app
from calcinosis.common.errors import DataError
from calcinosis.data.download import remote_files as plans
from calcinosis.data.download.addresses import is_public
from calcinosis.data.download.errors import PermanentError
from calcinosis.data.download.fetch import FetchPolicy, _retry_after, path_below
from calcinosis.data.download.remote_files import FileList, RemoteFile
from calcinosis.data.download.run import JOURNAL, Summary, download
from calcinosis.data.manifest import read_manifest
from calcinosis.model.labels import LABELS
from tests.data.download.misbehaving import Server, photo

HERE = frozenset({"127.0.0.1"})
QUICK = FetchPolicy(
    connections=4,
    attempts=3,
    first_wait=0.01,
    longest_wait=0.02,
    longest_retry_after=5,
    timeout=10,
    deadline=20,
    max_bytes=200_000,
)
IMPATIENT = replace(QUICK, timeout=0.3, deadline=0.4)
Fetch = Callable[..., Summary]


@pytest.fixture
def server() -> Iterator[Server]:
    made = Server()
    thread = threading.Thread(
        target=made.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True
    )
    thread.start()
    yield made
    made.release.set()
    made.shutdown()
    made.server_close()


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


@pytest.fixture
def fetch(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Fetch:
    """Fetch items as if they were a set's photos."""

    def run(items: list[RemoteFile], *, robots: bool = False, **options: object) -> Summary:
        plan = FileList((), lambda *_: iter(items), robots=robots, usual_bytes=1000)
        monkeypatch.setattr("calcinosis.data.download.run.sources_for", lambda *_, **__: plan)
        settings = {"policy": QUICK, "allowed": HERE, **options}
        return download("fitzpatrick17k", tmp_path / "set", **settings)

    return run


def item(server: Server, path: str, file: str = "", **more: str) -> RemoteFile:
    return RemoteFile(f"{server.root}/{path}", file or f"images/{path.replace('/', '-')}", **more)


def only_loss(summary: Summary) -> tuple[str, str, str]:
    (lost,) = summary.lost
    return lost.status, lost.code, lost.detail


def files_of(folder: Path) -> set[str]:
    return {path.name for path in (folder / "images").glob("*") if not path.name.startswith(".")}


# ---- what arrives -----------------------------------------------------------------------------


def test_photos_arrive_whole_with_their_terms_beside_them(server: Server, fetch: Fetch) -> None:
    items = [
        item(server, f"photo/{n}.jpg", licence="CC BY 4.0", attribution="A. Nurse", kind="target")
        for n in range(6)
    ]
    summary = fetch(items)
    assert (summary.done, summary.fetched, summary.lost) == (6, 6, ())
    assert (summary.folder / "images/photo-3.jpg").read_bytes() == photo(3)
    with (summary.folder / "metadata.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert len(rows) == 6
    assert rows[3]["sha256"] == hashlib.sha256(photo(3)).hexdigest()
    assert rows[3]["licence"] == "CC BY 4.0"
    said = (summary.folder / "attribution.txt").read_text()
    assert "A. Nurse" in said
    assert "Groh" in said
    assert (summary.folder / "licenses/CC BY 4.0.txt").is_file()
    assert not list(summary.folder.rglob("*.partial"))


def test_a_second_run_asks_for_nothing_that_is_there(server: Server, fetch: Fetch) -> None:
    items = [item(server, f"photo/{n}.jpg") for n in range(4)]
    items.append(item(server, "missing/x.jpg"))
    fetch(items)
    server.asked.clear()
    again = fetch(items)
    assert (again.done, again.fetched, again.dead) == (4, 0, 1)
    assert not server.asked


def test_a_photo_that_was_lost_or_cut_since_is_fetched_again(server: Server, fetch: Fetch) -> None:
    items = [item(server, f"photo/{n}.jpg") for n in range(3)]
    folder = fetch(items).folder
    (folder / "images/photo-0.jpg").unlink()
    (folder / "images/photo-1.jpg").write_bytes(photo(1)[:50])
    assert fetch(items).fetched == 2
    assert (folder / "images/photo-1.jpg").read_bytes() == photo(1)


def test_a_dead_link_is_asked_again_only_on_request(server: Server, fetch: Fetch) -> None:
    items = [item(server, "missing/x.jpg")]
    fetch(items)
    fetch(items)
    assert server.asked["/missing/x.jpg"] == 1
    fetch(items, retry_dead=True)
    assert server.asked["/missing/x.jpg"] == 2


def test_kinds_and_limit_choose_photos(server: Server, fetch: Fetch) -> None:
    kinds = ["target", "distant", "target", "lookalike", "target"]
    items = [item(server, f"photo/{n}.jpg", kind=kind) for n, kind in enumerate(kinds)]
    assert files_of(fetch(items, kinds=("target",), limit=2).folder) == {
        "photo-0.jpg",
        "photo-2.jpg",
    }


def test_the_server_is_told_who_asks_and_whom_to_write_to(server: Server, fetch: Fetch) -> None:
    fetch([item(server, "photo/1.jpg")], contact="lab@example.org")
    (agent,) = server.agents
    assert "calcinosis" in agent
    assert "lab@example.org" in agent


def test_no_more_connections_at_once_than_promised(server: Server, fetch: Fetch) -> None:
    chunk_size, highest, lock = 0, 0, threading.Lock()
    serve = server.finish_request

    def counted(*given: object) -> None:
        nonlocal chunk_size, highest
        with lock:
            chunk_size += 1
            highest = max(highest, chunk_size)
        try:
            serve(*given)  # type: ignore[arg-type]
        finally:
            with lock:
                chunk_size -= 1

    server.finish_request = counted  # type: ignore[method-assign]
    server.slowness = 0.01
    summary = fetch([item(server, f"photo/{n}.jpg") for n in range(30)])
    assert summary.done == 30
    assert highest <= QUICK.connections


# ---- servers that misbehave -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "code", "asked"),
    [
        ("missing/x.jpg", "not_found", 1),
        ("gone/x.jpg", "not_found", 1),
        ("html/x.jpg", "not_a_photo", 1),
        ("disguised/x.jpg", "not_a_photo", 1),
        ("large/x.jpg", "too_large", 1),
        ("metadata/x.jpg", "refused_address", 1),
        ("private/x.jpg", "refused_address", 1),
        ("file/x.jpg", "bad_link", 1),
        ("circle/x.jpg", "redirects", 1),
        ("astray/x.jpg", "refused_by_server", 1),
        ("gif/x.jpg", "not_a_photo", 2),
        ("half/x.jpg", "not_a_photo", 2),
    ],
)
def test_a_dead_link_is_dead_at_once_and_says_why(
    server: Server, fetch: Fetch, path: str, code: str, asked: int
) -> None:
    summary = fetch([item(server, path), item(server, "photo/1.jpg")])
    status, why, detail = only_loss(summary)
    assert (status, why) == ("dead", code)
    assert detail
    assert server.asked[f"/{path}"] == asked
    assert summary.done == 1
    assert files_of(summary.folder) == {"photo-1.jpg"}
    with (summary.folder / "dead_links.csv").open(newline="") as stream:
        (row,) = csv.DictReader(stream)
    assert (row["status"], row["code"]) == ("dead", code)


@pytest.mark.parametrize(
    ("path", "code"),
    [
        ("broken/x.jpg", "server_error"),
        ("hang/x.jpg", "timeout"),
        ("drip/x.jpg", "timeout"),
        ("cut/x.jpg", "truncated"),
    ],
)
def test_what_may_pass_is_tried_again_and_then_left_for_another_day(
    server: Server, fetch: Fetch, path: str, code: str
) -> None:
    items = [item(server, path)]
    policy = IMPATIENT if code == "timeout" else QUICK
    summary = fetch(items, policy=policy)
    assert only_loss(summary)[:2] == ("failed", code)
    assert server.asked[f"/{path}"] == QUICK.attempts
    assert files_of(summary.folder) == set()
    fetch(items, policy=replace(policy, attempts=1))
    assert server.asked[f"/{path}"] == QUICK.attempts + 1


def test_a_picture_of_too_many_pixels_is_not_decoded(
    server: Server, fetch: Fetch, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("calcinosis.data.download.fetch.MAX_PIXELS", 24 * 16 - 1)
    status, code, detail = only_loss(fetch([item(server, "photo/1.jpg")]))
    assert (status, code) == ("dead", "not_a_photo")
    assert "24 by 16" in detail


def test_a_redirect_to_a_private_address_is_never_followed(server: Server, fetch: Fetch) -> None:
    fetch([item(server, "private/x.jpg")])
    assert server.asked["/photo/9.jpg"] == 0


def test_a_redirect_on_the_same_site_is_followed(server: Server, fetch: Fetch) -> None:
    assert (
        fetch([item(server, "moved/x.jpg")]).folder / "images/moved-x.jpg"
    ).read_bytes() == photo(7)


def test_a_server_that_asks_to_wait_is_left_alone_that_long(server: Server, fetch: Fetch) -> None:
    before = time.monotonic()
    summary = fetch([item(server, "busy/x.jpg")])
    assert summary.done == 1
    assert time.monotonic() - before >= 1
    assert server.asked["/busy/x.jpg"] == 2


def test_a_server_that_asks_for_a_day_is_not_asked_again(server: Server, fetch: Fetch) -> None:
    summary = fetch([item(server, "closed/x.jpg")])
    assert only_loss(summary)[:2] == ("failed", "too_many_requests")
    assert server.asked["/closed/x.jpg"] == 1


@pytest.mark.parametrize(
    "text", ["²", "Wed, 21 Oct 2015 07:28:00 +99999999999999999999", "tomorrow", ""]
)
def test_a_wait_that_nobody_can_read_is_none(text: str) -> None:
    assert _retry_after(text) is None


def test_a_server_that_stumbles_is_asked_until_it_answers(server: Server, fetch: Fetch) -> None:
    assert fetch([item(server, "flaky/x.jpg")]).done == 1


def test_a_server_that_is_down_is_given_up_for_this_run(server: Server, fetch: Fetch) -> None:
    gone = Server()
    root = gone.root
    gone.server_close()
    items = [RemoteFile(f"{root}/photo/{n}.jpg", f"images/{n}.jpg") for n in range(60)]
    before = time.monotonic()
    summary = fetch([*items, item(server, "photo/1.jpg")])
    assert (summary.done, summary.failed, summary.dead) == (1, 60, 0)
    assert summary.reasons()["host_down"] >= 50
    assert time.monotonic() - before < 5


def test_the_wrong_picture_under_the_right_link_is_not_taken(server: Server, fetch: Fetch) -> None:
    right = hashlib.md5(photo(1), usedforsecurity=False).hexdigest()
    wrong = hashlib.md5(photo(2), usedforsecurity=False).hexdigest()
    summary = fetch(
        [
            item(server, "photo/1.jpg", "images/right.jpg", md5=right),
            item(server, "photo/1.jpg", "images/wrong.jpg", md5=wrong),
        ]
    )
    assert only_loss(summary)[:2] == ("dead", "wrong_content")
    assert files_of(summary.folder) == {"right.jpg"}


@pytest.mark.parametrize(
    "name",
    [
        "../../x.jpg",
        "images/../../x.jpg",
        "/etc/x.jpg",
        "C:\\x.jpg",
        "..\\x.jpg",
        ".hidden.jpg",
        "a\nb.jpg",
        "x" * 300 + ".jpg",
        "",
    ],
)
def test_a_name_that_leads_astray_is_refused_before_anything_is_asked(
    server: Server, fetch: Fetch, tmp_path: Path, name: str
) -> None:
    before = set(tmp_path.rglob("*"))
    summary = fetch([RemoteFile(f"{server.root}/photo/1.jpg", name)])
    assert only_loss(summary)[:2] == ("dead", "refused_name")
    assert not server.asked
    assert not [path for path in set(tmp_path.rglob("*")) - before if path.suffix == ".jpg"]


def test_a_link_out_of_the_folder_is_not_written_through(tmp_path: Path) -> None:
    root, outside = tmp_path / "set", tmp_path / "outside"
    root.mkdir()
    outside.mkdir()
    (root / "images").symlink_to(outside)
    with pytest.raises(PermanentError, match="refused_name"):
        path_below(root, "images/x.jpg")


@pytest.mark.parametrize(
    "link",
    [
        "",
        "ftp://127.0.0.1/x.jpg",
        "file:///etc/passwd",
        "http://",
        "http://user:pw@127.0.0.1/x",
        "http://[bad/x.jpg",
    ],
)
def test_a_link_that_is_no_web_link_is_dead(fetch: Fetch, link: str) -> None:
    status, code, _ = only_loss(fetch([RemoteFile(link, "images/x.jpg")]))
    assert status == "dead"
    assert code in ("bad_link", "no_link")


@pytest.mark.parametrize(
    ("address", "public"),
    [
        ("93.184.215.14", True),
        ("2606:2800:21f:cb07:6820:80da:af6b:8b2c", True),
        ("127.0.0.1", False),
        ("10.1.2.3", False),
        ("172.16.0.1", False),
        ("192.168.1.1", False),
        ("169.254.169.254", False),
        ("100.64.0.1", False),
        ("0.0.0.0", False),  # noqa: S104 - an address that must be refused
        ("224.0.0.1", False),
        ("::1", False),
        ("fe80::1%eth0", False),
        ("fd00::1", False),
        ("::ffff:127.0.0.1", False),
        ("64:ff9b::7f00:1", False),
        ("2002:7f00:1::", False),
    ],
)
def test_only_addresses_of_the_open_internet_are_public(address: str, public: bool) -> None:
    assert is_public(address) is public


def test_without_leave_this_machine_is_not_asked_in_any_spelling(
    server: Server, fetch: Fetch
) -> None:
    port = server.server_address[1]
    names = ["127.0.0.1", "localhost", "2130706433", "0x7f000001", "[::1]", "[::ffff:127.0.0.1]"]
    items = [
        RemoteFile(f"http://{name}:{port}/photo/{n}.jpg", f"{n}.jpg")
        for n, name in enumerate(names)
    ]
    summary = fetch(items, allowed=frozenset())
    assert summary.done == 0
    assert set(summary.reasons()) <= {"refused_address", "connection", "bad_link"}
    assert not server.asked


# ---- robots.txt -------------------------------------------------------------------------------


def test_a_site_that_asks_not_to_be_fetched_is_not_fetched(server: Server, fetch: Fetch) -> None:
    server.robots = "User-agent: *\nDisallow: /photo/\n"
    items = [item(server, f"photo/{n}.jpg") for n in range(5)]
    summary = fetch([*items, item(server, "moved/x.jpg")], robots=True)
    assert summary.reasons() == {"robots": 5}
    assert server.asked["/photo/1.jpg"] == 0
    assert server.asked["/robots.txt"] == 1


def test_a_site_without_robots_may_be_fetched(server: Server, fetch: Fetch) -> None:
    assert fetch([item(server, "photo/1.jpg")], robots=True).done == 1


def test_a_site_s_wish_for_time_between_requests_is_kept(server: Server, fetch: Fetch) -> None:
    server.robots = "User-agent: *\nCrawl-delay: 1\n"
    before = time.monotonic()
    policy = replace(QUICK, longest_wait=1.0)
    fetch([item(server, f"photo/{n}.jpg") for n in range(2)], robots=True, policy=policy)
    assert time.monotonic() - before >= 1


# ---- disk and other runs ----------------------------------------------------------------------


def test_a_full_disk_is_noticed_before_the_first_request(
    server: Server, fetch: Fetch, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "calcinosis.data.download.run.shutil.disk_usage",
        lambda _: type("Usage", (), {"free": 1000})(),
    )
    with pytest.raises(DataError, match="free") as caught:
        fetch([item(server, "photo/1.jpg")])
    assert caught.value.code == "disk_full"
    assert not server.asked


def test_two_runs_do_not_write_to_one_folder(server: Server, fetch: Fetch, tmp_path: Path) -> None:
    fcntl = pytest.importorskip("fcntl")
    (tmp_path / "set").mkdir()
    with (tmp_path / "set/.download.lock").open("w") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        with pytest.raises(DataError) as caught:
            fetch([item(server, "photo/1.jpg")])
    assert caught.value.code == "in_use"


@pytest.mark.parametrize("name", ["dermnet", "passion", "own"])
def test_a_set_that_cannot_be_fetched_says_which_can(name: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="scin") as caught:
        download(name, tmp_path)
    assert caught.value.code == "cannot_fetch"


# ---- killed in the middle ---------------------------------------------------------------------

_CHILD = """
    import sys
    from pathlib import Path
    from calcinosis.data.download import run
    from calcinosis.data.download.fetch import FetchPolicy
    from calcinosis.data.download.remote_files import RemoteFile, FileList

    root, folder, count = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])
    items = [RemoteFile(f"{root}/photo/{n}.jpg", f"images/{n}.jpg") for n in range(count)]
    plan = FileList((), lambda *_: iter(items), robots=False, usual_bytes=1000)
    run.sources_for = lambda *_, **__: plan
    policy = FetchPolicy(connections=3, first_wait=0.01, timeout=5)
    run.download(
        "fitzpatrick17k", folder, policy=policy, allowed=frozenset({"127.0.0.1"}),
    )
"""


def start_child(server: Server, folder: Path, count: int) -> subprocess.Popen[bytes]:
    """A download in a process of its own, which can be killed."""
    place = str(Path(__file__).parents[3])
    text = textwrap.dedent(_CHILD)
    command = [sys.executable, "-c", text, server.root, str(folder), str(count)]
    return subprocess.Popen(  # noqa: S603 - this interpreter with the text above
        command, cwd=place, env={**os.environ, "PYTHONPATH": place}, stderr=subprocess.DEVNULL
    )


def wait_for(folder: Path, wanted: int) -> None:
    deadline = time.monotonic() + 60
    while len(files_of(folder)) < wanted and time.monotonic() < deadline:
        time.sleep(0.005)


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="this system has no kill -9")
def test_killed_at_any_moment_it_goes_on_where_it_was(
    server: Server, fetch: Fetch, tmp_path: Path
) -> None:
    count, folder = 40, tmp_path / "set"
    server.slowness = 0.03
    for wanted in (8, 20):
        child = start_child(server, folder, count)
        wait_for(folder, wanted)
        child.kill()
        child.wait()
        there = list((folder / "images").glob("*.jpg"))
        assert wanted <= len(there) < count
        for path in there:
            assert path.read_bytes() == photo(int(path.stem))
    (folder / "images/.99.jpg.partial").write_bytes(b"left by a kill")
    whole = {path.stem for path in (folder / "images").glob("*.jpg")}
    server.asked.clear()
    server.slowness = 0
    items = [item(server, f"photo/{n}.jpg", f"images/{n}.jpg") for n in range(count)]
    summary = fetch(items)
    assert (summary.done, summary.lost) == (count, ())
    assert sum(server.asked.values()) == count - len(whole)
    assert not list(folder.rglob("*.partial"))
    with (folder / "metadata.csv").open(newline="") as stream:
        assert len(list(csv.DictReader(stream))) == count


@pytest.mark.skipif(sys.platform == "win32", reason="this system has no SIGINT for one child")
def test_stopped_by_its_user_it_writes_down_what_it_has(server: Server, tmp_path: Path) -> None:
    folder = tmp_path / "set"
    server.slowness = 0.03
    child = start_child(server, folder, 200)
    wait_for(folder, 8)
    child.send_signal(signal.SIGINT)
    assert child.wait(timeout=60) != 0
    with (folder / "metadata.csv").open(newline="") as stream:
        named = {Path(row["file"]).name for row in csv.DictReader(stream)}
    assert 8 <= len(named) < 200
    assert named == files_of(folder)


def test_a_journal_torn_by_a_kill_is_read_as_far_as_it_goes(server: Server, fetch: Fetch) -> None:
    items = [item(server, f"photo/{n}.jpg") for n in range(3)]
    folder = fetch(items).folder
    journal = folder / JOURNAL
    journal.write_text(journal.read_text()[:-25])
    server.asked.clear()
    assert fetch(items).done == 3
    assert (
        sum(server.asked.values()) == 0
    )  # whole photos that no line names are checked, not fetched


# ---- the three sets ---------------------------------------------------------------------------


def test_fitzpatrick17k_photos_are_checked_against_their_md5(
    server: Server, tmp_path: Path
) -> None:
    good = hashlib.md5(photo(1), usedforsecurity=False).hexdigest()
    (tmp_path / "fitzpatrick17k.csv").write_text(
        "md5hash,fitzpatrick_scale,label,qc,url\n"
        f"{good},3,calcinosis cutis,,{server.root}/photo/1.jpg\n"
        f"{'0' * 32},3,milia,,{server.root}/miliaria/2.jpg\n"
        f"{'1' * 32},3,lichen simplex,,\n"
    )
    summary = download("fitzpatrick17k", tmp_path, policy=QUICK, allowed=HERE)
    assert summary.done == 1
    assert summary.reasons() == {"not_found": 1, "no_link": 1}
    assert (tmp_path / f"images/{good}.jpg").is_file()
    assert server.asked["/robots.txt"] == 1


@pytest.fixture
def calcinosis(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    """The command line, which may ask this machine and does so quickly."""
    here = partial(download, policy=QUICK, allowed=HERE)
    monkeypatch.setattr("calcinosis.data.download.run.download", here)
    return lambda *arguments: CliRunner().invoke(app, [str(part) for part in arguments])


def write_fitzpatrick17k(folder: Path, links: dict[str, str]) -> None:
    """The set's own table, with links to photos by their label."""
    header = "md5hash,fitzpatrick_scale,label,qc,url"
    rows = [
        f"{hashlib.md5(photo(n), usedforsecurity=False).hexdigest()},3,{label},,{link}"
        for n, (label, link) in enumerate(links.items(), 1)
    ]
    folder.mkdir()
    (folder / "fitzpatrick17k.csv").write_text("\n".join([header, *rows]))


def test_the_command_line_fetches_a_set_and_makes_its_manifest(
    server: Server, tmp_path: Path, calcinosis: Callable[..., Result]
) -> None:
    root, manifest = tmp_path / "set", tmp_path / "manifest.csv"
    gone = f"{server.root}/missing/xanthoma/2.jpg"
    photos = {"calcinosis cutis": f"{server.root}/photo/calcinosis_cutis/1.jpg", "xanthomas": gone}
    write_fitzpatrick17k(root, photos)
    fetched = calcinosis("data", "download", "fitzpatrick17k", "--to", root)
    assert fetched.exit_code == 0, "a dead link is no reason to try again"
    assert "1 photos are in" in fetched.stderr
    assert "1 links are dead and 0 failed this time (not_found 1)" in fetched.stderr
    assert "dead_links.csv" in fetched.stderr
    assert "terms: " in fetched.stderr
    again = calcinosis("data", "download", "fitzpatrick17k", "--to", root)
    assert "0 of them new" in again.stderr
    built = calcinosis("data", "build", "fitzpatrick17k", "--root", root, "--out", manifest)
    assert built.exit_code == 0, built.stderr
    assert "1 photos in 1 groups, 1 missing" in built.stderr
    (row,) = read_manifest(manifest, labels=LABELS)
    assert row.label == "calcinosis_cutis"
    assert (root / row.file).read_bytes() == photo(1)


def test_the_command_line_ends_with_1_where_another_try_may_help(
    server: Server, tmp_path: Path, calcinosis: Callable[..., Result]
) -> None:
    root = tmp_path / "set"
    write_fitzpatrick17k(root, {"milia": f"{server.root}/broken/1.jpg"})
    ended = calcinosis("data", "download", "fitzpatrick17k", "--to", root)
    assert ended.exit_code == 1
    assert "0 links are dead and 1 failed this time" in ended.stderr


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (("download", "fitzpatrick17k", "--only", "targets"), 2, "lookalike"),
        (("download", "atlas"), 1, "there is no such set; there are"),
        (("download", "dermnet"), 1, "dermnet"),
    ],
)
def test_the_command_line_says_what_it_cannot_fetch(
    tmp_path: Path, calcinosis: Callable[..., Result], arguments: tuple[str], code: int, says: str
) -> None:
    ended = calcinosis("data", *arguments, "--to", tmp_path / "set")
    assert ended.exit_code == code
    assert says in ended.stderr
    assert not (tmp_path / "set").exists()


def test_scin_comes_from_its_bucket(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plans, "SCIN_BUCKET", f"{server.root}/photo/")
    monkeypatch.setattr(plans, "SCIN_LICENCE", f"{server.root}/disguised/LICENSE")
    (tmp_path / "scin_cases.csv").write_text(
        "case_id,image_1_path,image_2_path,image_3_path\n"
        "17,dataset/images/4.jpg,dataset/images/5.jpg,\n"
    )
    (tmp_path / "scin_labels.csv").write_text(
        "case_id,weighted_skin_condition_label\n17,\"{'Milia': 1.0}\"\n"
    )
    summary = download("scin", tmp_path, policy=QUICK, allowed=HERE)
    assert summary.done == 2
    assert (tmp_path / "images/4.jpg").read_bytes() == photo(4)
    assert (tmp_path / "licenses/SCIN Data Use License.txt").is_file()


def test_isic_is_walked_page_by_page_and_builds(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def page(numbers: list[int], following: str | None) -> bytes:
        results = [
            {
                "isic_id": f"ISIC_000000{n}",
                "copyright_license": "CC-BY",
                "attribution": "A clinic",
                "files": {
                    "full": {"url": f"{server.root}/photo/{n}.jpg?Signature=x{n}", "size": 700}
                },
                "metadata": {
                    "acquisition": {"image_type": "clinical: close-up"},
                    "clinical": {"diagnosis_3": "Milium", "patient_id": f"IP_{n // 2}"},
                },
            }
            for n in numbers
        ]
        return json.dumps({"count": 4, "next": following, "results": results}).encode()

    query = "/json/search?query=diagnosis_3%3AMilium&limit=100"
    server.pages = {query: page([0, 1], f"{server.root}/json/2"), "/json/2": page([2, 3], None)}
    monkeypatch.setattr(plans, "ISIC_API", f"{server.root}/json/search")
    summary = download(
        "isic",
        tmp_path,
        search="diagnosis_3:Milium",
        policy=QUICK,
        allowed=HERE,
    )
    assert summary.done == 4

    from calcinosis.data.sources import build

    built = build("isic", tmp_path)
    assert [row.label for row in built.rows] == ["milium"] * 4
    assert len({row.group for row in built.rows}) == 2
    assert {row.licence for row in built.rows} == {"CC BY 4.0"}


def test_an_answer_that_is_not_as_documented_is_one_clear_error(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plans, "ISIC_API", f"{server.root}/json/search")
    monkeypatch.setattr(plans, "ISIC_SEARCH", "x")
    server.pages = {"/json/search?query=x&limit=100": b'{"results": [{"isic_id": 1}]}'}
    with pytest.raises(DataError, match="isic-cli") as caught:
        download("isic", tmp_path, policy=QUICK, allowed=HERE)
    assert caught.value.code == "unexpected_answer"


def test_drawn_photos_are_photos() -> None:
    """The server's pictures are what the tests take them for."""
    import io

    with Image.open(io.BytesIO(photo(1))) as drawn:
        assert drawn.format == "JPEG"
    assert photo(1) != photo(2)
