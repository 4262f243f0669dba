"""biasgpu: draw networks from a prior, keep those that fit, and see how they generalise.

    import biasgpu as bg
    task = bg.task("mnist", classes=(7, 0), n_train=16, data_seed=200)
    run = bg.sample(task, bg.mlp(width=512, depth=2), prior="kaiming-normal", fits=1000, seed=0)
    run.fit_probability, run.test_accuracy, run[0].module()

Names are imported when they are first used, so that `import biasgpu` stays light.
"""

from __future__ import annotations

import importlib
import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from biasgpu import errors, experiments, figures, layers, measures, priors
    from biasgpu.architectures import Architecture, lenet, mlp, paper_mlp, resnet4
    from biasgpu.citations import citation
    from biasgpu.ensemble import Ensemble
    from biasgpu.errors import BiasgpuError
    from biasgpu.experiments import open_experiment, report, reproduce, run_definition
    from biasgpu.network import Network
    from biasgpu.reopen import open
    from biasgpu.run import Run
    from biasgpu.sampling import resume, sample, stream
    from biasgpu.study import Study, compare, family, open_study
    from biasgpu.task import Task
    from biasgpu.tasks import task, task_from_arrays
    from biasgpu.training import Trained, train

# Public name -> the module that has it; "" for a submodule.
_PLACES = {
    "Architecture": "biasgpu.architectures",
    "BiasgpuError": "biasgpu.errors",
    "Ensemble": "biasgpu.ensemble",
    "Network": "biasgpu.network",
    "Run": "biasgpu.run",
    "Study": "biasgpu.study",
    "Task": "biasgpu.task",
    "Trained": "biasgpu.training",
    "citation": "biasgpu.citations",
    "compare": "biasgpu.study",
    "errors": "",
    "experiments": "",
    "family": "biasgpu.study",
    "figures": "",
    "layers": "",
    "lenet": "biasgpu.architectures",
    "measures": "",
    "mlp": "biasgpu.architectures",
    "open": "biasgpu.reopen",
    "open_experiment": "biasgpu.experiments",
    "open_study": "biasgpu.study",
    "paper_mlp": "biasgpu.architectures",
    "resnet4": "biasgpu.architectures",
    "priors": "",
    "report": "biasgpu.experiments",
    "reproduce": "biasgpu.experiments",
    "resume": "biasgpu.sampling",
    "run_definition": "biasgpu.experiments",
    "sample": "biasgpu.sampling",
    "stream": "biasgpu.sampling",
    "task": "biasgpu.tasks",
    "task_from_arrays": "biasgpu.tasks",
    "train": "biasgpu.training",
}

__all__ = [
    "Architecture",
    "BiasgpuError",
    "Ensemble",
    "Network",
    "Run",
    "Study",
    "Task",
    "Trained",
    "__version__",
    "citation",
    "compare",
    "errors",
    "experiments",
    "family",
    "figures",
    "layers",
    "lenet",
    "measures",
    "mlp",
    "open",
    "open_experiment",
    "open_study",
    "paper_mlp",
    "priors",
    "report",
    "reproduce",
    "resnet4",
    "resume",
    "run_definition",
    "sample",
    "stream",
    "task",
    "task_from_arrays",
    "train",
]


class _Package(ModuleType):
    """This package: importing its submodule `task` does not hide its function `task`."""

    def __setattr__(self, name: str, value: Any) -> None:
        # The import system binds every submodule to its name here, also where that name is taken.
        if not (_PLACES.get(name) and isinstance(value, ModuleType)):
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(f"module 'biasgpu' has no attribute {name!r}")
    place = _PLACES[name]
    if place:
        value = getattr(importlib.import_module(place), name)
    else:
        value = importlib.import_module(f"biasgpu.{name}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
