"""The server: its one endpoint, what it refuses, what it never tells, and that nothing is kept."""

import base64
import http.client
import io
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import gradio as gr
import httpx2 as httpx
import pytest
from gradio_client import Client
from PIL import Image

from calcinosis.common.errors import CheckpointError
from calcinosis.model.labels import LABELS
from calcinosis.model.predictor import Predictor
from calcinosis.page import server as demo
from tests.drawings import draw, encode

HERE = Path(__file__).parents[2]
# Coordinates, a device and a comment that no answer may repeat.
SECRETS = ("48.8584", "PhoneMaker", "at the clinic")


def as_base64(content: bytes) -> str:
    return base64.b64encode(content).decode()


def photo_with_secrets(kind: str = "JPEG") -> bytes:
    exif = Image.Exif()
    exif[0x010F] = "PhoneMaker"
    exif[0x9286] = "at the clinic"
    exif.get_ifd(0x8825).update({1: "N", 2: (48.0, 51.0, 30.2)})
    return encode(draw("milium", size=(320, 300)), kind, exif=exif)


@pytest.fixture(scope="module")
def client(address: str) -> Iterator[Client]:
    client = Client(address, verbose=False, analytics_enabled=False)
    yield client
    client.close()


@pytest.fixture(scope="module")
def web(address: str) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=address) as web:
        yield web


def test_the_endpoint_answers_as_the_command_line_does(client: Client, reader: Predictor) -> None:
    content = encode(draw("gouty_tophus", size=(320, 300)))
    answer = client.predict(as_base64(content), "en", api_name="/finding_v1")
    assert answer == reader.read(content).as_json()
    assert set(answer["probabilities"]) == set(LABELS)
    assert "clinician" in answer["advice"]


def test_the_endpoint_speaks_spanish(client: Client) -> None:
    answer = client.predict(as_base64(encode(draw("milium"))), "es", api_name="/finding_v1")
    assert "profesional" in answer["advice"]


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (b"", "empty"),
        (b"not a picture at all", "not_an_image"),
        (encode(draw("milium"))[:600], "damaged"),
        (encode(draw("milium"), "GIF"), "unsupported_format"),
        (b"%PDF-1.7", "unsupported_format"),
    ],
)
def test_a_bad_file_is_a_typed_error(client: Client, content: bytes, code: str) -> None:
    answer = client.predict(as_base64(content), "en", api_name="/finding_v1")
    assert answer["error"]["code"] == code
    assert answer["error"]["message"]
    assert "/" not in answer["error"]["message"]


@pytest.mark.parametrize(
    ("start", "kind"),
    [
        (b"\0\0\0\x0cJXL \r\n\x87\n", "JPEG XL"),
        (b"\xff\x0a\xfa\x1f", "JPEG XL"),
        (b"\0\0\0\x0cjP  \r\n\x87\n", "JPEG 2000"),
        (b"8BPS\0\x01", "PSD"),
        (b"MM\0*", "TIFF"),
        (b"%PDF-1.7", "PDF"),
        (b"\0\0\0\x18ftypmif1\0\0\0\0avifmif1", "AVIF"),
    ],
)
def test_a_file_of_another_kind_is_called_what_it_is(
    reader: Predictor, start: bytes, kind: str
) -> None:
    for language, words in (("en", "not read here"), ("es", "no se lee aquí")):
        answer = demo.Answers(reader, {}, ()).finding_v1(as_base64(start + bytes(200)), language)
        assert answer["error"]["code"] == "unsupported_format"
        assert f"{words}: {kind}. " in answer["error"]["message"]


@pytest.mark.parametrize("sent", ["%%%", "data:image/png;base64,!!", "é", "/etc/passwd", None, 7])
def test_what_is_no_photo_is_a_typed_error(client: Client, sent: object) -> None:
    answer = client.predict(sent, "en", api_name="/finding_v1")
    assert answer["error"]["code"] in ("not_an_image", "empty")


