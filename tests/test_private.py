"""Nothing is told to anybody, and nothing is written but what was asked for."""

import os
import re
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from tests.drawings import draw

ROOT = Path(__file__).parents[1]
SWITCHES = (
    "ORT_DISABLE_TELEMETRY",
    "GRADIO_ANALYTICS_ENABLED",
    "HF_HUB_DISABLE_TELEMETRY",
    "RAY_USAGE_STATS_ENABLED",
    "DO_NOT_TRACK",
)
LIBRARY = """
import calcinosis, sys
predictor = calcinosis.load(skip_ood_check=True)
for _ in range(3):
    predictor.read(sys.argv[1])
"""
COMMAND = """
import sys
from calcinosis.cli.main import main
sys.argv = ["calcinosis", "predict", sys.argv[1], "--json"]
main()
"""
PAGE = """
import calcinosis, base64, json, socket, sys, urllib.request
from pathlib import Path
from calcinosis.model.predictor import Predictor
from calcinosis.page import server
with socket.socket() as probe:
    probe.bind(("127.0.0.1", 0))
    port = probe.getsockname()[1]
page = server.build_app(Predictor(skip_ood_check=True))
server.launch(page, server_port=port, prevent_thread_lock=True, quiet=True)
address = f"http://127.0.0.1:{port}/"
urllib.request.urlopen(address).read()
sent = base64.b64encode(Path(sys.argv[1]).read_bytes()).decode()
asked = json.dumps({"data": [sent, "en"]}).encode()
place = address + "gradio_api/call/finding_v1"
request = urllib.request.Request(place, asked, {"Content-Type": "application/json"})
number = json.load(urllib.request.urlopen(request))["event_id"]
told = urllib.request.urlopen(f"{place}/{number}").read().decode()
assert "prediction_set" in told, told
page.close()
"""
WAYS = pytest.mark.parametrize(
    "script", [LIBRARY, COMMAND, PAGE], ids=["library", "command", "page"]
)


def run(script: str, photo: Path, home: Path, *tracer: str) -> subprocess.CompletedProcess[str]:
    """A program in a home of its own, without any switch that the one who started it had set."""
    kept = {k: v for k, v in os.environ.items() if k not in SWITCHES and not k.startswith("XDG_")}
    environment = kept | {"HOME": str(home), "TMPDIR": str(home), "PYTHONPATH": str(ROOT)}
    return subprocess.run(  # noqa: S603 (our own words)
        [*tracer, sys.executable, "-B", "-c", textwrap.dedent(script), str(photo)],
        env=environment,
        cwd=home,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    path = tmp_path / "drawn.png"
    draw("milium", seed=1, size=(320, 288)).save(path)
    return path


@WAYS
def test_an_empty_home_stays_empty(script: str, photo: Path, tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    done = run(script, photo, home)
    assert done.returncode == 0, done.stderr
    assert [path for path in home.rglob("*") if path.is_file()] == []


@pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not on this machine")
@WAYS
def test_no_connection_is_made_but_to_this_machine(
    script: str, photo: Path, tmp_path: Path
) -> None:
    home = tmp_path / "home"
    home.mkdir()
    trace = tmp_path / "trace"
    done = run(script, photo, home, "strace", "-f", "-e", "trace=connect,sendto", "-o", str(trace))
    if "ptrace" in done.stderr.lower():
        pytest.skip("programs may not be traced here")
    assert done.returncode == 0, done.stderr
    asked = re.findall(r"inet_(?:addr|pton)\((?:AF_INET6, )?\"([^\"]+)\"", trace.read_text())
    assert [address for address in asked if address not in ("127.0.0.1", "::1")] == []


def test_every_switch_is_set_before_any_library_is_there() -> None:
    script = (
        "import sys, os, calcinosis\n"
        f"print([os.environ.get(name) for name in {SWITCHES!r}])\n"
        "print([n for n in ('onnxruntime', 'torch', 'sklearn', 'pandas', 'numpy', 'PIL') if n in sys.modules])"
    )
    kept = {k: v for k, v in os.environ.items() if k not in SWITCHES}
    done = subprocess.run(  # noqa: S603 (our own words)
        [sys.executable, "-c", script],
        env=kept | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.splitlines() == ["['1', 'False', '1', '0', '1']", "[]"]


def test_who_switched_something_on_keeps_it() -> None:
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            "import os, calcinosis.page.server as _; "
            "print(os.environ['RAY_USAGE_STATS_ENABLED'], os.environ['GRADIO_ANALYTICS_ENABLED'])",
        ],
        env=os.environ
        | {
            "PYTHONPATH": str(ROOT),
            "RAY_USAGE_STATS_ENABLED": "1",
            "GRADIO_ANALYTICS_ENABLED": "True",
        },
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == "1 True"
