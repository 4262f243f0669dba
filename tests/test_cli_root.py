"""The group: help pages, errors in the house form, exit codes, and a light start."""

from __future__ import annotations

import re
import resource
import subprocess
import sys
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

import biasgpu
from biasgpu import errors
from biasgpu.cli import output, pages
from biasgpu.cli.root import COMMANDS, root

ROOT = Path(__file__).parent.parent


def all_pages() -> dict[str, str]:
    return dict(pages._pages(root, "biasgpu", None))


def test_the_documented_help_pages_are_the_commands_own() -> None:
    documented = (ROOT / "docs" / "cli.md").read_text()
    assert documented == pages.markdown(), "run: make docs-cli"


@pytest.mark.parametrize("path", sorted(all_pages()))
def test_every_help_page_has_an_example(path: str) -> None:
    result = CliRunner().invoke(root, [*path.split()[1:], "--help"])
    assert result.exit_code == 0
    assert re.search(rf"Examples?:.*\n(.*\n)*  +{path.split()[0]} ", result.stdout), result.stdout
    assert path.split()[-1] in result.stdout


def test_every_command_but_groups_takes_json_and_debug() -> None:
    for path, text in all_pages().items():
        assert "--debug" in text, path
        if path not in ("biasgpu", "biasgpu data"):
            assert "--json" in text, path


def test_the_group_shows_each_command_with_its_own_first_line() -> None:
    ctx = click.Context(root)
    for name, (_, line) in COMMANDS.items():
        command = root.get_command(ctx, name)
        assert command is not None
        assert command.get_short_help_str(200) == line


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys\n"
        "from biasgpu.cli import root\n"
        "try:\n"
        "    root.main(['--help'])\n"
        "except SystemExit as leaving:\n"
        "    assert leaving.code == 0\n"
        "heavy = ('torch', 'numba', 'h5py', 'scipy', 'matplotlib', 'numpy', 'rich')\n"
        "print(*(name for name in heavy if name in sys.modules), file=sys.stderr, end='')\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.stderr == ""
    assert done.returncode == 0
    assert "Commands:" in done.stdout


def test_help_answers_at_once() -> None:
    def cpu_s() -> float:
        used = resource.getrusage(resource.RUSAGE_CHILDREN)
        return used.ru_utime + used.ru_stime

    times = []
    for _ in range(3):
        before = cpu_s()
        subprocess.run(
            [sys.executable, "-m", "biasgpu", "--help"], capture_output=True, cwd=ROOT, check=True
        )
        times.append(cpu_s() - before)
    assert min(times) < 0.3


def test_the_module_is_a_command() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "biasgpu", "--version"], capture_output=True, text=True, cwd=ROOT
    )
    assert (done.returncode, done.stdout) == (0, f"biasgpu {biasgpu.__version__}\n")


@pytest.mark.parametrize(
    ("arguments", "what"),
    [
        (["smaple"], "no such command 'smaple'. Did you mean 'sample'?"),
        (["sample", "--widht", "5"], "no such option --widht. Did you mean '--width'?"),
        (["--verison"], "no such option --verison. Did you mean '--version'?"),
        (["show"], "missing argument 'RUN.h5'."),
        (["show", "a.h5", "b.h5"], "got unexpected extra argument (b.h5)."),
        (["sample", "--n-train", "many"], "'many' is not a valid integer."),
        (["sample", "--width"], "option '--width' requires an argument."),
        (["data", "lst"], "no such command 'lst'."),
    ],
)
def test_usage_errors_have_the_house_form(arguments: list[str], what: str) -> None:
    result = CliRunner().invoke(root, arguments)
    assert result.exit_code == 2
    assert result.stdout == ""
    assert result.stderr.startswith("Error: ")
    assert what in result.stderr
    assert re.search(r"^Fix:   biasgpu.* --help$", result.stderr, re.MULTILINE)
    assert "Traceback" not in result.stderr


def test_without_a_command_the_help_is_shown() -> None:
    result = CliRunner().invoke(root, [])
    assert result.exit_code == 2
    assert "Commands:" in result.stderr


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (errors.BiasgpuError("it broke."), 1),
        (errors.UsageError("it broke."), 2),
        (errors.RefusedError("it broke."), 3),
        (errors.DamagedFileError("it broke."), 4),
        (errors.ResourceError("it broke."), 5),
        (MemoryError(), 5),
        (OSError("it broke."), 1),
        (ZeroDivisionError("it broke."), 1),
        (KeyboardInterrupt(), 130),
    ],
)
def test_errors_become_exit_codes(
    monkeypatch: pytest.MonkeyPatch, error: BaseException, code: int
) -> None:
    def fail(*_: object) -> str:
        raise error

    monkeypatch.setattr("biasgpu.citations.citation", fail)
    result = CliRunner().invoke(root, ["cite"])
    assert result.exit_code == code
    assert result.stdout == ""
    if code != 130:
        assert result.stderr.startswith("Error: ")
    assert "Traceback" not in result.stderr


def test_debug_shows_the_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> str:
        raise errors.RefusedError("no.", why="one.\ntwo.", fix="three.")

    monkeypatch.setattr("biasgpu.citations.citation", fail)
    for arguments in (["cite", "--debug"], ["--debug", "cite"]):
        result = CliRunner().invoke(root, arguments)
        assert result.exit_code == 3
        assert "Traceback" in result.stderr
        assert result.stderr.endswith("Error: no.\nWhy:   one.\n       two.\nFix:   three.\n")
    assert "Traceback" not in CliRunner().invoke(root, ["cite"]).stderr


def test_square_brackets_survive() -> None:
    assert str(output.explain(errors.needs_extra("torch", "this"))).endswith("'biasgpu[torch]'")


def test_json_has_no_nan(capsys: pytest.CaptureFixture[str]) -> None:
    output.print_json({"a": float("nan"), "b": [1.5, float("inf")], "c": (Path("x"), None, True)})
    expected = '{"a":null,"b":[1.5,null],"c":["x",null,true]}'
    assert re.sub(r"\s", "", capsys.readouterr().out) == expected
