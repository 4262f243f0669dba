"""`biasgpu reproduce`, `run` and `report`, and --print-config."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

import biasgpu
from biasgpu.cli.root import root
from biasgpu.experiments.text import parse
from biasgpu.study import Study
from biasgpu.study.work import Worker
from tests.experiments import SMALL, contents, write


@pytest.fixture(autouse=True)
def own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def run(*arguments: str, code: int = 0) -> Result:
    result = CliRunner().invoke(root, arguments)
    assert result.exit_code == code, result.output
    return result


def test_the_list_tells_what_can_run_here() -> None:
    shown = run("reproduce", "--list").stdout
    assert "fig3-lenet-mnist" in shown
    assert "deeper is worse for both: " in shown
    entries = json.loads(run("reproduce", "--list", "--json").stdout)
    assert [entry["name"] for entry in entries] == list(biasgpu.experiments.names())


def test_a_definition_of_ones_own_from_end_to_end() -> None:
    write(Path())
    planned = run("run", "mine.toml", "--plan", "--no-estimate", "--scale", "0.6")
    assert "0 of 4 files are complete; to do: 4 files, 22 networks." in planned.stdout
    assert not Path("runs").exists()
    made = run("run", "mine.toml", "--scale", "0.6", "--engine", "reference", "--no-estimate")
    assert "scale 0.6, in runs/mine-scale0.6" in made.stderr
    assert "runs/mine-scale0.6/report.html" in made.stdout
    before = contents(Path("runs/mine-scale0.6"))
    again = run("run", "runs/mine-scale0.6", "--engine", "reference", "--quiet")
    assert again.stderr == ""
    assert run("report", "runs/mine-scale0.6", "--json").stderr == ""
    assert contents(Path("runs/mine-scale0.6")) == before
    status = json.loads(run("run", "runs/mine-scale0.6", "--plan", "--json").stdout)
    assert (status["n_complete"], status["items"]) == (4, [])
    assert os.listdir("runs") == ["mine-scale0.6"]


def test_print_config_of_a_published_experiment_runs_as_it_does() -> None:
    printed = run("reproduce", "fig5", "--scale", "0.25", "--print-config").stdout
    assert "# convolutions, fully connected layers" in printed  # with its comments
    expected = biasgpu.experiments.published("fig5").definition().studies()["study"]
    (study,) = parse(printed, "x").studies().values()
    assert (study.fits, study.trained) == (500, 500)
    assert study == Study.from_config({**expected.to_config(), "fits": 500, "trained": 500})
    Path("mine.toml").write_text(printed)
    assert run("run", "mine.toml", "--print-config").stdout == printed


def test_print_config_of_compare_is_the_study_that_it_would_make() -> None:
    options = ["--data", "slab", "--arch", "mlp", "--width", "4,6", "--bias", "prior", "--n", "2,4",
               "--n-train", "4", "--time", "1h", "--learning-rate", "0.5", "--only", "sgd",
               "--stop-early", "--seed", "7"]  # fmt: skip
    printed = run("compare", *options, "--print-config").stdout
    assert not Path("runs").exists()
    (study,) = parse(printed, "x").studies().values()
    assert study == Study(
        data="slab", architectures=biasgpu.family("mlp", [4, 6], bias="prior"), n_train=4,
        n=(2, 4), time_s=3600.0, learning_rate=0.5, priors=(), stop_early=True, seed=7,
    )  # fmt: skip


def test_an_interruption_says_how_to_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    write(Path())

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Worker, "make", stop)
    stopped = run("run", "mine.toml", "--engine", "reference", "--no-estimate", code=130)
    assert "0 of 4 files are complete" in stopped.stderr
    assert "To go on: biasgpu run runs/mine" in stopped.stderr


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["reproduce"], 2, "no experiment is named."),
        (["reproduce", "fig"], 2, "experiments begin with 'fig'"),
        (["reproduce", "fgi5"], 2, "Did you mean 'fig5'?"),
        (["reproduce", "fig5", "--scale", "0"], 2, "scale is 0.0"),
        (["reproduce", "fig5", "--scael", "1"], 2, "Did you mean '--scale'?"),
        (["reproduce", "fig5", "-o", "taken"], 3, "taken is no experiment, and is not empty"),
        (["reproduce", "fig5", "--data-dir", "none"], 2, "the data folder none does not exist."),
        (["run", "none.toml"], 2, "there is no file none.toml."),
        (["run", "mine.json"], 2, "unknown kind of definition file '.json'."),
        (["run", "bad.toml"], 2, "Did you mean 'fits'?"),
        (["run", "taken"], 2, "taken holds no experiment"),
        (["run", "pipe.toml"], 2, "pipe.toml is no file."),
        (["report", "none"], 2, "there is no folder none."),
        (["report", "bad.toml"], 2, "bad.toml is a file."),
    ],
)
def test_refusals(arguments: list[str], code: int, said: str) -> None:
    Path("taken").mkdir()
    Path("taken/file").touch()
    Path("bad.toml").write_text(SMALL.replace("fits", "fitts"))
    os.mkfifo("pipe.toml")  # nobody writes to it
    result = run(*arguments, code=code)
    assert said in result.stderr
    assert "\nWhy:   " in result.stderr and "\nFix:   " in result.stderr
    assert not Path("runs").exists()


def test_a_problem_leaves_with_1() -> None:
    write(Path(), SMALL.replace("depths = [1]", "depths = [1]\nhead = \"one-logit\"").replace(
        "networks = 80", "networks = 9"))  # fmt: skip
    run("run", "mine.toml", "--engine", "reference", "--only", "sgd-*w4*", "--quiet")
    (file,) = Path("runs/mine/study").glob("sgd-*.h5")
    file.write_bytes(b"")
    result = run(
        "run", "mine.toml", "--engine", "reference", "--only", "sgd-*w4*", "--quiet", code=1
    )
    assert "Problem: study/sgd-mlp" in result.stdout
