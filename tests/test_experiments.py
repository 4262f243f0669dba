"""An experiment from its definition to its report: complete, repeatable, and never at a loss."""

from __future__ import annotations

import html
import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest

import biasgpu
from biasgpu.errors import BiasgpuError, RefusedError, UsageError
from biasgpu.experiments import events
from biasgpu.experiments.report import repeat_command
from biasgpu.study.events import JobEnded, JobStarted
from biasgpu.study.runner import Runner
from tests.experiments import N_FILES, SMALL, contents, timeless, write


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("experiment")
    path = write(folder)
    return biasgpu.run_definition(path, output=folder / "run", engine="reference").path


@pytest.fixture
def copy(made: Path, tmp_path: Path) -> Path:
    """The same experiment, to be changed."""
    return Path(shutil.copytree(made, tmp_path / "run"))


def test_it_ends_with_figures_tables_and_a_report(made: Path) -> None:
    found = biasgpu.open_experiment(made)
    assert [cell.n_networks for cell in found.cells] == [10, 8, 10, 8]
    names = {str(path.relative_to(made)) for path in made.rglob("*") if path.is_file()}
    figures = {f"figures/histogram-normalized-n4.{form}" for form in ("png", "pdf", "svg")}
    assert {*figures, "table.csv", "table.json", "report.html", "experiment.toml"} <= names
    rows = json.loads((made / "table.json").read_text())
    assert [row["n_networks"] for row in rows] == [10, 8, 10, 8]
    assert rows[0]["test_accuracy"] == pytest.approx(found.cells[0].test_accuracy.mean(), rel=1e-12)
    assert len((made / "table.csv").read_text().splitlines()) == 1 + len(rows)


def test_the_page_says_what_was_made_and_whether_the_claim_held(made: Path) -> None:
    page = (made / "report.html").read_text()
    found = biasgpu.open_experiment(made)
    assert found.verdict is not None
    (claim,) = [one for one in found.verdict.claims if one.text == "wider is better for SGD"]
    said = {"holds": "The claim holds here.", "does not hold": "The claim does not hold here.",
            "not decided": "Cannot tell"}  # fmt: skip
    assert said[claim.decision] in page
    assert "4 of 4</b> files have all networks asked for" in page
    assert "Nothing: every cell has the networks that were asked for." in page
    assert html.escape(SMALL.splitlines()[1], quote=True).replace(
        "&#x27;", "&#39;"
    ) in page.replace("&#34;", "&quot;")
    assert "biasgpu run run" in page  # how to go on
    assert f"biasgpu {biasgpu.__version__}" in page


def test_the_page_needs_nothing_and_runs_nothing(made: Path) -> None:
    page = (made / "report.html").read_text()
    assert "<h1>Wider &amp; &lt;better&gt;</h1>" in page  # a definition is not trusted
    assert "<script" not in page
    addresses = re.findall(r'(?:src|href)="([^"]*)"', page)
    assert len(addresses) == 1 and addresses[0].startswith("data:image/svg+xml;base64,")
    assert not re.findall(r"url\(|@import", page)
    for image in re.findall(r"<img [^>]*>", page):
        assert re.search(r'alt="[^"]{20,}"', image)
    assert "prefers-color-scheme: dark" in page and "@media print" in page
    assert '<html lang="en">' in page


def test_the_same_files_make_the_same_page(made: Path, copy: Path) -> None:
    before = contents(made)
    for name in ("report.html", "outputs.json", "table.csv"):
        (copy / name).unlink()
    shutil.rmtree(copy / "figures")
    again = biasgpu.report(copy)
    assert contents(copy) == before
    assert again.kept_aside == ()
    # Nothing is left to do: not a file is touched.
    stamps = {path: path.stat().st_mtime_ns for path in copy.rglob("*.h5")}
    page = (copy / "report.html").stat().st_mtime_ns
    heard: list[Any] = []
    biasgpu.run_definition(copy, engine="reference", on_event=heard.append)
    assert {path: path.stat().st_mtime_ns for path in copy.rglob("*.h5")} == stamps
    assert (copy / "report.html").stat().st_mtime_ns == page
    (planned,) = [event for event in heard if isinstance(event, events.Planned)]
    assert planned.plan.items == () and planned.plan.seconds is None
    assert not any(isinstance(event, events.Probing) for event in heard)


