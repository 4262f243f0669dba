"""Nothing is overwritten, mixed up, or written by two; and every refusal says what to do."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest

import biasgpu.results
from biasgpu.errors import BiasgpuError, RefusedError, UsageError
from biasgpu.fits import Fits
from biasgpu.results import Store, read
from biasgpu.results import lock as lock_module
from biasgpu.results import paths as paths_module
from biasgpu.task import Task

ROOT = Path(biasgpu.results.__file__).parents[2]
HOLDER = """
import sys, time
from biasgpu.results import Store
store = Store.reopen(sys.argv[1])
print("held", flush=True)
time.sleep(60)
"""


def make_task() -> Task:
    x = np.arange(8, dtype=np.float32).reshape(8, 1)
    return Task("line", x[:4], np.arange(4) % 2, x[4:], np.arange(4) % 2, ("a", "b"))


def create(path: Path, width: int = 512, overwrite: bool = False) -> Store:
    config = {"width": width}
    return Store.create(
        path, config, make_task(), provenance={}, overwrite=overwrite, keep_predictions=False
    )


def add(store: Store, index: int) -> None:
    fits = Fits(
        index=np.array([index], np.uint64),
        prefix=np.array([4]),
        margin=np.ones(1),
        test_accuracy=np.ones(1),
        test_accuracy_per_class=np.ones((1, 2)),
    )
    store.append(fits, next_draw=index + 1, prefix_counts=np.zeros(5, np.int64), elapsed_s=0)


def test_an_existing_file_is_refused_and_untouched(tmp_path: Path) -> None:
    path = tmp_path / "run.h5"
    path.write_bytes(b"mine")
    with pytest.raises(RefusedError, match="exists") as caught:
        create(path)
    assert caught.value.exit_code == 3
    for remedy in ("--resume", "-o ", "--overwrite", "overwrite=True", "run.h5.bak"):
        assert remedy in caught.value.fix
    assert path.read_bytes() == b"mine"
    assert [p.name for p in tmp_path.iterdir()] == ["run.h5"]


def test_a_folder_is_never_overwritten(tmp_path: Path) -> None:
    with pytest.raises(RefusedError, match="exists, and is a folder") as caught:
        create(tmp_path, overwrite=True)
    assert caught.value.fix.startswith(f"name a file in it: -o {tmp_path}/run.h5")
    for impossible in ("--resume", "--overwrite"):
        assert impossible not in caught.value.fix


@pytest.mark.parametrize("links", [True, False])
def test_a_file_that_appears_meanwhile_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, links: bool
) -> None:
    temporary, path = tmp_path / "run.h5.tmp", tmp_path / "run.h5"
    temporary.write_bytes(b"new")
    path.write_bytes(b"mine")
    if not links:
        monkeypatch.setattr(os, "link", _no_links)
    with pytest.raises(RefusedError, match="exists"):
        paths_module.publish(temporary, path)
    assert path.read_bytes() == b"mine"


@pytest.mark.parametrize("links", [True, False])
def test_overwriting_keeps_every_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, links: bool
) -> None:
    if not links:
        monkeypatch.setattr(os, "link", _no_links)
    path = tmp_path / "run.h5"
    for width in range(4):
        create(path, width, overwrite=True).close()
    assert read(path).config == {"width": 3}
    for width, suffix in enumerate(("", "1", "2")):
        assert read(tmp_path / f"run.h5.bak{suffix}").config == {"width": width}
    assert len(list(tmp_path.iterdir())) == 4


def test_missing_folders_are_made(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b" / "run.h5"
    create(path).close()
    assert read(path).config == {"width": 512}


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(BiasgpuError, match="cannot be made"):
        create(tmp_path / "file" / "run.h5")
    with pytest.raises(BiasgpuError, match="cannot be made"):
        create(tmp_path / "file" / "deeper" / "run.h5")


READ_ONLY = """
import os, sys
from pathlib import Path
import numpy as np
from biasgpu.errors import BiasgpuError
from biasgpu.results import Store
from biasgpu.task import Task
x = np.arange(8, dtype=np.float32).reshape(8, 1)
task = Task("line", x[:4], np.arange(4) % 2, x[4:], np.arange(4) % 2, ("a", "b"))
if os.geteuid() == 0:
    os.setuid(65534)
try:
    Store.create(Path(sys.argv[1], "run.h5"), {}, task, provenance={}, keep_predictions=False)
except BiasgpuError as error:
    print(error.what, error.fix)
