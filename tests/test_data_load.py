"""Where files are looked for, what is made of them, and downloads."""

from __future__ import annotations

import dataclasses
import functools
import gzip
import hashlib
import http.server
import struct
import threading
from pathlib import Path

import numpy as np
import pytest

from biasgpu.data import catalogue, download
from biasgpu.data.cifar10 import BATCHES
from biasgpu.data.datasets import DATASETS, IDX_PARTS, DataSet
from biasgpu.data.download import DownloadError
from biasgpu.data.load import load
from biasgpu.data.locate import download_dir, locate
from biasgpu.errors import DamagedFileError, RefusedError, UsageError

N_TRAIN, N_TEST = 40, 20


def idx_files(seed: int = 0) -> dict[str, bytes]:
    """The four files of a small data set by official name, unpacked."""
    generator = np.random.default_rng(seed)
    files = {}
    for names, n in ((IDX_PARTS[:2], N_TRAIN), (IDX_PARTS[2:], N_TEST)):
        pixels = generator.integers(0, 256, (n, 28, 28), dtype=np.uint8)
        labels = (np.arange(n) % 10).astype(np.uint8)
        files[names[0]] = struct.pack(">4I", 0x803, n, 28, 28) + pixels.tobytes()
        files[names[1]] = struct.pack(">2I", 0x801, n) + labels.tobytes()
    return files


def write_idx(folder: Path, seed: int = 0, packed: bool = True) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, data in idx_files(seed).items():
        data = gzip.compress(data, mtime=0) if packed else data
        (folder / (f"{name}.gz" if packed else name)).write_bytes(data)
    return folder


def as_official(name: str, seed: int = 0, urls: tuple[str, ...] = ()) -> DataSet:
    """The catalogue's entry, with the checksums of `idx_files(seed)` as the official ones."""
    files = idx_files(seed)
    return dataclasses.replace(
        DATASETS[name],
        n_train=N_TRAIN,
        n_test=N_TEST,
        unpacked_md5={part: hashlib.md5(data).hexdigest() for part, data in files.items()},
        downloads=tuple(
            dataclasses.replace(
                source,
                md5=hashlib.md5(gzip.compress(files[part], mtime=0)).hexdigest(),
                urls=tuple(f"{url}/{source.name}" for url in urls) or source.urls,
            )
            for part, source in zip(IDX_PARTS, DATASETS[name].downloads, strict=True)
        ),
    )


