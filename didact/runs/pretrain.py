"""`didact pretrain`: a store, a family and an objective -> a run with checkpoints, and RUN/result.json at its end."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from didact import hub, objectives
from didact.config import ModelConfig
from didact.data import documents
from didact.data.store import Store
from didact.data.stored import SplitName
from didact.data.stream import Mixture, Source, Stream
from didact.errors import InputError
from didact.exchange import keys
from didact.families import by_name
from didact.heads.vocabulary import VocabularyLayers
from didact.hub.grow import extend, missing_pieces, tile
from didact.model import Model, Pretrained
from didact.objectives import Objective
from didact.randomness import key
from didact.runs import common
from didact.runs.build import batch_of, changed, objective_of
from didact.runs.corpus import say
from didact.runs.runfile import load_plugins, read
from didact.runs.schema import ModelPart, PretrainRun
from didact.runs.validation import FixedValidation
from didact.tokenization.tokenizer import Tokenizer
from didact.training.checkpoint import RunFolder
from didact.training.loop import fit
from didact.training.schedule import Budget
from didact.training.step import Step


def pretrain_file(path: Path, changes: Sequence[str] = ()) -> Path:
    """Carry out the run file at `path`."""
    return pretrain(read(path, PretrainRun, changes))


def pretrain(run: PretrainRun) -> Path:
    """Train, or go on, or find the run finished. Returns RUN. Raises InputError before any training starts where
    something does not fit together.
    """
    load_plugins(run.plugins)
    if common.finished(run.run) is not None:
        common.begin(run)
        say(f"{run.run} is finished; another folder (run=…) starts another run")
        return run.run
    parts = assemble(run)
    common.set_threads(run.hardware.threads)
    common.begin(run)
    validation = run.validation
    result = fit(
        Step(parts.models, parts.objective),
        parts.stream,
        common.settings_of(
            run,
            parts.budget,
            run.seed,
            workers=run.data.workers,
            evaluate_every=validation.every,
            save_every=run.checkpoints.every,
            best="loss" if parts.validation else "",
            patience=validation.patience,
        ),
        RunFolder(run.run),
        parts.validation,
        common.exporter(lambda: replace(parts.pretrained, objective=objectives.to_json(parts.objective))),
    )
    from didact.training.flops import step_flops

    per_step = step_flops(parts.models, parts.stream[0])
    common.finish(
        run.run,
        {
            "steps": result.steps,
            "tokens": result.tokens,
            "seconds": result.seconds,
            "flops": per_step * result.steps,
            "stopped": result.stopped,
            "validation": dict(result.metrics),
            "best": result.best,
            "best_step": result.best_step,
        },
    )
    return run.run


@dataclass(frozen=True)
class Parts:
    """Everything a run is made of, checked against each other. teachers: by name, what the objective learns from."""

    pretrained: Pretrained
    teachers: Mapping[str, Model]
    objective: Objective
    stream: Stream
    validation: FixedValidation | None
    budget: Budget
    stores: tuple[Store, ...]

    @property
    def models(self) -> dict[str, Model]:
        """By the names that the objective calls them."""
        return {"main": self.pretrained.model, **self.teachers}


def assemble(run: PretrainRun) -> Parts:
    """Build what the run file names. Raises InputError where its parts do not fit together."""
    common.check_batch(run.batch, run.data.length)
    stores, weights = open_stores(run)
    tokenizer = tokenizer_of(run, stores)
    objective = objective_of(run.objective, tokenizer)
    pretrained = model_of(run, tokenizer, objective, stores)
    teachers = teachers_of(run, pretrained, objective)
    train, held = (sources(run, stores, weights, objective, split) for split in ("train", "validation"))
    if train is None:
        raise InputError("data.train: no document for training", file=stores[0].folder)
    stream = Stream(
        train,
        objective,
        batch_of(run.batch),
        run.batch.micro_tokens,
        seed=run.seed,
        max_seqlen=run.data.length,
    )
    v = run.validation
    validation = None
    if held is not None:
        validation = FixedValidation(held, objective, v.sequences, v.rates, v.seed, run.batch.micro_tokens)
    else:
        say("no document is held out: no validation (see `didact prepare --validation`)")
    return Parts(pretrained, teachers, objective, stream, validation, budget_of(run, len(train)), stores)


def open_stores(run: PretrainRun) -> tuple[tuple[Store, ...], tuple[float, ...]]:
    """The stores that the run reads, all made by one tokenizer, and their weights."""
    if isinstance(run.data.train, Path):
        return (Store(run.data.train),), (1.0,)
    stores = tuple(Store(part.store) for part in run.data.train)
    for store in stores[1:]:
        if store.fingerprint != stores[0].fingerprint:
            raise InputError(
                f"made by another tokenizer than {stores[0].folder}", file=store.folder, expected="one tokenizer"
            )
    return stores, tuple(part.weight for part in run.data.train)


def tokenizer_of(run: PretrainRun, stores: Sequence[Store]) -> Tokenizer:
    """The tokenizer that made the stores; where the run file names one, it must be that."""
    tokenizer = stores[0].tokenizer
    if run.tokenizer is not None and Tokenizer.load(hub.fetch(run.tokenizer)).fingerprint != tokenizer.fingerprint:
        raise InputError(
            f"tokenizer: {run.tokenizer} did not make the store", file=stores[0].folder, expected="the one that did"
        )
    return tokenizer


def model_of(run: PretrainRun, tokenizer: Tokenizer, objective: Objective, stores: Sequence[Store]) -> Pretrained:
    """Fresh weights of the family, or the checkpoint to be continued; with the heads that the objective asks."""
    generator = torch.Generator().manual_seed(key(run.seed, 1) % 2**63)
    if run.model.start is not None or run.model.start_tiled is not None:
        pretrained = _started(run.model, objective, tokenizer, generator)
        config = pretrained.model.config
    else:
        family = by_name(run.model.family)
        config = changed(family.base_for(tokenizer), run.model.changes, "model")
        if any(head.pools(config) for head in objective.heads.values()):
            config = keys.changed(config, {"pooler": True})
        pretrained = Pretrained(Model(config, objective.heads, generator), tokenizer, family.name)
        if run.model.start_thinned is not None:
            _take_layers(pretrained, run.model.start_thinned)
        elif run.model.vocabulary_bias == "frequencies":
            _count_words(pretrained, stores)
    if config.position.maximum is not None and run.data.length > config.position.maximum:
        raise InputError(
            f"data.length: found {run.data.length}",
            expected=f"at most {config.position.maximum}, the model's positions (model.position.maximum)",
        )
    if config.visibility != _visibility(objective):
        raise InputError(
            f"model.visibility: found {config.visibility!r}",
            expected=f"{_visibility(objective)}, as the objective trains it, or another objective",
        )
    _check_segments(config, objective, tokenizer)
    if config.vocabulary < tokenizer.vocabulary:
        raise InputError(
            f"model.vocabulary: found {config.vocabulary}", expected=f"{tokenizer.vocabulary} or more, the tokenizer's"
        )
    return pretrained


def teachers_of(run: PretrainRun, pretrained: Pretrained, objective: Objective) -> dict[str, Model]:
    """The models that the objective learns from, as their checkpoint has them."""
    if bool(run.teacher) != bool(objective.teachers):
        found, asked = run.teacher or "none", "one" if objective.teachers else "none"
        raise InputError(f"teacher: found {found}", expected=f"{asked}, for the objective asks {asked}")
    if run.teacher is None:
        return {}
    teacher = hub.load(run.teacher, objective.teachers_heads)
    if teacher.fresh:
        raise InputError(
            f"teacher: {run.teacher} has no {', '.join(teacher.fresh[:3])}", expected="a pre-trained model"
        )
    if teacher.tokenizer.fingerprint != pretrained.tokenizer.fingerprint:
        raise InputError(f"teacher: {run.teacher} has another tokenizer than the store", expected="one tokenizer")
    if teacher.maximum is not None and run.data.length > teacher.maximum:
        raise InputError(
            f"data.length: found {run.data.length}", expected=f"at most {teacher.maximum}, the teacher's positions"
        )
    widths = teacher.model.config.width, pretrained.model.config.width
    if "state" in objective.teachers_heads and widths[0] != widths[1]:
        raise InputError(
            f"teacher: {run.teacher} is {widths[0]} wide, the model {widths[1]}",
            expected="equal widths, or objective.distilled.cosine: 0",
        )
    return dict.fromkeys(objective.teachers, teacher.model)


def _take_layers(pretrained: Pretrained, name: str) -> None:
    """First weights out of a larger model."""
    larger = hub.load(name)
    if larger.tokenizer.fingerprint != pretrained.tokenizer.fingerprint:
        raise InputError(f"model.start_thinned: {name} has another tokenizer than the store", expected="one tokenizer")
    try:
        hub.take_layers(pretrained.model, larger.model)
    except InputError as problem:
        raise InputError(f"model.start_thinned: {problem}") from None


def _started(part: ModelPart, objective: Objective, tokenizer: Tokenizer, generator: torch.Generator) -> Pretrained:
    """The checkpoint to be continued, with more pieces where the store's tokenizer has them, or with larger sizes."""
    key, name = ("start", part.start) if part.start is not None else ("start_tiled", part.start_tiled)
    assert name is not None
    changes = dict(part.changes)
    own = Tokenizer.load(hub.fetch(name))
    other = own.fingerprint != tokenizer.fingerprint
    if other and missing_pieces(own, tokenizer) is None:
        raise InputError(
            f"model.{key}: {name} has another tokenizer than the store",
            expected="a store prepared with its tokenizer, or with that one and more pieces",
        )
    vocabulary = changes.pop("vocabulary", 0) if other else 0
    now = {} if part.start_tiled is not None else changes
    pretrained = hub.load(name, objective.heads, changes=now, generator=generator)
    if other:
        say(f"{name}: {tokenizer.vocabulary - own.vocabulary:,} new pieces begin as the mean of those that write them")
        pretrained = extend(pretrained, tokenizer, vocabulary)
    return pretrained if part.start_tiled is None else tile(pretrained, changes, generator)


