"""What pre-training and fine-tuning share: the loop's settings from a run file, the result file, the model exported."""

from __future__ import annotations

import importlib.util
import json
import math
import os
import shlex
import sys
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any, cast

from torch import nn

from didact.data.files import make_folder
from didact.data.parallel import sides
from didact.data.store import write_aside
from didact.data.stored import META, sha256
from didact.errors import InputError
from didact.hub import export
from didact.hub.fetch import shape_in, weights_in
from didact.model import Model, Pretrained
from didact.objectives import Objective
from didact.runs.runfile import begun_with, dump, resolved
from didact.runs.schema import BatchPart, Input, Run, Shape
from didact.training.optim import AdamW
from didact.training.schedule import Budget, Schedule
from didact.training.settings import Settings

RESULT = "result.json"
RUN_FILE = "run.yaml"


def settings_of(run: Run, budget: Budget, seed: int, **more: Any) -> Settings:
    """The loop's settings as the run file has them; `more`: those that only one kind of run has."""
    o, s, h = run.optimizer, run.schedule, run.hardware
    return Settings(
        budget=budget,
        optimizer=AdamW(o.learning_rate, o.betas, o.eps, o.weight_decay, o.layer_decay, o.freeze),
        schedule=Schedule(s.kind, s.warmup, s.decay, s.floor),
        clip=o.clip or None,
        seed=seed,
        device=h.device,
        precision=h.precision,
        kernel=h.kernel,
        compile=h.compile,
        parallel=h.parallel,
        deterministic=h.deterministic,
        keep=run.checkpoints.keep,
        trackers=recorded(run.record),
        log_every=run.log_every,
        quiet=run.quiet,
        again=again(),
        **more,
    )


def recorded(names: tuple[str, ...]) -> tuple[str, ...]:
    """The trackers that are asked for, and TensorBoard where it is installed: it needs no account and no network."""
    if "tensorboard" in names or importlib.util.find_spec("tensorboard") is None:
        return names
    return ("tensorboard", *names)


def again() -> str:
    """The command that goes on with this run: the one that was given."""
    program, *rest = sys.argv or ["didact"]
    name = "didact" if Path(program).name in ("didact", "__main__.py") else Path(program).name
    return shlex.join([name, *rest])


def set_threads(threads: int | None) -> None:
    """How many threads torch computes with, where the run file says."""
    import torch

    if threads is not None:
        torch.set_num_threads(threads)


def check_batch(batch: BatchPart, length: int) -> None:
    """A micro-batch must hold at least one sequence, or one group of those that are asked together."""
    if batch.micro_tokens < length:
        raise InputError(
            f"batch.micro_tokens: found {batch.micro_tokens}", expected=f"at least {length}, the length of a sequence"
        )


def check_groups(batch: BatchPart, objective: Objective) -> None:
    """A step must be whole groups of examples that are asked together."""
    amount, unit = batch.size
    sizes = [amount, *(size for _, size in batch.warmup)]
    if objective.group > 1 and (unit == "tokens" or any(size % objective.group for size in sizes)):
        raise InputError(
            f"batch: steps of {', '.join(map(str, sizes))} {unit}",
            expected=f"multiples of {objective.group} sequences, which the objective asks together",
        )


def check_freeze(run: Run, step: nn.Module) -> None:
    """The layers that are to stay as they are must be there, and others be left. Asked before a folder is begun, which
    would take no other number afterwards.
    """
    try:
        AdamW(freeze=run.optimizer.freeze).kept(step)
    except ValueError as problem:
        raise InputError(f"optimizer.freeze: {problem}", expected="fewer, or null") from None


def able_to_write(model: Pretrained) -> Pretrained:
    """The model with what makes it write."""
    from didact.generation import WRITER

    return replace(model, writer=WRITER)


def exporter(
    pretrained: Callable[[], Pretrained], without: Collection[str] = ()
) -> Callable[[Path, Mapping[str, nn.Module]], None]:
    """What the loop calls to write a checkpoint's model: the main one, with its tokenizer, as others read it, and the
    models that are trained beside it in folders of their names. without: the names of those that are not (teachers).
    """

    def write(folder: Path, models: Mapping[str, nn.Module]) -> None:
        main = replace(pretrained(), model=cast(Model, models["main"]))
        companions = {
            name: Pretrained(cast(Model, model), main.tokenizer, main.family)
            for name, model in models.items()
            if name not in ("main", *without)
        }
        export(replace(main, companions=companions), folder)

    return write


def finished(folder: Path) -> dict[str, Any] | None:
    """The result of a run that has ended, None of one that has not."""
    path = folder / RESULT
    return heard(json.loads(path.read_text(encoding="utf-8"))) if path.is_file() else None


