"""A study's folder from untrusted hands: whatever is in it, an answer and no damage."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

import biasgpu
from biasgpu.errors import BiasgpuError, DamagedFileError, RefusedError, UsageError
from biasgpu.study import Study, StudyFolder
from biasgpu.study.folder import lock, settle
from tests.studies import make


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> StudyFolder:
    path = tmp_path_factory.mktemp("stored") / "study"
    return make(path, data_seeds=[1], widths=[4], n=[4], measures=False)


@pytest.fixture
def copy(stored: StudyFolder, tmp_path: Path) -> Path:
    return Path(shutil.copytree(stored.path, tmp_path / "study"))


def test_it_opens_from_itself_alone(stored: StudyFolder, copy: Path) -> None:
    found = biasgpu.open_study(copy)
    assert found.definition == stored.definition
    assert [cell.n_networks for cell in found.cells()] == [
        cell.n_networks for cell in stored.cells()
    ]
    assert [cell.normalized_loss for cell in found.cells()] == [None] * 2  # measures were off


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ("", "it is not JSON"),
        ("[]", "it holds no JSON object"),
        ("{}", 'it does not say "format": "biasgpu-study"'),
        ('{"format": "biasgpu-study", "format_version": true}', "it does not say"),
        ('{"format": "biasgpu-study", "format_version": 2}', "has format version 2"),
        ('{"format": "biasgpu-study", "format_version": 1}', "it has no definition"),
        (
            '{"format": "biasgpu-study", "format_version": 1, "definition": {"n_trian": 3}}',
            "unknown setting 'n_trian' of a study. Did you mean 'n_train'?",
        ),
        (
            '{"format": "biasgpu-study", "format_version": 1, "definition": []}',
            "must be an object of settings",
        ),
        ("[" * 200_000, "it is not JSON"),
    ],
)
def test_a_damaged_definition(copy: Path, values: str, said: str) -> None:
    (copy / "study.json").write_text(values)
    with pytest.raises(DamagedFileError) as caught:
        biasgpu.open_study(copy)
    assert said in caught.value.what and caught.value.why and caught.value.fix
    before = (copy / "study.json").read_bytes()
    with pytest.raises(DamagedFileError):
        make(copy, data_seeds=[1], widths=[4], n=[4], measures=False)
    assert (copy / "study.json").read_bytes() == before


@pytest.mark.parametrize("text", ["", "3", '{"a.h5": 3}', '{"a.h5": {"what": 3}}'])
def test_a_damaged_list_of_problems(copy: Path, text: str) -> None:
    (copy / "problems.json").write_text(text)
    with pytest.raises(DamagedFileError, match="problems.json is damaged"):
        biasgpu.open_study(copy).cells()


def test_damaged_and_foreign_files_are_cells_with_a_problem(copy: Path) -> None:
    study = biasgpu.open_study(copy)
    drawn, trained = (copy / job.file for job in study.jobs)
    kept = drawn.read_bytes()
    drawn.write_bytes(kept[:-5000])
    cells = study.cells()
    assert [cell.n_networks for cell in cells] == [0, 3]
    assert drawn.name in cells[0].problem
    # A file that is sound, and another than its name says.
    shutil.copy(drawn, copy / "old")
    drawn.write_bytes(trained.read_bytes())
    cells = study.cells()
    assert [cell.n_networks for cell in cells] == [0, 3]
    assert "holds something else: its seed is" in cells[0].problem
    made = make(copy, data_seeds=[1], widths=[4], n=[4], measures=False)
    assert list(made.problems()) == [drawn.name]  # reported, and left as it is
    assert "holds something else" in made.problems()[drawn.name]["what"]
    assert drawn.read_bytes() == trained.read_bytes()
    drawn.write_bytes(kept)
    assert make(copy, data_seeds=[1], widths=[4], n=[4], measures=False).problems() == {}


def test_a_file_that_is_lost_is_made_again(copy: Path, stored: StudyFolder) -> None:
    job = stored.jobs[1]
    (copy / job.file).unlink()
    (copy / "study.json.status.json").unlink()
    found = biasgpu.open_study(copy)
    assert found.status()["state"] == "not begun"
    assert [cell.problem for cell in found.cells()] == ["", "not begun"]
    again = make(copy, data_seeds=[1], widths=[4], n=[4], measures=False)
    assert again.cells()[1].test_accuracy.tolist() == stored.cells()[1].test_accuracy.tolist()


def test_what_is_no_study_is_left_alone(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="there is no folder"):
        biasgpu.open_study(tmp_path / "none")
    with pytest.raises(DamagedFileError, match="holds no study"):
        biasgpu.open_study(tmp_path)
    (tmp_path / "thesis.tex").write_text("x")
    with pytest.raises(RefusedError, match=r"is no study, and is not empty: it holds thesis\.tex"):
        make(tmp_path)
    with pytest.raises(RefusedError, match="exists, and is no folder"):
        lock(tmp_path / "thesis.tex")
    assert (tmp_path / "thesis.tex").read_text() == "x"


def test_what_a_killed_start_left_is_no_hindrance(tmp_path: Path) -> None:
    for name in ("study.json.tmp", "study.json.lock", ".DS_Store"):
        (tmp_path / name).write_text("x")
    study = Study()
    assert settle(tmp_path, study, extend=False) == study
    assert json.loads((tmp_path / "study.json").read_text())["definition"] == study.to_config()


def test_arguments_of_compare(tmp_path: Path) -> None:
    calls: list[tuple[tuple[Any, ...], dict[str, Any], str]] = [
        ((Study(),), {"fits": 3}, "a study, and fits beside it"),
        (("lenet",), {}, "'lenet' is no study"),
        ((), {"engine": "cqu"}, "unknown engine 'cqu'. Did you mean 'cpu'?"),
        ((), {"widhts": [1]}, "unknown setting 'widhts'"),
    ]
    for arguments, settings, said in calls:
        with pytest.raises(BiasgpuError, match=said):
            biasgpu.compare(*arguments, output=tmp_path / "study", **settings)
    assert not (tmp_path / "study").exists()