def _visibility(objective: Objective) -> str:
    try:
        return objective.visibility
    except ValueError as problem:
        raise InputError(f"objective: {problem}") from None


def _check_segments(config: ModelConfig, objective: Objective, tokenizer: Tokenizer) -> None:
    """An objective with more segments than two tells its parts apart by them."""
    if objective.segments <= 2:
        return
    if config.segments < objective.segments:
        raise InputError(
            f"model.segments: found {config.segments}", expected=f"{objective.segments}, which the objective uses"
        )
    if len({segment for _, segment in tokenizer.template.pair}) < 2:
        raise InputError("the tokenizer puts both texts of a pair into one segment", expected="[CLS] a [SEP] b [SEP]")


def _count_words(pretrained: Pretrained, stores: Sequence[Store]) -> None:
    """The vocabulary head's bias as the frequencies of the training split."""
    counts = torch.zeros(pretrained.model.config.vocabulary)
    for store in stores:
        found = torch.from_numpy(store.token_counts("train")).float()
        counts[: len(found)] += found
    for layers in pretrained.model.heads.values():
        if isinstance(layers, VocabularyLayers):
            layers.start(counts)


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
    if relation != "none" and not cls.pairs:
        paired = ", ".join(kind for kind, other in kinds.items() if other.pairs)
        raise InputError(
            f"data.format: found {run.data.format!r}, and the objective asks about pairs", expected=f"one of {paired}"
        )
    found = [
        (cls(store, run.data.length, split, relation, objective.unrelated), weight)
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