@pytest.mark.parametrize("stop_at", [1, 2, N_FILES])
def test_stopped_anywhere_it_ends_with_the_same_page(
    made: Path, tmp_path: Path, stop_at: int
) -> None:
    started = 0

    def stop(event: Any) -> None:
        nonlocal started
        started += isinstance(event, JobStarted)
        stopped.append(event)
        # Before the file is begun, or when it is complete.
        if started == stop_at and isinstance(event, (JobStarted, JobEnded)[stop_at % 2]):
            raise KeyboardInterrupt

    stopped: list[Any] = []
    path, folder = write(tmp_path), tmp_path / "run"
    with pytest.raises(KeyboardInterrupt):
        biasgpu.run_definition(
            path, output=folder, engine="reference", on_event=stop, estimate=False
        )
    assert isinstance(stopped[-1], events.Stopped) and stopped[-1].folder == folder
    if stop_at == 2:
        half = biasgpu.report(folder)  # also of what there is by then
        assert half.report.read_text().count("not begun") == 3
    biasgpu.run_definition(path, output=folder, engine="reference")
    assert contents(folder) == contents(made)


def test_what_somebody_changed_is_kept(copy: Path) -> None:
    (copy / "report.html").write_text("my notes")
    made = biasgpu.report(copy)
    assert [path.name for path in made.kept_aside] == ["report.html.bak"]
    assert (copy / "report.html.bak").read_text() == "my notes"
    assert "my notes" not in (copy / "report.html").read_text()
    assert biasgpu.report(copy).kept_aside == ()


def test_another_experiment_is_refused(copy: Path, tmp_path: Path) -> None:
    before = contents(copy)
    for text, said in (
        (SMALL.replace("fits = 10", "fits = 11"), "fits is 10 in the folder, 11 now"),
        (SMALL.replace("epochs = 10", "epochs = 11"), "epochs is 10 in the folder, 11 now"),
        ("scale = 0.5\n" + SMALL, "fits is 10 in the folder, 5 now"),
    ):
        other = write(tmp_path / "other", text)
        with pytest.raises(RefusedError) as error:
            biasgpu.run_definition(other, output=copy, engine="reference")
        assert said in error.value.what
    assert contents(copy) == before
    with pytest.raises(RefusedError, match=r"is no experiment, and is not empty: it holds mine"):
        biasgpu.run_definition(tmp_path / "other" / "mine.toml", output=tmp_path / "other")
    # Other words and figures of the same networks are none.
    worded = write(tmp_path / "other", SMALL.replace("Narrow beside wide", "Other words"))
    biasgpu.run_definition(worded, output=copy, engine="reference")
    assert "# Other words" in (copy / "experiment.toml").read_text()
    assert "# Narrow" in (copy / "experiment.toml.bak").read_text()


def test_only_some_files(tmp_path: Path, made: Path) -> None:
    path, folder = write(tmp_path), tmp_path / "run"
    with pytest.raises(UsageError, match="no file of the experiment matches 'xyz'"):
        biasgpu.run_definition(path, output=folder, only="xyz")
    assert not folder.exists()
    some = biasgpu.run_definition(path, output=folder, only="sgd-*w4*", engine="reference")
    assert [cell.n_networks for cell in some.cells] == [0, 8, 0, 0]
    page = some.report.read_text()
    assert "1 of 4</b> files have all networks asked for" in page
    assert page.count("not begun") >= 3
    planned = biasgpu.experiments.plan_of(path, output=folder, only="gc-*", estimate=False)
    assert (planned.plan.n_complete, planned.plan.n_left_out) == (1, 1)
    assert [item.n_networks for item in planned.plan.items] == [10, 10]
    biasgpu.run_definition(path, output=folder, engine="reference")
    assert contents(folder) == contents(made)


