"""What was typed, as tasks and architectures, and against what a file holds."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from biasgpu.errors import UsageError

if TYPE_CHECKING:
    from biasgpu.outcome import Outcome
    from biasgpu.run import Run
    from biasgpu.training.trained import Trained

TASK = ("data", "data_dir", "classes", "n_train", "data_seed", "selection", "source")
ARCHITECTURE = ("arch", "width", "depth", "head", "bias")


def refuse_beside_resume(given: dict[str, Any], command: str) -> None:
    """Refuse options that name another file.

    Raises:
        UsageError: says which.
    """
    for name, option in (("path", "-o"), ("overwrite", "--overwrite")):
        if given[name]:
            raise UsageError(
                f"{option} does not go with --resume.",
                why="--resume goes on with the file that it names.",
                fix=f"{command} --resume {given['resume']}",
            )


def drawn_file(path: str, instead: str) -> Run:
    """The run in a file.

    Args:
        path: the file.
        instead: the command to take for trained networks; {path} stands for the file.

    Raises:
        UsageError: it holds trained networks.
    """
    import biasgpu

    found = biasgpu.open(path)
    if isinstance(found, biasgpu.Trained):
        raise UsageError(
            f"{path} holds networks that were trained.",
            why="this command takes a run of drawn networks.",
            fix=instead.format(path=path),
        )
    return found


def trained_file(path: str) -> Trained:
    """The trained networks in a file.

    Raises:
        UsageError: it holds a run of drawn networks.
    """
    import biasgpu

    found = biasgpu.open(path)
    if not isinstance(found, biasgpu.Trained):
        raise UsageError(
            f"{path} holds networks that were drawn.",
            why="this command takes trained networks.",
            fix=f"biasgpu sample --resume {path}",
        )
    return found


def compared_settings(
    stored: Outcome, typed: dict[str, Any]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """The stored settings of task and architecture that were typed again, and what was typed."""
    from biasgpu import architectures

    old: dict[str, Any] = {}
    new: dict[str, Any] = {}
    if any(name in typed for name in TASK):
        config = stored.task.config
        again = given_task({name: typed.get(name, _stored_task(config, name)) for name in TASK})
        old["task"], new["task"] = {**config}, {**again.config}
        if old == new:
            old["task"]["checksum"] = stored.task.checksum
            new["task"]["checksum"] = again.checksum
    if any(name in typed for name in ARCHITECTURE):
        mine = stored.architecture
        same = typed.get("arch", mine.name) == mine.name
        again = architectures.make(
            typed.get("arch", mine.name),
            width=typed.get("width", mine.options.get("width") if same else None),
            depth=typed.get("depth", mine.options.get("depth") if same else None),
            head=typed.get("head", mine.head),
            bias=typed.get("bias", mine.bias),
        )
        old["architecture"], new["architecture"] = _short(mine), _short(again)
    return old, new


def _stored_task(config: dict[str, Any], name: str) -> Any:
    return config.get("name" if name == "data" else name)


def _short(architecture: Any) -> dict[str, Any]:
    config = architecture.to_config()
    return {**{key: config[key] for key in ("name", "head", "bias")}, **config["options"]}


def given_task(given: dict[str, Any]) -> Any:
    """The task that the options describe."""
    import biasgpu

    # The defaults of biasgpu.task hold for whatever is None.
    keys = {name: given[name] for name in TASK if name != "data" and given.get(name) is not None}
    return biasgpu.task(given["data"], **keys)


def given_architecture(given: dict[str, Any]) -> Any:
    """The architecture that the options describe."""
    from biasgpu import architectures

    options = {name: given[name] for name in ARCHITECTURE if name != "arch"}
    return architectures.make(given["arch"], **options)