"""


def test_a_read_only_folder() -> None:
    # The superuser may write anywhere, so the child becomes somebody else first.
    with tempfile.TemporaryDirectory() as top:
        folder = Path(top) / "folder"
        folder.mkdir()
        folder.chmod(0o555)
        Path(top).chmod(0o755)
        run = subprocess.run(
            [sys.executable, "-c", READ_ONLY, str(folder)],
            capture_output=True,
            text=True,
            timeout=60,
            env=os.environ | {"PYTHONPATH": str(ROOT)},
            check=False,
        )
        assert run.returncode == 0, run.stderr
        assert f"{folder / 'run.h5'} could not be written: permission denied" in run.stdout
        assert "choose another place" in run.stdout
        assert list(folder.iterdir()) == []


def test_a_second_writer_is_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "run.h5"
    create(path).close()
    child = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(path)],
        stdout=subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )
    try:
        assert child.stdout is not None
        assert child.stdout.readline() == b"held\n"
        for attempt in (lambda: Store.reopen(path), lambda: create(path, overwrite=True)):
            with pytest.raises(RefusedError, match=f"another process \\(pid {child.pid}\\)"):
                attempt()
        assert read(path).config == {"width": 512}
    finally:
        child.send_signal(signal.SIGKILL)
        child.wait()
        if child.stdout is not None:
            child.stdout.close()
    assert (tmp_path / "run.h5.lock").exists()
    Store.reopen(path).close()
    assert [p.name for p in tmp_path.iterdir()] == ["run.h5"]


def test_two_names_of_one_file_share_its_lock(tmp_path: Path) -> None:
    path, link = tmp_path / "run.h5", tmp_path / "link.h5"
    with create(path):
        link.symlink_to(path)
        with pytest.raises(RefusedError, match="another process"):
            Store.reopen(link)
    with Store.reopen(link) as store:
        for index in range(200):
            add(store, index)
        store.finish("fits")
    assert link.is_symlink()
    assert len(read(path).fits) == 200


FORKER = """
import os, signal, sys
from biasgpu.results import Store
store = Store.reopen(sys.argv[1])
if os.fork() == 0:
    print(os.getpid(), flush=True)
    signal.pause()
signal.pause()
"""


def test_a_forked_worker_does_not_keep_the_lock(tmp_path: Path) -> None:
    path = tmp_path / "run.h5"
    create(path).close()
    parent = subprocess.Popen(
        [sys.executable, "-c", FORKER, str(path)],
        stdout=subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )
    assert parent.stdout is not None
    worker = int(parent.stdout.readline())
    try:
        with pytest.raises(RefusedError, match=f"pid {parent.pid}"):
            Store.reopen(path)
        parent.kill()
        parent.wait()
        Store.reopen(path).close()
    finally:
        os.kill(worker, signal.SIGKILL)
        parent.stdout.close()


@pytest.mark.parametrize("overwrite", [False, True])
def test_without_locks_writing_still_works(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, overwrite: bool
) -> None:
    monkeypatch.setattr(lock_module, "fcntl", None)
    with create(tmp_path / "run.h5", overwrite=overwrite) as store:
        add(store, 1)
    assert len(read(tmp_path / "run.h5").fits) == 1


@pytest.mark.parametrize("what", ["moved", "replaced"])
def test_a_file_that_is_taken_away(tmp_path: Path, what: str) -> None:
    path = tmp_path / "run.h5"
    with create(path) as store:
        add(store, 1)
        path.rename(tmp_path / "elsewhere.h5")
        if what == "replaced":
            path.write_bytes(b"mine")
        for action in (lambda: add(store, 2), lambda: store.finish("fits")):
            with pytest.raises(BiasgpuError, match="was moved, deleted or replaced"):
                action()
    assert read(tmp_path / "elsewhere.h5").next_draw == 2
    if what == "replaced":
        assert path.read_bytes() == b"mine"


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    for attempt in (read, Store.reopen):
        with pytest.raises(UsageError, match="there is no file") as caught:
            attempt(tmp_path / "none.h5")
        assert caught.value.exit_code == 2
    assert list(tmp_path.iterdir()) == []


def test_what_a_kill_left_behind_is_cleared_away(tmp_path: Path) -> None:
    path = tmp_path / "run.h5"
    create(path).close()
    for name in ("run.h5.tmp", "run.h5.lock"):
        (tmp_path / name).write_bytes(b"half")
    Store.reopen(path).close()
    assert [p.name for p in tmp_path.iterdir()] == ["run.h5"]


def test_growing_keeps_the_permissions(tmp_path: Path) -> None:
    path = tmp_path / "run.h5"
    with create(path) as store:
        path.chmod(0o640)
        add(store, 1)
        store.finish("fits")
    assert path.stat().st_mode & 0o777 == 0o640


def _no_links(*args: object) -> None:
    raise PermissionError(1, "Operation not permitted")