def test_a_file_that_cannot_be_read_is_listed_with_its_reason(copy: Path) -> None:
    (broken,) = copy.glob("study/gc-*w4*.h5")
    broken.write_bytes(b"nothing")
    page = biasgpu.report(copy).report.read_text()
    missing = page.partition("What is missing")[2].partition("</ul>")[0]
    assert missing.count("<li>") == 1
    assert "guess and check, mlp width 4" in missing
    assert "3 of 4</b> files" in page


def test_a_scaled_one_says_so(tmp_path: Path) -> None:
    made = biasgpu.run_definition(write(tmp_path), scale=0.6, engine="reference",
                                  output=tmp_path / "run")  # fmt: skip
    assert [cell.n_networks for cell in made.cells] == [6, 5, 6, 5]
    page = made.report.read_text()
    assert "0.6</b> scale of the counts" in page
    assert "6 by guess and check (instead of 10)" in page
    assert (made.path / "experiment.toml").read_text() == "scale = 0.6\n" + SMALL


def test_the_command_that_repeats_it() -> None:
    text = biasgpu.experiments.published("fig5").text
    assert repeat_command(text) == "biasgpu reproduce fig5"
    assert repeat_command("scale = 0.25\n" + text) == "biasgpu reproduce fig5 --scale 0.25"
    assert repeat_command("time_s = 30.0\n" + text) == "biasgpu reproduce fig5 --time 30s"
    assert repeat_command(text.replace("2000", "2001")).startswith("biasgpu run experiment.toml")


def test_of_several_studies_one_without_data_does_not_stop_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BIASGPU_DATA_DIR", str(tmp_path))
    text = SMALL.replace("[[figure]]", '[[part]]\nname = "a"\ndata = "cifar10"\n'
                         '[[part]]\nname = "b"\n[[figure]]', 1)  # fmt: skip
    heard: list[Any] = []
    made = biasgpu.run_definition(
        write(tmp_path, text), output=tmp_path / "run", engine="reference", estimate=False,
        only="gc-*", on_event=heard.append,
    )  # fmt: skip
    assert [len(cells) for cells in made.parts.values()] == [4, 4]
    assert [cell.n_networks for cell in made.cells] == [0, 0, 0, 0, 10, 0, 10, 0]
    (failed,) = [event for event in heard if isinstance(event, events.PartFailed)]
    assert failed.part == "study-a"
    assert "the files of cifar10 are not at hand" in made.report.read_text()
    alone = write(tmp_path, text.replace('[[part]]\nname = "b"\n', ""))
    with pytest.raises(UsageError, match="lacks files of cifar10"):
        biasgpu.run_definition(alone, output=tmp_path / "alone", engine="reference")


def test_not_an_experiment(tmp_path: Path) -> None:
    for call in (biasgpu.report, biasgpu.open_experiment, biasgpu.run_definition):
        with pytest.raises(BiasgpuError, match="holds no experiment"):
            call(tmp_path)
    with pytest.raises(UsageError, match="there is no folder"):
        biasgpu.report(tmp_path / "none")


def test_files_that_are_not_chosen_are_not_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried: list[str] = []
    monkeypatch.setattr(Runner, "_make", lambda self, job: tried.append(job.file))
    study = biasgpu.Study(data="kink", architectures=biasgpu.family("mlp", [4], bias="prior"),
                          n_train=4, n=(4,))  # fmt: skip
    biasgpu.compare(study, output=tmp_path / "s", only=lambda job: job.way == "sgd")
    assert [name[:3] for name in tried] == ["sgd"]


def test_the_report_is_the_same_with_other_times(made: Path) -> None:
    page = (made / "report.html").read_text()
    assert page.count("<time>") == 2
    assert timeless(page).count("<time>") == 0
