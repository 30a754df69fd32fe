"""`didact pretrain`: a store, a family and an objective -> a run with checkpoints, and RUN/result.json at its end."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from didact import hub, objectives
from didact.config import ModelConfig
from didact.data import documents
from didact.data.store import Store
from didact.data.stored import SplitName
from didact.data.stream import Mixture, Source, Stream
from didact.errors import InputError, Paused
from didact.model import Model, Pretrained
from didact.objectives import Objective
from didact.runs import common
from didact.runs.build import batch_of, objective_of
from didact.runs.corpus import say
from didact.runs.models import models_of
from didact.runs.runfile import load_plugins, read
from didact.runs.schema import PretrainRun
from didact.runs.validation import FixedValidation
from didact.tokenization.tokenizer import Tokenizer
from didact.training.checkpoint import RunFolder
from didact.training.loop import fit
from didact.training.schedule import Budget
from didact.training.step import Step

SEQUENCES = 1024  # looked at before training for what is never asked


def pretrain_file(path: Path, changes: Sequence[str] = ()) -> Path:
    """Carry out the run file at `path`."""
    return pretrain(read(path, PretrainRun, changes))


def pretrain(run: PretrainRun) -> Path:
    """Train, or go on, or find the run finished. Returns RUN, which has no result.json where it was left at `until`.

    Raises InputError before any training starts where something does not fit together.
    """
    load_plugins(run.plugins)
    if common.finished(run.run) is not None:
        common.begin(run, run.inputs)
        say(f"{run.run} is finished; another folder (run=…) starts another run")
        return run.run
    parts = assemble(run)
    step = Step(parts.models, parts.objective)
    common.check_freeze(run, step)
    common.set_threads(run.hardware.threads)
    common.begin(run, run.inputs)
    validation = run.validation
    settings = common.settings_of(
        run,
        parts.budget,
        run.seed,
        until=run.until,
        workers=run.data.workers,
        evaluate_every=validation.every,
        save_every=run.checkpoints.every,
        best="loss" if parts.validation and parts.objective.comparable else "",
        patience=validation.patience,
    )
    export = common.exporter(
        lambda: replace(parts.pretrained, objective=objectives.to_json(parts.objective)),
        without=parts.objective.teachers,
    )
    try:
        result = fit(step, parts.stream, settings, RunFolder(run.run), parts.validation, export)
    except Paused as told:
        say(str(told))
        return run.run
    common.finish(
        run.run,
        {
            "steps": result.steps,
            "tokens": result.tokens,
            "seconds": result.seconds,
            "flops": result.flops,
            "stopped": result.stopped,
            "validation": dict(result.metrics),
            "best": result.best,
            "best_step": result.best_step,
        },
    )
    return run.run


@dataclass(frozen=True)
class Parts:
    """Everything a run is made of, checked against each other. models: by the names that the objective calls them,
    "main" is `pretrained`'s.
    """

    pretrained: Pretrained
    models: dict[str, Model]
    objective: Objective
    stream: Stream
    validation: FixedValidation | None
    budget: Budget
    stores: tuple[Store, ...]


def assemble(run: PretrainRun) -> Parts:
    """Build what the run file names. Raises InputError where its parts do not fit together."""
    stores, weights = open_stores(run)
    tokenizer = tokenizer_of(run, stores)
    objective = objective_of(run.objective, tokenizer)
    common.check_groups(run.batch, objective)
    pretrained, models = models_of(run, tokenizer, objective, stores)
    objective, longest = _fitted(run, objective, pretrained.model.config)
    common.check_batch(run.batch, max(longest, objective.most(run.data.length)))
    if run.validation.patience is not None and not objective.comparable:
        raise InputError(
            "validation.patience: this objective's questions change with what it has learned",
            expected="none: no loss says that it has stopped getting better",
        )
    train, held = (sources(run, stores, weights, objective, split) for split in ("train", "validation"))
    if train is None:
        raise InputError("data.train: no document for training", file=stores[0].folder)
    stream = Stream(
        train,
        objective,
        batch_of(run.batch),
        run.batch.micro_tokens,
        seed=run.seed,
        max_seqlen=longest,
        duplicates=run.data.duplicates,
    )
    _check_asked(stream, objective)
    v = run.validation
    validation = None
    if held is not None:
        validation = FixedValidation(held, objective, v.sequences, v.rates, v.seed, run.batch.micro_tokens)
    else:
        if v.patience is not None:
            raise InputError(
                f"validation.patience: found {v.patience}, and no document is held out",
                file=stores[0].folder,
                expected="none, or a store with some (`didact prepare --validation`)",
            )
        say("no document is held out: no validation (see `didact prepare --validation`)")
    return Parts(pretrained, models, objective, stream, validation, budget_of(run, len(train)), stores)


@torch.no_grad()
def before(run: PretrainRun) -> dict[str, float]:
    """The run's validation figures of the weights that it begins with, in float32; nothing where no document is held
    out. Raises what `assemble` does.
    """
    parts = assemble(run)
    return {} if parts.validation is None else dict(parts.validation(Step(parts.models, parts.objective).eval()))


def _check_asked(stream: Stream, objective: Objective) -> None:
    """Raises InputError where the first sequences are asked nothing at all; says what none of them is asked."""
    read, missing, steps = 0, set(objective.names), stream.look()
    while missing and read < SEQUENCES:
        batches = next(steps)
        missing -= {asked.name for batch in batches for asked in batch.labels if len(asked.rows)}
        read += sum(len(batch.inputs.packed.cu_seqlens) - 1 for batch in batches)
    if missing == set(objective.names):
        raise InputError(f"objective: the first {read:,} sequences are asked nothing", expected="questions")
    if missing:
        say(f"objective: none of the first {read:,} sequences is asked for {', '.join(sorted(missing))}")


def _fitted(run: PretrainRun, objective: Objective, config: ModelConfig) -> tuple[Objective, int]:
    """The objective as the model's decoder begins, where it has one, and the most rows of either side of a sequence.

    Raises InputError where sequences of the run's length become more rows than the model has positions, or the
    tokenizer has too few tokens to mark what is hidden of them, in training or in validation.
    """
    if config.decoder is not None:
        objective = objective.beginning(config.decoder.start)
    rates = run.validation.rates if objective.rated else ()
    each = [objective, *(objective.at_rate(rate) for rate in rates)]
    try:
        longest = max(one.rows_of(run.data.length) for one in each)
    except InputError as problem:
        raise InputError(f"objective: {problem}") from None
    if config.position.maximum is not None and longest > config.position.maximum:
        raise InputError(
            f"data.length: {run.data.length} tokens become up to {longest} as the objective corrupts them",
            expected=f"at most {config.position.maximum}, the model's positions",
        )
    return objective, longest


def open_stores(run: PretrainRun) -> tuple[tuple[Store, ...], tuple[float, ...]]:
    """The stores that the run reads, all made by one tokenizer, and their weights."""
    stores = tuple(Store(part.store) for part in run.data.stores)
    for store in stores[1:]:
        if store.fingerprint != stores[0].fingerprint:
            raise InputError(
                f"made by another tokenizer than {stores[0].folder}", file=store.folder, expected="one tokenizer"
            )
    return stores, tuple(part.weight for part in run.data.stores)


def tokenizer_of(run: PretrainRun, stores: Sequence[Store]) -> Tokenizer:
    """The tokenizer that made the stores; where the run file names one, it must be that."""
    tokenizer = stores[0].tokenizer
    if run.tokenizer is not None and Tokenizer.load(hub.fetch(run.tokenizer)).fingerprint != tokenizer.fingerprint:
        raise InputError(
            f"tokenizer: {run.tokenizer} did not make the store", file=stores[0].folder, expected="the one that did"
        )
    return tokenizer


def sources(
    run: PretrainRun, stores: Sequence[Store], weights: Sequence[float], objective: Objective, split: SplitName
) -> Source | Mixture | None:
    """Documents as sequences, of one split of all stores; None where no document belongs to it."""
    kinds = {cls.kind: cls for cls in documents.FORMATS}
    if run.data.format not in kinds:
        raise InputError(f"data.format: found {run.data.format!r}", expected=f"one of {', '.join(kinds)}")
    cls = kinds[run.data.format]
    try:
        relation = objective.relation or "none"
    except ValueError as problem:
        raise InputError(f"objective: {problem}") from None
    if (relation != "none" or objective.paired) and not cls.pairs:
        paired = ", ".join(kind for kind, other in kinds.items() if other.pairs)
        raise InputError(
            f"data.format: found {run.data.format!r}, and the objective asks about pairs", expected=f"one of {paired}"
        )
    found = [
        (cls(store, run.data.length, split, relation, objective.unrelated, objective.near, objective.paired), weight)
        for store, weight in zip(stores, weights, strict=True)
        if len(store.split(split))
    ]
    if not found:
        return None
    members = tuple(source for source, _ in found)
    for source in members:
        told = ", ".join(f"{count:,} {what}" for what, count in source.counts.items() if count)
        say(f"{source.store.folder} · {split}: {told}")
    if len(members) == 1:
        return members[0]
    if run.data.temperature is not None:
        return Mixture.tempered(members, run.data.temperature)
    return Mixture(members, tuple(weight for _, weight in found))


def budget_of(run: PretrainRun, examples: int) -> Budget:
    """How long: epochs become steps."""
    b = run.budget
    if b.epochs is None:
        return Budget(b.steps, b.tokens, b.minutes)
    amount, unit = run.batch.size
    if unit == "tokens":  # how many steps an epoch takes is known only once it is packed
        raise InputError("budget.epochs: with a batch in tokens", expected="budget.steps or budget.tokens")
    return Budget(steps=max(1, round(b.epochs * examples / amount)))