def first() -> bool:
    """Whether this process is the one that writes: the only one, or the first that torchrun started."""
    return os.environ.get("RANK", "0") == "0"


def finish(folder: Path, result: Mapping[str, Any]) -> None:
    """Write result.json, whole or not at all: from then on the run is finished."""
    if first():
        write_aside(folder / RESULT, json.dumps(spoken(result), indent=2, ensure_ascii=False) + "\n")


def spoken(value: Any) -> Any:
    """A result as JSON can say it: null for what is not a number."""
    if isinstance(value, Mapping):
        return {name: spoken(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [spoken(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


SCORED = {"dev", "test", "validation", "learning_rates"}
"""keys of a result whose values are scores by name"""


def heard(value: Any, scores: bool = False) -> Any:
    """A result as it was before `spoken`: null is not a number where a score stands, and nothing elsewhere."""
    if isinstance(value, dict):
        said = {name: heard(inner, name in SCORED) for name, inner in value.items()}
        return {name: math.nan if scores and inner is None else inner for name, inner in said.items()}
    return [heard(inner) for inner in value] if isinstance(value, list) else value


INPUTS = "inputs.json"
FREE = frozenset({"run", "hardware", "checkpoints", "record", "log_every", "quiet", "plugins", "until"})
"""keys that may change between two starts of a run: its folder may be moved, and named in another way"""


def begin(run: Run, inputs: Sequence[Input] = ()) -> None:
    """Write the resolved run file, and what `inputs` hold (data files, stores, checkpoints). A folder begun with other
    settings or other inputs is refused, since its results would be mixed, or not those of these; one in which nothing
    but these stands takes others. Inputs that are no longer here are not missed.
    """
    make_folder(run.run)
    path, data = run.run / RUN_FILE, run.run / INPUTS
    digests = {str(path): digest for path in inputs if (digest := _digest(path))}
    known = _known(run.run)
    if path.is_file() and has_begun(run.run):
        before = begun_with(run, path)
        for name, value in resolved(run).items():
            if name not in FREE and before.get(name) != value:
                where, was, now = apart(name, before.get(name), value)
                raise InputError(
                    f"{where}: this run was begun with {was!r}, now {now!r}",
                    file=path,
                    expected="the same, or another folder (run=…)",
                )
        check_inputs(run.run, inputs)
        digests = known or digests
    if first():
        write_aside(path, dump(run))
        if digests != known:
            write_aside(data, json.dumps(digests, indent=2, ensure_ascii=False) + "\n")


def check_inputs(folder: Path, inputs: Sequence[Input]) -> None:
    """InputError where one of the inputs is not what the run in `folder` was begun with."""
    known = _known(folder)
    for path in inputs:
        digest = _digest(path)
        if digest and known.get(str(path), digest) != digest:
            raise InputError(
                f"not what this run ({folder}) was begun with",
                file=str(path),
                expected="the same content, or another folder for the run",
            )


def _known(folder: Path) -> dict[str, str]:
    data = folder / INPUTS
    return json.loads(data.read_text(encoding="utf-8")) if data.is_file() else {}


def has_begun(folder: Path) -> bool:
    """Whether a run's folder holds more than what is written before it begins."""
    return folder.is_dir() and any(file.name not in (RUN_FILE, INPUTS) for file in folder.iterdir())


def apart(name: str, before: Any, now: Any) -> tuple[str, Any, Any]:
    """The first key below `name` at which two settings differ, and both values of it."""
    if isinstance(before, Mapping) and isinstance(now, Mapping):
        for key in {**before, **now}:
            if before.get(key) != now.get(key):
                return apart(f"{name}.{key}", before.get(key), now.get(key))
    return name, before, now


def _digest(path: Input) -> str:
    """What a file holds, the files of a path with braces, a checkpoint's weights or shape, or a store, whose meta data
    holds its files' sums; "" of what does not lie here.
    """
    if isinstance(path, Shape):
        files = shape_in(path.start)
    else:
        files = sides(path) or (Path(path).expanduser(),)
        if len(files) == 1 and not files[0].is_file():
            files = (files[0] / META,) if (files[0] / META).is_file() else weights_in(path)
    if not files or not all(file.is_file() for file in files):
        return ""
    return " ".join(_sum(file, file.stat().st_size, file.stat().st_mtime_ns) for file in files)


@cache
def _sum(file: Path, size: int, changed: int) -> str:  # noqa: ARG001
    """Asked often of the same file: a grid's cells read the same data."""
    return sha256(file)
