"""`biasgpu compare`, and show, status and plot of a study's folder."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result

import biasgpu
from biasgpu.cli.compare_options import FLAGS, NUMBERS, ORDER, TEXTS
from biasgpu.cli.root import root
from biasgpu.study.definition import FAMILY, Study
from biasgpu.study.work import Worker
from tests.studies import N_JOBS, OPTIONS, assert_same, make


@pytest.fixture(autouse=True)
def own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make(tmp_path_factory.mktemp("cli") / "study", gradient_norms=True).path


def run(*arguments: str, code: int = 0) -> Result:
    result = CliRunner().invoke(root, arguments)
    assert result.exit_code == code, result.output
    return result


def test_a_study_is_made_and_shown() -> None:
    result = run("compare", *OPTIONS, "-o", "study")
    assert "2 architectures, 2 data seeds; 12 files in study" in result.stderr
    assert "mlp width 6 depth 1" in result.stdout
    assert "G&C uniform: accuracy" in result.stdout
    assert "wider is better for SGD" in result.stdout
    assert "biasgpu plot study" in result.stdout
    found = biasgpu.open_study("study")
    assert_same(found.cells(), make(Path("python")).cells())
    again = run("compare", *OPTIONS, "-o", "study", "--json")
    assert again.stderr == ""
    assert json.loads(again.stdout) == json.loads(json.dumps(found.summary()))
    assert json.loads(again.stdout)["status"]["n_done"] == N_JOBS


def test_every_setting_has_an_option() -> None:
    known = {*Study().to_config(), *FAMILY} - {"architectures"}
    flags = {name.replace("no_measures", "measures") for name in FLAGS}
    assert {*TEXTS, *NUMBERS} | flags == known
    assert sorted(ORDER) == sorted({**TEXTS, **NUMBERS})


def test_what_is_typed_is_what_python_says() -> None:
    from biasgpu.cli.compare import _study

    given: dict[str, Any] = dict.fromkeys([*TEXTS, *NUMBERS, *FLAGS, "only", "resume", "config"])
    given |= {"path": None, "extend": False}
    assert _study(given) == (Study(), Path("runs/compare-mnist-7-0-lenet-n16"))
    typed = {"widths": "1/6, 1/6:1/6:1/24:1/24", "n": "4,8", "no_measures": True, "only": "sgd"}
    study, _ = _study({**given, **typed})
    assert study == Study(
        architectures=biasgpu.family("lenet", ["1/6", "1/6,1/6,1/24,1/24"]),
        n=(4, 8), measures=False, priors=(),
    )  # fmt: skip
    Path("a.toml").write_text('arch = "mlp"\nwidths = [4, 8]\nfits = 7\n')
    study, _ = _study({**given, "config": "a.toml", "fits": 9})
    assert study == Study(architectures=biasgpu.family("mlp", [4, 8]), fits=9)


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["--widht", "3"], 2, "Did you mean '--width'?"),
        (["--n", "4;8"], 2, "--n is '4;8'; it must be whole numbers with commas."),
        (["--data-seeds", "x"], 2, "--data-seeds 200,201"),
        (["--only", "sdg"], 2, "unknown way 'sdg'. Did you mean 'sgd'?"),
        (["--only", "sgd", "--prior", "uniform"], 2, "--prior beside --only sgd."),
        (["--arch", "lent"], 2, "Did you mean 'lenet'?"),
        (["--resume", "none"], 2, "there is no folder none."),
        (["--resume", "a", "-o", "b"], 2, "-o does not go with --resume."),
        (["--config", "none.toml"], 2, "there is no file none.toml."),
        (["--config", "bad.toml"], 2, "Did you mean 'widths'?"),
        (["--threads", "0", "-o", "b"], 2, "threads is 0"),
        (["-o", "a"], 3, "a is no study, and is not empty: it holds b."),
    ],
)
def test_refusals(arguments: list[str], code: int, said: str) -> None:
    Path("a").mkdir()
    Path("a/b").touch()
    Path("bad.toml").write_text("widhts = [3]")
    result = run("compare", *arguments, code=code)
    assert said in result.stderr
    assert "\nWhy:   " in result.stderr and "\nFix:   " in result.stderr
    assert not Path("b").exists()


def test_another_study_is_refused_and_this_one_extended(study: Path) -> None:
    result = run("compare", "--resume", str(study), "--epochs", "3", code=3)
    assert "epochs is 10 in the folder, 3 now" in result.stderr
    run("compare", *OPTIONS, "-o", "small", "--width", "4", "--data-seeds", "1", "--json")
    grown = run(
        *("compare", "-o", "small", "--extend", "--data-seeds", "2", "--width", "6"),
        *("--engine", "reference", "--json"),
    )
    assert len(json.loads(grown.stdout)["table"]) == 2 * 4
    assert_same(
        [cell for cell in biasgpu.open_study("small").cells() if cell.data_seed == 2],
        [cell for cell in make(Path("same")).cells() if cell.data_seed == 2],
    )


def test_problems_are_shown_and_the_exit_code_says_so() -> None:
    only = ["--width", "4", "--data-seeds", "1", "--n", "4", "--candidates", "2"]
    few = run("compare", *OPTIONS, *only, "-o", "few")  # nothing failed
    assert "* Not as many networks as asked for:" in few.stdout
    assert "only 1 of 4 found in 2 candidates" in few.stdout
    # Images that the second convolution of the deeper network does not fit.
    images = np.random.default_rng(0).random((8, 1, 12, 12), dtype=np.float32)
    labels = np.arange(8) % 2
    np.savez("small.npz", x_train=images, y_train=labels, x_test=images, y_test=labels)
    small = ["--data", "small.npz", "--n-train", "4", "--depth", "1c-1f,2c-3f", "--no-measures"]
    small += ["--fits", "1", "--trained", "1", "--candidates", "2", "--networks", "1"]
    result = run("compare", *small, "--engine", "reference", "-o", "bad", code=1)
    assert result.stderr.count("Problem: ") == 3
    assert "lenet width 2/6 depth 2c-3f" in result.stdout
    assert "Fix:   " in result.stdout
    found = json.loads(run("show", "bad", "--json").stdout)
    assert len(found["problems"]) == 3
    rows = [row for row in found["table"] if "2c-3f" in row["architecture"]]
    assert [row["n_networks"] for row in rows] == [0] * 4


def test_data_that_no_architecture_suits_are_refused() -> None:
    result = run("compare", "--data", "kink", "--n-train", "4", "-o", "none", code=2)
    assert "Fix:   use an architecture of dense layers for flat data" in result.stderr
    assert not Path("none").exists()


@pytest.mark.parametrize("as_json", [False, True])
def test_ctrl_c(monkeypatch: pytest.MonkeyPatch, as_json: bool) -> None:
    made: list[str] = []
    original = Worker.make

    def signalled(self: Worker, job: Any) -> None:
        made.append(job.file)
        if len(made) == 3:
            signal.raise_signal(signal.SIGINT)
        original(self, job)

    monkeypatch.setattr(Worker, "make", signalled)
    more = ["--json"] if as_json else []
    result = run("compare", *OPTIONS, "-o", "study", *more, code=130)
    assert "Interrupted: 2 of 12 files are complete." in result.stderr
    assert "To go on: biasgpu compare --resume study\n" in result.stderr
    if as_json:
        assert json.loads(result.stdout)["status"]["state"] == "interrupted"
    assert "interrupted, 2 of 12 files complete" in run("status", "study").stdout
    assert "interrupted: 2 of 12 files complete" in run("show", "study").stdout
    run("compare", "--resume", "study", "--engine", "reference")
    assert len(made) == 3 + (N_JOBS - 2)
    assert "finished, 12 of 12 files complete" in run("status", "study").stdout


def test_plot(study: Path) -> None:
    result = run("plot", str(study))
    names = ["width", "histogram-normalized-n4", "histogram-weight-normalized-n4", "boxes-n4"]
    names += ["gradient-norm", "bins-n4"]
    expected = {study / "figures" / f"{name}.{f}" for name in names for f in ("png", "pdf", "svg")}
    assert {Path(line) for line in result.stdout.splitlines()} == expected
    assert all(path.stat().st_size > 1000 for path in expected)
    assert "Note: no depth: " in result.stderr
    assert "exists" in run("plot", str(study), code=3).stderr
    one = run("plot", str(study), "--kind", "width", "-o", "w.svg", "--json")
    assert json.loads(one.stdout)["outputs"] == ["w.svg"]
    boxes = ["plot", str(study), "--kind", "boxes", "--n", "2", "--format", "png", "-o", "f"]
    assert run(*boxes).stdout == "f/boxes-n2.png\n"
    assert run(*boxes, "--overwrite").stdout == "f/boxes-n2.png\n"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--kind", "depth"], "hold no comparison over depth"),
        (["--kind", "widht"], "Did you mean 'width'?"),
        (["--kind", "boxes", "--n", "3"], "n_train is 3; the study has 2, 4."),
        (["--format", "jpg"], "unknown format 'jpg'"),
        (["-o", "all.png"], "all.png is one file"),
        (["--label", "a"], "is a study, and --label beside it."),
        (["run.h5"], "is a study, and more is named beside it."),
    ],
)
def test_refusals_of_plot(study: Path, arguments: list[str], said: str) -> None:
    assert said in run("plot", str(study), *arguments, code=2).stderr


def test_options_for_studies_only() -> None:
    for option in (("--kind", "width"), ("--n", "3"), ("--format", "png")):
        said = run("plot", "run.h5", "-o", "x.png", *option, code=2).stderr
        assert f"{option[0]} is for studies" in said
    assert "no figure is named" in run("plot", "run.h5", code=2).stderr
