"""The shape of the house: imports run one way, and no photograph is ever kept in the repository."""

import ast
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = "calcinosis"

# What each room may import of ours, beside itself. Benchmarks and tests look at every room.
ALLOWED: dict[str, set[str]] = {
    "common": set(),
    "model": {"common"},
    "data": {"common"},
    "training": {"common", "data", "model"},
    "bulk": {"common", "data", "model"},
    "page": {"common", "model"},
    "cli": {"benchmarks", "bulk", "common", "data", "model", "page", "training"},
}


def files_of(room: str) -> list[Path]:
    return sorted((ROOT / room).rglob("*.py"))


def imported(path: Path) -> set[str]:
    """The modules that a file imports, anywhere in it, also by name, each in full."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path.relative_to(ROOT)} imports by a relative name"
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith(
            ("import_module", "__import__")
        ):
            first = node.args[0] if node.args else None
            if isinstance(first, ast.Constant):
                found.add(str(first.value))
    return found


def rooms_of(modules: set[str]) -> set[str]:
    """The rooms of ours among modules; the package's own door counts as one."""
    ours = [name.split(".") for name in modules if name.split(".")[0] == PACKAGE]
    return {parts[1] if len(parts) > 1 else PACKAGE for parts in ours}


@pytest.mark.parametrize("room", ALLOWED)
def test_imports_run_one_way(room: str) -> None:
    assert files_of(room)
    for path in files_of(room):
        ours = rooms_of(imported(path)) - {room}
        assert ours <= ALLOWED[room], f"{path.relative_to(ROOT)} imports {ours - ALLOWED[room]}"


# What each part of training/ may import of the others, beside itself; its story stands above them all.
TRAINING: dict[str, set[str]] = {
    "fit": set(),
    "evaluate": {"fit"},
    "robustness": {"evaluate", "fit"},
    "report": {"evaluate", "robustness"},
}


@pytest.mark.parametrize("part", TRAINING)
def test_imports_within_training_run_one_way(part: str) -> None:
    for path in files_of(f"training/{part}"):
        modules = [name.split(".") for name in imported(path)]
        parts = {names[2] for names in modules if names[:2] == [PACKAGE, "training"]}
        assert parts <= TRAINING[part] | {part, "recipe"}, path


@pytest.mark.parametrize("room", ALLOWED)
def test_no_room_is_imported_as_a_module_of_its_own(room: str) -> None:
    """`import data` would be the user's own file, wherever one lies beside the command."""
    for path in files_of(room):
        assert not {name.split(".")[0] for name in imported(path)} & {*ALLOWED, "app"}, path


def tracked() -> list[Path]:
    git = shutil.which("git")
    if git is None or not (ROOT / ".git").exists():
        pytest.skip("not a git checkout")
    listing = subprocess.run(  # noqa: S603 (our own git, with fixed words)
        [git, "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True, text=True
    )
    return [ROOT / name for name in listing.stdout.split("\0") if name]


def test_no_picture_is_tracked() -> None:
    """But the README's two, which docs/picture.py makes of the page with a drawing on it."""
    endings = {".jpg", ".jpeg", ".png", ".webp", ".gif", ".tif", ".tiff", ".bmp", ".heic", ".dcm"}
    signatures = (b"\xff\xd8\xff", b"\x89PNG", b"GIF8", b"II*\0", b"MM\0*", b"BM6")
    for path in tracked():
        if path.is_file() and path not in (ROOT / "docs" / "page.png", ROOT / "docs" / "phone.png"):
            assert path.suffix.lower() not in endings, path.relative_to(ROOT)
            with path.open("rb") as file:
                assert not file.read(16).startswith(signatures), path.relative_to(ROOT)


def test_no_pickle_is_tracked() -> None:
    endings = {".pkl", ".pickle", ".pt", ".pth", ".ckpt", ".joblib", ".npy", ".bin"}
    for path in tracked():
        assert path.suffix.lower() not in endings, path.relative_to(ROOT)


def test_no_code_of_ours_unpickles() -> None:
    for room in ALLOWED:
        for path in files_of(room):
            modules = {name.split(".")[0] for name in imported(path)}
            assert not modules & {"pickle", "joblib", "dill", "cloudpickle", "shelve"}, path
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.Call) and ast.unparse(node.func) == "torch.load":
                    kept = {word.arg: ast.unparse(word.value) for word in node.keywords}
                    assert kept.get("weights_only") == "True", path
