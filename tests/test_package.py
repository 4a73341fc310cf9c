"""The package as it is installed: its names, what is in it, what it needs, and every way to have it."""

import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tomllib
import venv
import zipfile
from pathlib import Path
from typing import Any, Final

import pytest

from calcinosis.common.extras import MODULES, extra_of
from tests.drawings import draw
from tests.training.commands import draw_task

ROOT: Final = Path(__file__).parents[1]
PROJECT: Final[dict[str, Any]] = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
ROOMS: Final = [path.name for path in ROOT.iterdir() if f"calcinosis.{path.name}" in
                PROJECT["tool"]["setuptools"]["packages"]]  # fmt: skip
# What a page must not cost.
HEAVY: Final = (
    "torch",
    "torchvision",
    "timm",
    "scipy",
    "sklearn",
    "cv2",
    "matplotlib",
    "imagehash",
    "ray",
)
MODULE_OF: Final = {
    "huggingface-hub": "huggingface_hub",
    "opencv-python-headless": "cv2",
    "pillow-heif": "pillow_heif",
    "scikit-image": "skimage",
    "scikit-learn": "sklearn",
}

BLOCK: Final = f"""
import sys
class Block:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {HEAVY!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
sys.meta_path.insert(0, Block())
"""


def required(extra: str | None = None) -> set[str]:
    """The requirements of the base or of an extra, those of the extras within it included."""
    project = PROJECT["project"]
    lines = project["optional-dependencies"][extra] if extra else project["dependencies"]
    found: set[str] = set()
    for line in lines:
        within = re.fullmatch(r"calcinosis\[(.+)]", line)
        found |= set().union(*map(required, within[1].split(","))) if within else {line}
    return found


def package_of(requirement: str) -> str:
    return re.split(r"[\[><=]", requirement)[0]


def run(
    python: Path | str, *arguments: object, cwd: Path, path: Path | None = None
) -> subprocess.CompletedProcess[str]:
    """Run Python in a folder, with another one on its path."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    if path:
        environment["PYTHONPATH"] = str(path)
    return subprocess.run(  # noqa: S603 (a Python, with words of these tests)
        [str(python), *map(str, arguments)],
        cwd=cwd, env=environment, capture_output=True, encoding="utf-8", timeout=300,
    )  # fmt: skip


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the checkout, since building leaves things behind."""
    copy = tmp_path_factory.mktemp("checkout") / "source"
    hidden = shutil.ignore_patterns(
        ".*", "build", "site", "*.egg-info", "__pycache__", "tests", "runs"
    )
    shutil.copytree(ROOT, copy, ignore=hidden)
    return copy


def build(checkout: Path, out: Path, kind: str, settings: dict[str, str] | None = None) -> Path:
    """Build a wheel, unpack it into a folder as an installer would, and return the wheel."""
    code = (
        "import json, sys; from setuptools import build_meta; "
        "print(getattr(build_meta, sys.argv[1])(sys.argv[2], json.loads(sys.argv[3])))"
    )
    done = run(sys.executable, "-c", code, kind, out, json.dumps(settings or {}), cwd=checkout)
    assert done.returncode == 0, done.stderr
    return out / done.stdout.split()[-1]


