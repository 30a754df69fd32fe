"""The models of a pre-training run: how their weights begin, and what goes with what."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch

from didact import hub
from didact.config import ModelConfig
from didact.data.store import Store
from didact.errors import InputError
from didact.exchange import keys
from didact.families import by_name
from didact.heads.vocabulary import VocabularyLayers
from didact.hub.alike import UNTOLD, check_goes_on, unlike
from didact.hub.checkpoint import open_checkpoint
from didact.hub.grow import extend, missing_pieces, tile, transfer, written_with
from didact.model import Model, Pretrained, beside
from didact.nn import cores
from didact.objectives import Objective
from didact.objectives.base import Companion
from didact.randomness import key
from didact.runs.build import changed
from didact.runs.corpus import say
from didact.runs.schema import ModelPart, PretrainRun
from didact.tokenization.tokenizer import Tokenizer

DEFAULT = "bert"  # family of a fresh model of which nothing is said


def models_of(
    run: PretrainRun, tokenizer: Tokenizer, objective: Objective, stores: Sequence[Store]
) -> tuple[Pretrained, dict[str, Model]]:
    """Fresh weights of the family, or those of the checkpoint that the run starts from, with the heads that the
    objective asks; and all models of the run by the names that the objective calls them: "main", those trained beside
    it, those that it learns from.
    """
    generator = torch.Generator().manual_seed(key(run.seed, 1) % 2**63)
    if (run.model.continued or run.model.start_tiled) is not None:
        pretrained = _started(run.model, objective, tokenizer, generator)
        config = pretrained.model.config
    else:
        family = by_name(run.model.family or DEFAULT)
        config = changed(family.base_for(tokenizer), run.model.changes, "model")
        if any(head.pools(config) for head in objective.heads.values()):
            config = keys.changed(config, {"pooler": True})
        try:
            model = Model(config, objective.heads, generator)
        except ValueError as problem:
            raise InputError(f"model: {problem}") from None
        pretrained = Pretrained(model, tokenizer, family.name)
        if run.model.start_thinned is not None:
            _take_layers(pretrained, run.model.start_thinned)
    _check(run, pretrained, objective, tokenizer)
    given = {} if run.model.start is None else _companions(run.model.start, objective, config, tokenizer)
    for part in run.model.starts.keys() - {"start"}:
        for name in _wanted(objective, config):
            say(f"model.{part}: the {name} is not {part.removeprefix('start_')}; it begins anew")
    models = beside(pretrained.model, objective, generator, given)
    for model in models.values():
        model.core.embedding.spell(tokenizer.tokens(range(model.config.vocabulary)))
    if run.model.vocabulary_bias == "frequencies":
        for model in models.values():
            _count_words(model, stores)
    return pretrained, models | _teachers(run, pretrained, objective)


def _check(run: PretrainRun, pretrained: Pretrained, objective: Objective, tokenizer: Tokenizer) -> None:
    """Raises InputError where model, objective, tokenizer and data do not go together."""
    config = pretrained.model.config
    check_streams(config, objective)
    if config.position.maximum is not None and run.data.length > config.position.maximum:
        raise InputError(
            f"data.length: found {run.data.length}",
            expected=f"at most {config.position.maximum}, the model's positions (model.position.maximum)",
        )
    visibility = _visibility(objective)
    if visibility is not None and config.visibility != visibility:
        raise InputError(
            f"model.visibility: found {config.visibility!r}",
            expected=f"{visibility}, as the objective trains it, or another objective",
        )
    if objective.dropout and not (config.dropout or config.attention_dropout):
        raise InputError(
            "model.dropout: found 0, and the objective learns from what dropout changes", expected="above 0"
        )
    if objective.queries and not config.queries:
        raise InputError(
            f"objective: asks query rows, and model.queries is false in {pretrained.family}",
            expected="model.family: xlnet, or model.queries: true",
        )
    if objective.decoder != (config.decoder is not None):
        has, wants = ("no", "one with a decoder (t5, bart)") if objective.decoder else ("a", "one without")
        raise InputError(
            f"model: {pretrained.family} has {has} decoder",
            expected=f"{wants}, as the objective asks, or another objective",
        )
    _check_segments(config, objective, tokenizer)
    if config.vocabulary < tokenizer.vocabulary:
        raise InputError(
            f"model.vocabulary: found {config.vocabulary}", expected=f"{tokenizer.vocabulary} or more, the tokenizer's"
        )


def check_streams(config: ModelConfig, objective: Objective, whose: str = "objective") -> None:
    """Raises InputError where the core has not what the questions are put to, or does not see as they are meant.
    whose: what the message begins with.
    """
    streams = cores.entry(config.core).streams
    if missing := [stream for stream in objective.streams if stream not in streams]:
        raise InputError(
            f"{whose}: it asks the {' and '.join(missing)} stream, and a {config.core} core has none",
            expected="model.family: elmo, or model.core: opposed",
        )
    if objective.ranked and streams["main"] is not None:
        raise InputError(
            f"{whose}: it says who sees whom, and the rows of a {config.core} core see by a rule of their own",
            expected="model.core: transformer",
        )


def _started(part: ModelPart, objective: Objective, tokenizer: Tokenizer, generator: torch.Generator) -> Pretrained:
    """The checkpoint to be continued, with more pieces where the store's tokenizer has them, with other pieces, or
    with larger sizes.
    """
    ((key, name),) = part.starts.items()
    found = open_checkpoint(hub.fetch(name))
    family = _family(part, name, found.family.name)
    own = Tokenizer.load(found.folder)
    other = own.fingerprint != tokenizer.fingerprint
    changes, rows = dict(part.changes), None
    if other and part.start_transferred is None:
        try:
            new = missing_pieces(own, tokenizer)
        except InputError as problem:
            raise InputError(
                f"model.{key}: the store has {problem.found}",
                expected=f"a store prepared with the tokenizer of {name}, or with that one and more pieces, or "
                f"model.start_transferred: {name}",
            ) from None
        say(f"{name}: {len(new):,} new pieces begin as the mean of those that write them")
    if other and "vocabulary" in changes:
        rows = changed(ModelConfig(), {"vocabulary": changes.pop("vocabulary")}, "model").vocabulary
    config = changed(found.model, changes, "model")
    changes = {field: getattr(config, field) for field in changes}
    if part.start_tiled is None:
        check_goes_on(config, found.model, name)
    if part.start_transferred is not None:
        if not other:
            raise InputError(f"model.{key}: {name} has the store's tokenizer", expected=f"model.start: {name}")
        say(f"{name}: {_transferred(own, tokenizer)}")
    now = {} if part.start_tiled is not None else changes
    pretrained = replace(hub.load(name, objective.heads, changes=now, generator=generator), family=family)
    if pretrained.fresh:
        parts = dict.fromkeys(part.rpartition(".")[0] for part in pretrained.fresh)
        say(f"model.{key}: {name} has nothing for {', '.join(parts)}, which begin anew")
    if pretrained.unused:
        parts = dict.fromkeys(part.rpartition(".")[0] for part in pretrained.unused)
        say(f"model.{key}: nobody asks {', '.join(parts)} of {name}, which are left out")
    if other:
        pretrained = (extend if part.start_transferred is None else transfer)(pretrained, tokenizer, rows)
    return pretrained if part.start_tiled is None else tile(pretrained, changes, generator)


def _transferred(old: Tokenizer, new: Tokenizer) -> str:
    """How much of what was learned of pieces goes over."""
    made_of = [len(parts) for parts in written_with(old, new)]
    one, none = made_of.count(1), made_of.count(0)
    several = len(made_of) - one - none
    return f"{one:,} pieces are known, {several:,} begin as the mean of those that write them, {none:,} as that of all"


def _family(part: ModelPart, name: str, found: str) -> str:
    """The start's family, or the one that was said: one whose checkpoints are the start's family's to others (UniLM's
    are BERT's) begins from its models.
    """
    said = found if part.family is None else by_name(part.family).name
    if found not in (said, by_name(said).model_type):
        raise InputError(f"model.family: found {said}", expected=f"{found}, which {name} is, or none")
    return said


def _companions(start: str, objective: Objective, config: ModelConfig, tokenizer: Tokenizer) -> dict[str, Model]:
    """Of those that the objective wants, the ones that lie in the checkpoint, with as many pieces as the main model."""
    found: dict[str, Model] = {}
    for name, wanted in _wanted(objective, config).items():
        folder = hub.fetch(start) / name
        if folder.is_dir():
            settings = keys.config_to_json(wanted.config)
            if Tokenizer.load(folder).fingerprint == tokenizer.fingerprint:
                found[name] = hub.load(folder, wanted.heads, changes=settings).model
            else:
                settings |= {"vocabulary": open_checkpoint(folder).model.vocabulary}
                companion = hub.load(folder, wanted.heads, changes=settings)
                found[name] = extend(companion, tokenizer, config.vocabulary).model
            check_goes_on(wanted.config, open_checkpoint(folder).model, str(folder), name)
        else:
            say(f"model.start: {start} has no {name}; it begins anew")
    return found


def _wanted(objective: Objective, config: ModelConfig) -> Mapping[str, Companion]:
    """The models that the objective trains beside such a main one. Raises InputError where none goes with it."""
    try:
        return objective.companions(config)
    except ValueError as problem:
        raise InputError(f"objective: {problem}") from None


def _take_layers(pretrained: Pretrained, name: str) -> None:
    """First weights out of a larger model."""
    larger = hub.load(name)
    if larger.tokenizer.fingerprint != pretrained.tokenizer.fingerprint:
        raise InputError(f"model.start_thinned: {name} has another tokenizer than the store", expected="one tokenizer")
    ours, theirs = pretrained.model.config, larger.model.config
    learned = [*UNTOLD, "gated", "visibility", "position.theta", "position.local_theta"]
    for field, here, there in unlike(ours, theirs, learned):
        raise InputError(f"model.start_thinned: {name} has {field} {there}", expected=f"{here}, as model.{field} is")
    try:
        fresh = hub.take_layers(pretrained.model, larger.model)
    except InputError as problem:
        raise InputError(f"model.start_thinned: {problem}") from None
    if fresh:
        say(f"model.start_thinned: {name} has nothing for {', '.join(fresh)}, which begin anew")


def _teachers(run: PretrainRun, pretrained: Pretrained, objective: Objective) -> dict[str, Model]:
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
    seeing = teacher.model.config.visibility, pretrained.model.config.visibility
    if seeing[0] != seeing[1]:  # what follows would be taught where what is hidden is asked
        raise InputError(
            f"teacher: {run.teacher} is {seeing[0]} in what it sees, the model {seeing[1]}", expected="equal visibility"
        )
    _check_teacher(run.teacher, teacher.model.config, objective)
    widths = teacher.model.config.width, pretrained.model.config.width
    if "state" in objective.teachers_heads and widths[0] != widths[1]:
        raise InputError(
            f"teacher: {run.teacher} is {widths[0]} wide, the model {widths[1]}",
            expected="equal widths, or objective.distilled.cosine: 0",
        )
    return dict.fromkeys(objective.teachers, teacher.model)


def _check_teacher(name: str, config: ModelConfig, objective: Objective) -> None:
    """Raises InputError where the teacher cannot read what the objective writes."""
    if config.decoder is not None:
        raise InputError(f"teacher: {name} has a decoder, which answers", expected="one that answers for what it reads")
    if objective.queries and not config.queries:
        raise InputError(f"teacher: {name} has no query rows, which the objective asks", expected="one that has")
    if objective.segment_ids > 2 and config.segments < objective.segment_ids:
        raise InputError(
            f"teacher: {name} knows {config.segments} segments",
            expected=f"{objective.segment_ids}, which the objective uses",
        )
    check_streams(config, objective, f"teacher: {name}")


def _visibility(objective: Objective) -> str | None:
    try:
        return objective.visibility
    except ValueError as problem:
        raise InputError(f"objective: {problem}") from None


def _check_segments(config: ModelConfig, objective: Objective, tokenizer: Tokenizer) -> None:
    """An objective with more segments than two tells its parts apart by them; what the tokenizer puts into one, a model
    that reads segments must have.
    """
    check_template(config, tokenizer)
    if objective.segment_ids <= 2:
        return
    if config.segments < objective.segment_ids:
        raise InputError(
            f"model.segments: found {config.segments}", expected=f"{objective.segment_ids}, which the objective uses"
        )
    if len({segment for _, segment in tokenizer.template.pair}) < 2:
        raise InputError("the tokenizer puts both texts of a pair into one segment", expected="[CLS] a [SEP] b [SEP]")


def check_template(config: ModelConfig, tokenizer: Tokenizer) -> None:
    """Raises InputError where the tokenizer puts rows into a segment that a model with a table of them has not."""
    used = 1 + max(segment for _, segment in (*tokenizer.template.single, *tokenizer.template.pair))
    if 1 < config.segments < used:  # a model of one reads every row as that one
        raise InputError(f"model.segments: found {config.segments}", expected=f"{used}, which the tokenizer uses")


def _count_words(model: Model, stores: Sequence[Store]) -> None:
    """The vocabulary head's bias as the frequencies of the training split."""
    counts = torch.zeros(model.config.vocabulary)
    for store in stores:
        found = torch.from_numpy(store.token_counts("train")).float()
        counts[: len(found)] += found
    for layers in model.heads.values():
        if isinstance(layers, VocabularyLayers):
            layers.start(counts)
