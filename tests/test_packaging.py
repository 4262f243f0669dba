"""The package as it is installed: complete, typed, light to import."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import biasgpu

ROOT = Path(__file__).parent.parent
TOPS = {"biasgpu": "biasgpu", "cli": "biasgpu.cli", "kernels": "biasgpu.kernels"}
HEAVY = ("torch", "triton", "numba", "scipy", "h5py", "matplotlib", "pandas")


def run_python(code: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True
    )
    return done.stdout


def configuration() -> dict:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())


def packages_on_disk() -> dict[str, Path]:
    """Every folder that holds Python code, by the package name it is installed under."""
    found = {}
    for top, prefix in TOPS.items():
        for folder, folders, files in os.walk(ROOT / top):
            folders[:] = [name for name in folders if name != "__pycache__"]
            if any(name.endswith(".py") for name in files):
                inside = Path(folder).relative_to(ROOT / top).parts
                found[".".join([prefix, *inside])] = Path(folder)
    return found


def test_every_folder_with_code_is_a_listed_package() -> None:
    settings = configuration()["tool"]["setuptools"]
    on_disk = packages_on_disk()
    assert sorted(on_disk) == settings["packages"]
    for name, folder in on_disk.items():
        assert (folder / "__init__.py").is_file(), name


def test_every_other_file_is_package_data() -> None:
    patterns = configuration()["tool"]["setuptools"]["package-data"]
    packages = packages_on_disk()
    covered = {
        path
        for name, globs in patterns.items()
        for pattern in globs
        for path in packages[name].glob(pattern)
    }
    others = {
        path
        for top in ("biasgpu", "cli", "kernels")
        for path in (ROOT / top).rglob("*")
        if path.is_file() and path.suffix != ".py" and "__pycache__" not in path.parts
    }
    assert others <= covered


@pytest.mark.parametrize("name", ["cli", "kernels"])
def test_top_folders_are_linked_into_the_package(name: str) -> None:
    link = ROOT / "biasgpu" / name
    assert link.is_symlink()
    assert os.readlink(link) == f"../{name}"
    module = importlib.import_module(f"biasgpu.{name}")
    assert module.__file__ is not None
    assert Path(module.__file__).resolve() == ROOT / name / "__init__.py"


def test_marker_for_type_checkers() -> None:
    assert (ROOT / "biasgpu" / "py.typed").is_file()


def test_every_public_name_can_be_had() -> None:
    for name in biasgpu.__all__:
        assert getattr(biasgpu, name) is not None, name
        assert name in dir(biasgpu)


def test_unknown_names_are_attribute_errors() -> None:
    with pytest.raises(AttributeError, match="no attribute 'sampel'"):
        biasgpu.sampel  # type: ignore[attr-defined]  # noqa: B018


def test_the_function_task_is_not_hidden_by_the_submodule() -> None:
    code = "import biasgpu, biasgpu.task; print(callable(biasgpu.task), biasgpu.Task.__name__)"
    assert run_python(code).split() == ["True", "Task"]


def test_version_is_stated_once() -> None:
    settings = configuration()
    assert settings["project"]["dynamic"] == ["version"]
    assert settings["tool"]["setuptools"]["dynamic"]["version"] == {"attr": "biasgpu.__version__"}
    changelog = (ROOT / "CHANGELOG.md").read_text()
    assert f"## {biasgpu.__version__}" in changelog


def test_importing_the_package_is_light() -> None:
    code = (
        "import sys, biasgpu; from biasgpu import mlp, lenet, Task, priors, layers\n"
        f"print([name for name in {HEAVY} if name in sys.modules])"
    )
    assert run_python(code).strip() == "[]"


def test_nothing_generic_is_imported_by_the_library() -> None:
    for path in [*(ROOT / "biasgpu").rglob("*.py"), *(ROOT / "kernels").rglob("*.py")]:
        if "cli" in path.relative_to(ROOT).parts[:2] or path.name == "__main__.py":
            continue
        text = path.read_text()
        assert "biasgpu.cli" not in text, f"{path}: the library does not know the command line"
        assert "\nimport kernels" not in text and "\nfrom kernels" not in text, path


def test_files_stay_short() -> None:
    lengths = {
        str(path.relative_to(ROOT)): len(path.read_text().splitlines())
        for top in ("biasgpu", "cli", "kernels", "tests", "benchmarks")
        for path in (ROOT / top).rglob("*.py")
    }
    assert {path: length for path, length in lengths.items() if length > 300} == {}