def test_only_one_endpoint_is_public(client: Client, web: httpx.Client) -> None:
    described = client.view_api(return_format="dict", print_info=False)
    assert list(described["named_endpoints"]) == ["/finding_v1"]
    assert described["unnamed_endpoints"] == {}
    parameters = described["named_endpoints"]["/finding_v1"]["parameters"]
    assert [p["parameter_name"] for p in parameters] == ["photo", "language"]


@pytest.mark.parametrize(
    "path",
    [
        f"/gradio_api/file={HERE / 'pyproject.toml'}",
        "/gradio_api/file=pyproject.toml",
        "/gradio_api/file=/etc/passwd",
        "/gradio_api/file/etc/passwd",
        "/gradio_api/proxy=http://127.0.0.1:1/",
        "/gradio_api/stream/a/b/c/playlist.m3u8",
        "/static/../../../../pyproject.toml",
        "/static/%2e%2e/%2e%2e/pyproject.toml",
        "/assets/..%2f..%2fapp.py",
        "/monitoring",
        "/monitoring/summary",
        "/gradio_api/runs",
        "/gradio_api/run-history/records",
        "/gradio_api/deep_link?session_hash=a",
        "/gradio_api/vibe-code",
        "/docs",
        "/pyproject.toml",
    ],
)
def test_no_other_route_is_open(web: httpx.Client, path: str) -> None:
    answer = web.get(path)
    assert answer.status_code == 404
    assert "calcinosis" not in answer.text


def test_nothing_can_be_uploaded(web: httpx.Client) -> None:
    answer = web.post("/gradio_api/upload", files={"files": ("a.jpg", photo_with_secrets())})
    assert answer.status_code == 404


def test_a_file_of_the_server_cannot_be_named_as_a_photo(web: httpx.Client) -> None:
    sent = {"path": str(HERE / "pyproject.toml"), "meta": {"_type": "gradio.FileData"}}
    answer = web.post("/gradio_api/call/finding_v1", json={"data": [sent, "en"]})
    event = answer.json().get("event_id")
    text = web.get(f"/gradio_api/call/finding_v1/{event}").text if event else answer.text
    assert "setuptools" not in text
    assert str(HERE) not in text


def test_too_large_a_request_is_refused_before_it_is_sent(address: str) -> None:
    connection = http.client.HTTPConnection(address.removeprefix("http://"))
    connection.putrequest("POST", "/gradio_api/queue/join")
    connection.putheader("Content-Length", str(10**9))
    connection.endheaders()
    assert connection.getresponse().status == 413
    connection.close()


def test_headers_shut_out_foreign_hosts_and_caches(web: httpx.Client) -> None:
    answer = web.get("/")
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "connect-src 'self'" in policy
    assert "http:" not in policy
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["referrer-policy"] == "no-referrer"
    assert web.get("/health").text == "ok"


def test_the_page_knows_no_place_on_the_server(web: httpx.Client) -> None:
    for path in ("/", "/config", "/gradio_api/info"):
        text = web.get(path).text
        assert str(HERE) not in text
        assert str(Path.home()) not in text or str(Path.home()) == "/"


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_no_metadata_comes_back_and_no_file_is_written(
    client: Client, tmp_path: Path, kind: str
) -> None:
    before = cached_files()
    answer = client.predict(as_base64(photo_with_secrets(kind)), "en", api_name="/finding_v1")
    assert "outcome" in answer
    assert not any(secret in str(answer) for secret in SECRETS)
    assert cached_files() == before


def cached_files() -> set[Path]:
    folder = os.environ.get("GRADIO_TEMP_DIR", "")
    return set(Path(folder).rglob("*")) if folder else set()


def test_of_earlier_visits_the_server_knows_nothing(client: Client, page: gr.Blocks) -> None:
    for _ in range(3):
        client.predict("", "en", api_name="/finding_v1")
    assert len(page._queue.event_analytics) <= 1
    assert page._queue.cached_event_analytics_summary == {"functions": {}}