@pytest.fixture(autouse=True)
def no_files(tmp_path, monkeypatch):
    """An empty cache, and no data folder from outside."""
    monkeypatch.setenv("BIASGPU_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.delenv("BIASGPU_DATA_DIR", raising=False)


@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize("place", ["", "mnist", "MNIST/raw"])
def test_files_are_found_in_all_usual_places(tmp_path, place, packed):
    root = tmp_path / "data"
    write_idx(root / place, packed=packed)
    images = load(DATASETS["mnist"], data_dir=root)
    assert images.x_train.shape == (N_TRAIN, 1, 28, 28)
    assert images.x_test.shape == (N_TEST, 1, 28, 28)
    assert images.y_train[:3].tolist() == [0, 1, 2]
    assert images.source == "files"
    assert images.data_dir == str(root)
    assert not images.official
    assert "40 training and 20 test images" in images.sources["note"]
    assert [row["official"] for row in images.sources["files"]] == [False] * 4


def test_names_with_a_dot_are_found(tmp_path):
    folder = write_idx(tmp_path, packed=False)
    for part in IDX_PARTS:
        (folder / part).rename(folder / part.replace("-idx", ".idx"))
    assert load(DATASETS["mnist"], data_dir=folder).x_train.shape[0] == N_TRAIN


def test_own_subfolder_goes_before_the_folder_itself(tmp_path):
    write_idx(tmp_path, seed=1)
    write_idx(tmp_path / "kmnist", seed=2)
    assert locate(DATASETS["kmnist"], tmp_path).folder == tmp_path / "kmnist"
    assert locate(DATASETS["mnist"], tmp_path).folder == tmp_path


def test_environment_names_the_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("BIASGPU_DATA_DIR", str(write_idx(tmp_path / "data")))
    assert load(DATASETS["mnist"]).source == "files"
    assert load(DATASETS["mnist"], "embedded").source == "embedded"


@pytest.mark.parametrize("packed", [True, False])
def test_official_is_told_by_checksum(tmp_path, packed):
    folder = write_idx(tmp_path, packed=packed)
    spec = as_official("mnist")
    images = load(spec, "official", folder)
    assert images.official
    assert images.sources["official"]
    assert images.sources["note"] == ""
    with pytest.raises(UsageError, match="not the official ones"):
        load(DATASETS["mnist"], "official", folder)
    assert load(DATASETS["mnist"], "auto", folder).x_train.shape == images.x_train.shape


def test_missing_files_are_named_and_not_replaced(tmp_path):
    folder = write_idx(tmp_path)
    (folder / f"{IDX_PARTS[3]}.gz").unlink()
    with pytest.raises(UsageError) as caught:
        load(DATASETS["mnist"], data_dir=folder)
    assert caught.value.what.endswith("lacks files of mnist: t10k-labels-idx1-ubyte.gz.")
    assert "--source embedded" in caught.value.fix
    assert f"biasgpu data fetch mnist --data-dir {folder}" in caught.value.fix
    with pytest.raises(UsageError, match=r"lacks files of cifar10: cifar-10-python\.tar\.gz"):
        load(DATASETS["cifar10"], data_dir=folder)
    with pytest.raises(UsageError, match="does not exist"):
        load(DATASETS["mnist"], data_dir=folder / "absent")


def test_files_of_another_set_are_recognised(tmp_path, monkeypatch):
    monkeypatch.setitem(DATASETS, "fashion-mnist", as_official("fashion-mnist"))
    with pytest.raises(UsageError, match="belongs to fashion-mnist, not to mnist"):
        load(DATASETS["mnist"], data_dir=write_idx(tmp_path))


def test_files_that_do_not_belong_together(tmp_path):
    folder = write_idx(tmp_path, packed=False)
    labels = folder / IDX_PARTS[1]
    good = labels.read_bytes()
    labels.write_bytes(struct.pack(">2I", 0x801, 39) + good[8:-1])
    with pytest.raises(DamagedFileError, match="39 labels for the 40 images"):
        load(DATASETS["mnist"], data_dir=folder)
    labels.write_bytes(good[:-1] + b"\x0a")
    with pytest.raises(DamagedFileError, match="a label is 10"):
        load(DATASETS["mnist"], data_dir=folder)
    (folder / IDX_PARTS[0]).write_bytes(struct.pack(">4I", 0x803, 40, 2, 2) + bytes(160))
    with pytest.raises(DamagedFileError, match=r"\(2, 2\) pixels"):
        load(DATASETS["mnist"], data_dir=folder)


def test_nothing_there_means_embedded_and_says_so():
    images = load(DATASETS["mnist"])
    assert images.source == "embedded"
    assert "because the full set is not there" in images.sources["note"]
    assert "because" not in load(DATASETS["mnist"], "embedded").sources["note"]
    with pytest.raises(UsageError, match="kmnist is not embedded"):
        load(DATASETS["kmnist"], "embedded")
    with pytest.raises(UsageError, match=r"unknown source 'ofical'\. Did you mean 'official'"):
        load(DATASETS["mnist"], "ofical")  # type: ignore[arg-type]


def test_unpacked_cifar10_is_found(tmp_path):
    folder = tmp_path / "cifar10" / "cifar-10-batches-bin"
    folder.mkdir(parents=True)
    for name in BATCHES:
        (folder / f"{name}.bin").write_bytes(bytes(3073 * 2))
    images = load(DATASETS["cifar10"], data_dir=tmp_path)
    assert images.x_train.shape == (10, 3, 32, 32)
    assert not images.official
    (folder / "data_batch_4.bin").unlink()
    with pytest.raises(UsageError, match=r"lacks files of cifar10: data_batch_4\.bin"):
        load(DATASETS["cifar10"], data_dir=tmp_path)


# Downloads, from a server on this machine.


@pytest.fixture
def server(tmp_path, monkeypatch):
    """Serves `tmp_path/served`; yields its address."""
    monkeypatch.setenv("NO_PROXY", "*")

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, format: str, *args: object) -> None:
            pass

    handler = functools.partial(Quiet, directory=str(tmp_path / "served"))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as running:
        thread = threading.Thread(target=running.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{running.server_port}"
        running.shutdown()
        thread.join()


def test_downloads_are_checked_and_kept(tmp_path, monkeypatch, server, capfd):
    write_idx(tmp_path / "served")
    spec = as_official("kmnist", urls=(f"{server}/nowhere", server))
    monkeypatch.setitem(DATASETS, "kmnist", spec)
    seen: list[tuple[str, int, int]] = []
    entry = catalogue.fetch("kmnist", progress=lambda *state: seen.append(state))
    assert entry["official"]
    assert entry["present"]
    assert entry["folder"] == str(tmp_path / "cache" / "data" / "kmnist")
    names = [source.name for source in spec.downloads]
    assert [name for name in dict.fromkeys(name for name, _, _ in seen)] == names
    last = {name: (done, total) for name, done, total in seen}
    for source in spec.downloads:
        size = (tmp_path / "served" / source.name).stat().st_size
        assert last[source.name] == (size, size)
    assert capfd.readouterr() == ("", "")
    # It is there now: neither this nor a task needs the network again.
    for name in names:
        (tmp_path / "served" / name).unlink()
    catalogue.fetch("kmnist")
    assert load(spec).official


def test_a_task_downloads_what_it_lacks(tmp_path, server):
    write_idx(tmp_path / "served")
    images = load(as_official("mnist", urls=(server,)), "official")
    assert images.official
    assert images.data_dir is None


def test_fetch_into_a_new_folder(tmp_path, monkeypatch, server):
    write_idx(tmp_path / "served")
    monkeypatch.setitem(DATASETS, "kmnist", as_official("kmnist", urls=(server,)))
    entry = catalogue.fetch("kmnist", tmp_path / "new")
    assert entry["folder"] == str(tmp_path / "new" / "kmnist")


def test_a_wrong_download_is_thrown_away(tmp_path, monkeypatch, server):
    write_idx(tmp_path / "served", seed=5)
    spec = as_official("kmnist", urls=(server,))
    with pytest.raises(DownloadError, match="hash") as caught:
        load(spec)
    assert list(download_dir(spec).iterdir()) == []
    assert caught.value.exit_code == 1


def test_no_network_gives_the_manual_steps(monkeypatch):
    spec = as_official("kmnist", urls=("http://127.0.0.1:9/closed",))
    monkeypatch.setenv("NO_PROXY", "*")
    with pytest.raises(DownloadError) as caught:
        load(spec)
    error = caught.value
    assert error.what == "train-images-idx3-ubyte.gz of kmnist could not be downloaded."
    assert error.why == "http://127.0.0.1:9/closed/train-images-idx3-ubyte.gz: no connection"
    for source in spec.downloads:
        assert source.urls[0] in error.fix
    assert str(download_dir(spec)) in error.fix
    assert "--data-dir DIR" in error.fix


def test_a_file_of_the_user_is_not_overwritten(tmp_path):
    folder = write_idx(tmp_path / "data" / "kmnist")
    with pytest.raises(RefusedError, match="is not the official file") as caught:
        download.download(DATASETS["kmnist"], tmp_path / "data")
    assert caught.value.exit_code == 3
    assert (
        gzip.decompress((folder / f"{IDX_PARTS[0]}.gz").read_bytes()) == idx_files()[IDX_PARTS[0]]
    )


def test_nothing_to_fetch():
    with pytest.raises(UsageError, match="kink has no files to fetch"):
        catalogue.fetch("kink")
    with pytest.raises(UsageError, match="Did you mean 'kmnist'"):
        catalogue.fetch("kmnst")
