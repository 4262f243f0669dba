"""What every test shares: a cache and a data folder of its own, and the rule for GPU tests."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from biasgpu import engines

REQUIRE_GPU = os.environ.get("BIASGPU_REQUIRE_GPU") == "1"
# Before any kernel is imported: without a GPU, kernels are tested in Triton's interpreter.
if not any(map(os.path.exists, engines.GPU_FILES)) and not REQUIRE_GPU:
    os.environ["TRITON_INTERPRET"] = "1"
# Every test has a cache of its own, which does not say what is compiled: none may look for more.
os.environ["BIASGPU_COMPILE_AHEAD"] = "0"


@pytest.fixture(autouse=True)
def isolated_folders(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No test sees the user's data, nor leaves anything in the user's folders."""
    monkeypatch.setenv("BIASGPU_CACHE_DIR", str(tmp_path_factory.mktemp("cache")))
    monkeypatch.delenv("BIASGPU_DATA_DIR", raising=False)


@pytest.fixture(autouse=True)
def usable_gpu(request: pytest.FixtureRequest) -> None:
    """Skip tests marked `gpu` where there is none, or fail them with BIASGPU_REQUIRE_GPU=1."""
    if request.node.get_closest_marker("gpu") is None:
        return
    reason = _no_gpu()
    if reason and REQUIRE_GPU:
        pytest.fail(f"{reason}, and BIASGPU_REQUIRE_GPU=1")
    if reason:
        pytest.skip(reason)


@pytest.fixture
def commit_always(monkeypatch: pytest.MonkeyPatch) -> None:
    """Commit after every batch."""
    from biasgpu.sampling import session

    monkeypatch.setattr(session, "COMMIT_EVERY_S", 0.0)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[None]:
    """A GPU test that skips itself fails too where a GPU is required."""
    report = yield
    assert isinstance(report, pytest.TestReport)
    if REQUIRE_GPU and report.skipped and item.get_closest_marker("gpu"):
        report.outcome = "failed"
        report.longrepr = f"skipped, and BIASGPU_REQUIRE_GPU=1: {report.longrepr}"
    return report


def _no_gpu() -> str:
    try:
        import torch
    except ImportError:
        return "torch is not installed"
    return "" if torch.cuda.is_available() else "no CUDA GPU"