def test_pictures_of_a_finding_carry_no_metadata(reader: Predictor) -> None:
    from calcinosis.page import requests as incoming
    from calcinosis.page.findings import Reader, finding

    photos = incoming.open_photos([as_base64(photo_with_secrets())])
    told_with = Reader(reader.config, reader.prior.tolist())
    html = finding(reader.predict_group(photos), photos, told_with, "en")
    pictures = re.findall(r'src="data:image/jpeg;base64,([^"]+)"', html)
    assert len(pictures) == 2
    for encoded in pictures:
        picture = Image.open(io.BytesIO(base64.b64decode(encoded)))
        assert dict(picture.getexif()) == {}
        assert "exif" not in picture.info


def test_without_a_checkpoint_there_is_no_page(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="name the folder"):
        demo.serve(checkpoint=tmp_path)


def test_port_0_is_a_free_one(
    tiny_checkpoint: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pages: list[gr.Blocks] = []
    monkeypatch.setattr(gr.Blocks, "block_thread", lambda page: pages.append(page))
    monkeypatch.setenv("GRADIO_TEMP_DIR", "")
    for _ in range(2):
        demo.serve(port=0, checkpoint=tiny_checkpoint)
    places = re.findall(r"http://127\.0\.0\.1:\d+", capsys.readouterr().out)
    assert len(set(places)) == 2
    for place in places:
        assert httpx.get(f"{place}/health").text == "ok"
    for page in pages:
        page.close()


def test_no_event_holds_the_server_until_matplotlib_has_chosen_a_backend(
    tiny_checkpoint: Path,
) -> None:
    script = """if True:
        import sys, pathlib, gradio, gradio_client
        from calcinosis.page import server as app
        def ask(page):
            client = gradio_client.Client(page.local_url, verbose=False)
            assert "error" in client.predict("", api_name="/finding_v1")
            print("matplotlib.pyplot" in sys.modules)
        gradio.Blocks.block_thread = ask
        app.serve(port=0, checkpoint=pathlib.Path(sys.argv[1]))
    """
    command = [sys.executable, "-c", script, str(tiny_checkpoint)]
    done = subprocess.run(command, cwd=HERE, capture_output=True, text=True, check=True)  # noqa: S603 - our own interpreter
    assert done.stdout.splitlines()[-1] == "False"


def test_importing_the_page_loads_neither_training_nor_data() -> None:
    loaded = "print([m for m in sys.modules if m.startswith(('calcinosis.training', 'calcinosis.data', 'calcinosis.cli'))])"
    command = [sys.executable, "-c", f"import sys, calcinosis.page.server; {loaded}"]
    done = subprocess.run(command, cwd=HERE, capture_output=True, text=True, check=True)  # noqa: S603 - our own interpreter
    assert done.stdout.strip() == "[]"


def test_the_temporary_folder_is_private_and_what_a_killed_server_left_goes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    left = Path(tempfile.mkdtemp(prefix=f"calcinosis-demo-{gone.pid}-", dir=tmp_path))
    mine = tmp_path / f"calcinosis-demo-{os.getpid()}-abcdefgh"
    others = [
        tmp_path / name
        for name in (
            "calcinosis-notes", f"calcinosis-{gone.pid}-photos", f"calcinosis-{gone.pid}-abcdefgh",
            f"calcinosis-demo-{gone.pid}-of-mine", "calcinosis-demo-notes",
        )
    ]  # fmt: skip
    for folder in (left, mine, *others):
        (folder / "empty").mkdir(parents=True)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setenv("GRADIO_TEMP_DIR", "")
    demo._make_private_folder()
    folder = Path(os.environ["GRADIO_TEMP_DIR"])
    assert folder.parent == tmp_path
    assert folder.stat().st_mode & 0o077 == 0
    assert not left.exists()
    assert mine.exists()
    assert all(other.exists() for other in others)