@pytest.fixture(scope="module")
def wheel(checkout: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(checkout, tmp_path_factory.mktemp("wheel"), "build_wheel")


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that holds the wheel's content and nothing else."""
    folder = tmp_path_factory.mktemp("installed")
    zipfile.ZipFile(wheel).extractall(folder)
    return folder


def bare_environment(folder: Path) -> tuple[Path, Path]:
    """An environment with everything that these tests run on but calcinosis: its Python and its packages."""
    venv.create(folder, symlinks=os.name != "nt", with_pip=False)
    python = folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    paths = {"base": str(folder), "platbase": str(folder)}
    packages = Path(sysconfig.get_path("purelib", vars=paths))
    # A line of a .pth file is a path, and no .pth file below it is read, so no editable install either.
    (packages / "others.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return python, packages


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Python that does not know calcinosis."""
    found, _ = bare_environment(tmp_path_factory.mktemp("bare") / "environment")
    assert run(found, "-c", "import calcinosis", cwd=found.parent).returncode == 1
    return found


@pytest.fixture
def user(tmp_path: Path) -> Path:
    """A user's folder, full of names that this project has too."""
    folder = tmp_path / "user"
    for room in ROOMS:
        (folder / room).mkdir(parents=True)
        (folder / room / "__init__.py").write_text(
            "raise SystemExit('the user\\'s own was imported')"
        )
    for name in ("app", "data_", "report", "photo", "config"):
        (folder / f"{name}.py").write_text("raise SystemExit('the user\\'s own was imported')")
    shutil.rmtree(folder / "data")
    (folder / "data.py").write_text("raise SystemExit('the user\\'s own was imported')")
    draw("milium").save(folder / "bump.png")
    return folder


def test_every_folder_with_code_is_a_package_of_the_wheel() -> None:
    folders = {path.parent for room in ROOMS for path in (ROOT / room).rglob("*.py")}
    found = {".".join(("calcinosis", *folder.relative_to(ROOT).parts)) for folder in folders}
    listed = PROJECT["tool"]["setuptools"]["packages"]
    assert found | {"calcinosis"} == set(listed)
    assert listed == sorted(listed)


def test_the_extras_are_those_that_the_commands_name() -> None:
    for extra, modules in MODULES.items():
        packages = {package_of(line) for line in required(extra)}
        named = {MODULE_OF.get(name, name) for name in packages}
        # Starlette comes with Gradio; the pretrained networks are looked for by name.
        assert modules - {"starlette"} == {n for n in named if not n.startswith("efficientnet-")}
    base = {MODULE_OF.get(package_of(line), package_of(line)) for line in required()}
    assert not base & {name for modules in MODULES.values() for name in modules}


def test_a_missing_module_names_the_commands_own_extra_where_that_holds_it() -> None:
    assert extra_of("sklearn.linear_model", "train") == "train"
    assert extra_of("cv2", "data") == "data"
    assert extra_of("gradio", "demo") == "demo"
    assert extra_of("torch", "demo") == "export"
    assert extra_of("json", "demo") is None


def test_a_space_and_an_image_install_the_base_and_the_page() -> None:
    lines = (ROOT / "requirements.txt").read_text("utf-8").splitlines()
    assert {line for line in lines if not line.startswith("#")} == required() | required("demo")
    image = (ROOT / "Dockerfile").read_text("utf-8")
    copied = {
        word.strip("/") for line in re.findall(r"COPY (.+) \S+", image) for word in line.split()
    }
    assert copied == {
        "app.py",
        "pyproject.toml",
        "requirements.txt",
        "calcinosis",
        "common",
        "model",
        "page",
    }
    let_in = (ROOT / ".dockerignore").read_text("utf-8").splitlines()
    assert {line[1:].removesuffix("/**") for line in let_in if line.startswith("!")} == copied


def test_photos_and_the_page_need_no_heavy_package(tmp_path: Path) -> None:
    draw("milium").save(tmp_path / "bump.png")
    code = f"""{BLOCK}
import base64, contextlib, io, json
from pathlib import Path
from calcinosis.cli.main import app
printed = io.StringIO()
with contextlib.redirect_stdout(printed), contextlib.suppress(SystemExit):
    app(["predict", "bump.png", "--json"])
from calcinosis.model.predictor import Predictor
from calcinosis.page.server import Answers
content = base64.b64encode(Path("bump.png").read_bytes()).decode()
answer = Answers(Predictor(), {{}}, ()).finding_v1(content)
assert json.loads(printed.getvalue()) == {{"file": "bump.png", **answer}}, (printed.getvalue(), answer)
assert answer["outcome"]
"""
    done = run(sys.executable, "-c", code, cwd=tmp_path, path=ROOT)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("command", "extra"),
    [
        ("train --manifest m.csv --root . --config lite2.toml --out run", "train"),
        ("crossval --manifest m.csv --root . --config lite2.toml --out run", "train"),
        ("evaluate --manifest m.csv --root . --out run", "train"),
        ("export --out model.onnx", "export"),
        ("audit --manifest m.csv --root . --out found", "data"),
        ("split --manifest m.csv --out folds.csv", "data"),
        ("bench", "bench"),
    ],
)
def test_a_command_says_in_one_line_which_extra_it_lacks(
    command: str, extra: str, tmp_path: Path
) -> None:
    words = command.split()
    code = f"{BLOCK}\nfrom calcinosis.cli.main import app\napp({words!r})"
    done = run(sys.executable, "-c", code, cwd=tmp_path, path=ROOT)
    expected = f"calcinosis {words[0]} needs the extra {extra}: pip install 'calcinosis[{extra}]'\n"
    assert (done.returncode, done.stdout, done.stderr) == (1, "", expected)


def test_the_wheel_has_one_name_and_all_that_is_in_the_rooms(wheel: Path, checkout: Path) -> None:
    names = [name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name]
    assert {name.partition("/")[0] for name in names} == {"calcinosis"}
    rooms = [path for room in ROOMS for path in (checkout / room).rglob("*") if path.is_file()]
    expected = {f"calcinosis/{path.relative_to(checkout).as_posix()}" for path in rooms}
    documents = {name for name in expected if name.endswith(".md")}
    assert expected - documents <= set(names)


def test_the_wheel_reads_photos_among_a_users_own_files(
    python: Path, installed: Path, user: Path
) -> None:
    done = run(
        python, "-m", "calcinosis", "predict", "bump.png", "--json", cwd=user, path=installed
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["outcome"]
    where = run(
        python, "-c", "import calcinosis.model as m; print(m.__file__)", cwd=user, path=installed
    )
    assert Path(where.stdout.strip()) == installed / "calcinosis" / "model" / "__init__.py"


def test_the_wheel_decodes_heic_among_a_users_own_files(
    python: Path, installed: Path, user: Path
) -> None:
    register = pytest.importorskip("pillow_heif").register_heif_opener
    register()
    draw("milium").save(user / "bump.heic", format="HEIF", quality=90)
    done = run(
        python, "-m", "calcinosis", "predict", "bump.heic", "--json", cwd=user, path=installed
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert json.loads(done.stdout)["outcome"]


@pytest.mark.slow
@pytest.mark.parametrize("settings", [None, {"editable_mode": "strict"}])
def test_both_editable_modes_follow_the_checkout(
    settings: dict[str, str] | None, checkout: Path, user: Path, tmp_path: Path
) -> None:
    python, packages = bare_environment(tmp_path / "environment")
    zipfile.ZipFile(build(checkout, tmp_path, "build_editable", settings)).extractall(packages)
    done = run(python, "-m", "calcinosis", "predict", "bump.png", "--json", cwd=user)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["outcome"]


def test_the_checkout_works_uninstalled(python: Path, checkout: Path, user: Path) -> None:
    """As `python app.py` there, which a Space starts, and as `python -m calcinosis` from there."""
    for words in (["-c", "import app"], ["-m", "calcinosis", "predict", str(user / "bump.png")]):
        done = run(python, *words, cwd=checkout)
        assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_the_wheel_does_the_rest_among_a_users_own_files(
    python: Path, installed: Path, user: Path
) -> None:
    """From a manifest through audit and split to a checkpoint that two processes trained."""
    pytest.importorskip("accelerate")
    task = draw_task(user, epochs=1, samples_per_epoch=32)
    calcinosis = ["-m", "calcinosis"]
    torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    table = ["--manifest", "manifest.csv", "--root", "."]
    for words in (
        [*calcinosis, "data", "list"],
        [*calcinosis, "audit", *table, "--out", "found"],
        [*calcinosis, "split", *table[:2], "--audit", "found/audit.csv", "--out", "folds.csv"],
        [*torchrun, *calcinosis, "train", *task, "--out", "run"],
        [*calcinosis, "evaluate", *table, "--checkpoint", "run", "--out", "report"],
        [*calcinosis, "predict", "bump.png", "--checkpoint", "run"],
        [*calcinosis, "demo", "--help"],
    ):
        done = run(python, *words, cwd=user, path=installed)
        assert done.returncode == 0, done.stderr
