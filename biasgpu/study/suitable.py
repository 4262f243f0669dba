"""Whether a study can be made at all, found out before a folder is made for it."""

from __future__ import annotations

from collections.abc import Iterator

from biasgpu import methods, priors
from biasgpu.errors import BiasgpuError, UsageError
from biasgpu.study.definition import Study
from biasgpu.study.work import make_task
from biasgpu.task import Task


def check(study: Study, *, every: bool = False) -> None:
    """Refuse a study whose data are not to be had, or whose architectures do not suit them.

    Args:
        study: its first data seed that has a task stands for all.
        every: refuse one architecture that does not suit the data; else only where none does, for
            files that cannot be made do not stop the others.

    Raises:
        BiasgpuError: no data seed has a task.
        UsageError: an architecture is not for these data, or cannot be drawn or trained.
    """
    found = list(_unsuitable(study, _first_task(study)))
    wrong = [error for error in found if error is not None]
    if wrong and (every or len(wrong) == len(found)):
        raise wrong[0]


def _first_task(study: Study) -> Task:
    first: BiasgpuError | None = None
    for data_seed in study.data_seeds:
        try:
            return make_task(study, data_seed, study.n_train)
        except BiasgpuError as error:
            first = first or error
    assert first is not None  # a study has a data seed
    raise first


def _unsuitable(study: Study, task: Task) -> Iterator[UsageError | None]:
    """For each architecture, prior and initialisation what is wrong; None for nothing."""
    for architecture in study.architectures:
        for name, method in [
            *((prior, methods.AUTO) for prior in study.priors),
            *((init, "direct") for init in study.inits),
        ]:
            prior = priors.make(name)
            try:
                method = methods.choose(method, task, architecture, prior)
                methods.ensemble(method, task, architecture, prior, 0)
            except UsageError as error:
                yield UsageError(f"{architecture}: {error.what}", why=error.why, fix=error.fix)
            else:
                yield None
