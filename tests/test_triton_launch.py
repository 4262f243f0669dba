"""Launches as a GPU's driver would be given them: bound, specialised and compiled, but not started.

The interpreter takes any argument and any option; Triton's own launcher does not. Here it goes all
the way to machine code for sm_90, with a driver that stands in for a GPU's.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("triton", reason="triton is not installed")

ROOT = Path(__file__).parent.parent
CODE = """
import json
import numpy as np
import torch
from triton.backends.compiler import GPUTarget
from triton.runtime.driver import driver

class Driver:
    def get_current_target(self): return GPUTarget("cuda", 90, 32)
    def get_current_device(self): return 0
    def get_current_stream(self, device=0): return 0
    def get_device_interface(self): return torch.cuda
    def get_active_torch_device(self): return torch.device("cpu")

driver.set_active(Driver())

import biasgpu
from biasgpu import methods, priors
from biasgpu.architectures import lenet, mlp, resnet4
from biasgpu.engines import triton_ceilings, triton_screened
from biasgpu.engines.triton_batch_norm import TritonBatchNormEngine
from biasgpu.engines.triton_direct import TritonDirectEngine
from biasgpu.engines.triton_engine import TritonDeferredEngine
from biasgpu.ensemble import Ensemble
from biasgpu.kernels import (
    batch_norm_launch, ceilings, direct_launch, launch, tensor_plan, train_launch
)
from biasgpu.training.recipe import Recipe
from biasgpu.training.trainers import triton as trainer
from tests.direct_cases import small_lenet

found = {}

def compiled(kernel, on, grid):
    def started(*args, **options):
        done = kernel.warmup(*args, grid=grid, **options)
        found.setdefault(kernel.__name__, {})[done.hash] = done.metadata.maxnreg
    return started

class Grid:
    def __init__(self, kernel): self.kernel = kernel
    def __getitem__(self, grid): return compiled(self.kernel, None, grid)

for module in (launch, direct_launch, batch_norm_launch, train_launch):
    module._run = compiled
for name in ("_words_kernel", "_products_kernel"):
    setattr(ceilings, name, Grid(getattr(ceilings, name)))
triton_ceilings.interpreted = lambda: True  # for toy sizes
triton_screened.find_device = trainer.find_device = lambda _: torch.device("cpu")

def warm(kind, method, net, prior, x, y):
    task = biasgpu.Task("points", x, y, x[:2], y[:2], ("a", "b"))
    kind(methods.ensemble(method, task, net, priors.make(prior), 1), x, y).warm()

rng, y = np.random.default_rng(0), np.arange(6) % 2
x = rng.normal(size=(6, 1, 9, 7)).astype(np.float32)
warm(TritonDirectEngine, "direct", small_lenet(last_pool=True), "uniform", x, y)
warm(TritonDirectEngine, "direct", mlp(3, 1, bias="prior"), "uniform8", x, y)
images = (rng.integers(0, 256, (6, 1, 28, 28)) / 255.0).astype(np.float32)
warm(TritonDirectEngine, "direct", lenet("1/6", "2c-1f"), "uniform", images, y)  # patches
warm(TritonBatchNormEngine, "direct", resnet4("1/6", 2), "uniform", x, y)
pays, tensor_plan.pays = tensor_plan.pays, lambda *_, samples, **__: samples == 2
warm(TritonDirectEngine, "direct", mlp(4, 2), "uniform", x, y)
tensor_plan.pays = pays
x = rng.normal(size=(6, 2)).astype(np.float32)
warm(TritonDeferredEngine, "deferred", mlp(5, 1), "normal", x, y)
triton_ceilings.device_ceilings(torch.device("cpu"), 1)
ensemble = Ensemble(mlp(3, 1), priors.make("uniform"), (2,), 2, 1)
trainer.TritonTrainer(ensemble, x, y, Recipe(epochs=2)).train(np.arange(9, dtype=np.uint64))
print(json.dumps(found))
"""
KERNELS = {
    "_draw_kernel", "_convolution_kernel", "_pool_kernel", "_dense_kernel", "_decide_kernel",
    "_reject_kernel", "_gram_kernel", "_factor_kernel", "_outputs_kernel", "_check_kernel",
    "_train_kernel", "_words_kernel", "_products_kernel", "_product_kernel", "_digits_kernel",
    "_patches_kernel", "_parameters_kernel", "_images_kernel", "_settle_kernel", "_total_kernel",
    "_element_kernel", "_features_kernel",
}  # fmt: skip


@pytest.mark.slow
def test_every_launch_compiles_as_it_is_made() -> None:
    environment = {k: v for k, v in os.environ.items() if k != "TRITON_INTERPRET"}
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", CODE],
        capture_output=True, text=True, cwd=ROOT, env=environment,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads(done.stdout.splitlines()[-1])
    assert set(found) == KERNELS
    assert list(found["_train_kernel"].values()) == [80]  # registers: or it would spill
    # Other numbers than constants make no other kernel: each would be compiled anew.
    counts = [len(found[f"_{name}_kernel"]) for name in ("reject", "outputs", "pool", "words")]
    assert counts == [1, 2, 2, 1]
