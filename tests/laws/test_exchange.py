"""Every family's tables: one rule a tensor, bytes and names kept, whatever does not fit said, not guessed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from didact import hub
from didact.config import ModelConfig
from didact.errors import InputError
from didact.exchange import keys, rules
from didact.families import FAMILIES, Family
from didact.heads import (
    HEADS,
    Choice,
    Classes,
    EmbeddingHead,
    Gate,
    Head,
    Matching,
    PairRelation,
    Projection,
    Replacement,
    Span,
    State,
    Vocabulary,
)
from didact.hub import weights
from didact.hub.checkpoint import shapes_of, theirs

EVERY = pytest.mark.parametrize("family", FAMILIES, ids=lambda f: f.name)
HEAD_SETS: dict[str, dict[str, Head]] = {
    "none": {},
    "vocabulary": {"vocabulary": Vocabulary()},
    "pre-training": {"vocabulary": Vocabulary(), "pair_relation": PairRelation()},
    "relation": {"pair_relation": PairRelation()},
    "classes": {"label": Classes(3, names=("no", "maybe", "yes"))},
    "classes of the mean": {"label": Classes(3, pooling="mean")},
    "classes of the first": {"label": Classes(3, pooling="first")},
    "classes of the last": {"label": Classes(3, pooling="last")},
    "choice of the last": {"choice": Choice(pooling="last")},
    "several labels": {"topics": Classes(4, "multiple")},
    "regression": {"score": Classes(1, "regression")},
    "tags": {"tags": Classes(3, pooled=False)},
    "matching": {"label": Matching(3, names=("no", "maybe", "yes"))},
    "span": {"span": Span()},
    "choice": {"choice": Choice(dropout=0.2)},
    "embedding": {"embedding": EmbeddingHead()},
    "copying": {"vocabulary": Vocabulary(), "gate_state": Gate(), "gate_read": Gate(bias=False)},
    "contrastive": {"embedding": EmbeddingHead("cls"), "projection": Projection()},
    "distilled": {"vocabulary": Vocabulary(), "state": State()},
    "replaced": {"replaced": Replacement()},
    "one of everything": {
        "choice": Choice(),
        "first": Classes(3),
        "second": Classes(2),
        "tags": Classes(5, pooled=False),
        "vocabulary": Vocabulary(),
        "span": Span(),
        "embedding": EmbeddingHead(),
        "pair_relation": PairRelation(),
        "replaced": Replacement(),
    },
}
WITH_HEADS = pytest.mark.parametrize("heads", HEAD_SETS.values(), ids=HEAD_SETS)
TIED = pytest.mark.parametrize("tied", [True, False], ids=["tied", "untied"])


def tiny(family: Family, heads: dict[str, Head] | None = None, tied: bool = True) -> ModelConfig:
    """The family's settings at a size of nothing, with a pooler where these heads read one."""
    base = family.base
    sizes: dict[str, Any] = {"vocabulary": 11, "width": 8, "layers": 2, "feedforward": 32, "tied": tied}
    sizes |= {"heads": min(2, base.heads), "position.maximum": None if base.position.maximum is None else 6}
    sizes |= {"pooler": base.pooler or any(head.pools(base) for head in (heads or {}).values())}
    if base.decoder is not None:  # of other sizes than the encoder, where the family's keys can say so
        sizes |= {"decoder.layers": 3, "head_width": None if base.head_width is None else 4}
        own = {"decoder.heads": 1, "decoder.feedforward": 24}
        sizes |= {} if family.unsupported(keys.changed(base, own)) else own
    if base.characters.filters:  # which have no table to be tied to
        sizes |= {"characters.filters": () if tied else ((1, 2), (2, 3)), "output.transform": tied}
    return keys.changed(base, sizes)


def spoken(family: Family, heads: dict[str, Head]) -> dict[str, Head]:
    """The heads that the family's class has, without the dropout of those that its config.json cannot say it of, and
    with what the class always asks called by the name for that.
    """
    said = {}
    for name, head in heads.items():
        if head.slot in family.architecture(heads).slots and family.says(head):
            mute = isinstance(head, Choice) and head.slot not in family.dropouts
            said[name] = replace(head, dropout=None) if mute else head
            if isinstance(head, Choice | Classes) and head.pooling == family.asked.row:
                said[name] = replace(said[name], pooling="cls")
    return said


def state_of(config: ModelConfig, heads: dict[str, Head], dtype: torch.dtype = torch.float32) -> dict[str, Tensor]:
    """Random parameters of such a model."""
    generator = torch.Generator().manual_seed(0)
    return {name: torch.randn(s, generator=generator).to(dtype) for name, s in shapes_of(config, heads).items()}


def table(family: Family, config: ModelConfig, heads: dict[str, Head]) -> tuple[rules.Rule, ...]:
    return family.rules(shapes_of(config, heads), heads, config.tied)


def test_every_head_is_in_some_set() -> None:
    assert {type(h) for heads in HEAD_SETS.values() for h in heads.values()} == set(HEADS)


@TIED
@WITH_HEADS
@EVERY
def test_every_tensor_has_one_rule(family: Family, heads: dict[str, Head], tied: bool) -> None:
    config = tiny(family, heads, tied)
    chosen = table(family, config, heads)
    assert sorted(rule.ours for rule in chosen) == sorted(shapes_of(config, heads))
    written = [name for rule in chosen for name in rule.theirs + rule.dead]
    assert len(set(written)) == len(written)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16, torch.float64], ids=str)
@TIED
@WITH_HEADS
@EVERY
def test_there_and_back(family: Family, heads: dict[str, Head], tied: bool, dtype: torch.dtype) -> None:
    """Ours -> theirs -> ours, and their names and bytes once more."""
    config = tiny(family, heads, tied)
    state = state_of(config, heads, dtype)
    out = theirs(family, config, heads, state)
    back = rules.read(out, family.names, table(family, config, heads))
    assert back.missing == back.unused == ()
    assert back.tensors.keys() == state.keys()
    for name, tensor in state.items():
        assert back.tensors[name].dtype == dtype
        assert torch.equal(back.tensors[name], tensor)
    again = theirs(family, config, heads, back.tensors)
    assert again.keys() == out.keys()
    assert all(torch.equal(again[name], out[name]) for name in out)


@EVERY
def test_files_there_and_back(family: Family, tmp_path: Path) -> None:
    """`convert`: a folder without a word of ours -> our own form -> theirs, with all its tensors' bytes."""
    heads = spoken(family, HEAD_SETS["vocabulary"])
    config = tiny(family, heads)
    out = theirs(family, config, heads, state_of(config, heads))
    (tmp_path / "theirs").mkdir()
    weights.write(out, tmp_path / "theirs")
    weights.write_json(family.write_config(config, heads, {}), tmp_path / "theirs" / "config.json")
    hub.convert(tmp_path / "theirs", tmp_path / "own")
    hub.convert(tmp_path / "own", tmp_path / "back")
    back = weights.read(tmp_path / "back")
    assert back.keys() == out.keys()
    assert all(torch.equal(back[name], out[name]) for name in out)


@WITH_HEADS
@EVERY
def test_the_heads_of_a_file_are_told_by_its_tensors(family: Family, heads: dict[str, Head]) -> None:
    """Without anything but what transformers writes: architectures, id2label and the tensors."""
    named = spoken(family, heads)
    config = tiny(family, named)
    out = theirs(family, config, named, state_of(config, named))
    said = family.write_config(config, named, {})
    found = family.read_heads(said, out, "config.json")
    assert sorted(h.slot for h in found.values()) == sorted(family.architecture(heads).slots)
    assert set(found.values()) == set(named.values())
    read = family.read_config(said, out, "config.json")
    # A pooler that is no layer (GPT-2's) leaves nothing in the file: that there is one is told by the heads.
    pooler = read.pooler or any(head.pools(read) for head in found.values())
    assert keys.changed(read, {"pooler": pooler}) == config


@EVERY
def test_missing_and_unknown_names_are_listed(family: Family) -> None:
    config, heads = tiny(family), HEAD_SETS["vocabulary"]
    chosen = table(family, config, heads)
    out = theirs(family, config, heads, state_of(config, heads))
    for rule in chosen:
        for name in rule.theirs:
            full = name if name in out else family.names.prefix + name
            short = {n: t for n, t in out.items() if n != full}
            if len(rule.theirs) > 1:
                with pytest.raises(InputError, match=name):
                    rules.read(short, family.names, chosen)
            else:
                assert rules.read(short, family.names, chosen).missing == (rule.ours,)
    extra = {"surprise.weight": torch.zeros(1), "another.bias": torch.zeros(1)}
    with pytest.raises(InputError, match=r"another\.bias, surprise\.weight"):
        rules.read(out | extra, family.names, chosen, "model.safetensors")


@EVERY
def test_a_layer_too_many_is_unknown(family: Family) -> None:
    config = tiny(family)
    more = replace(config, layers=3, layer_groups=None if config.layer_groups is None else config.layer_groups + 1)
    larger = theirs(family, more, {}, state_of(more, {}))
    with pytest.raises(InputError, match="unknown tensors"):
        rules.read(larger, family.names, table(family, config, {}))


@EVERY
def test_copies_are_compared_and_dropped(family: Family) -> None:
    config, heads = tiny(family), HEAD_SETS["vocabulary"]
    chosen, state = table(family, config, heads), state_of(config, heads)
    out = theirs(family, config, heads, state)
    copied = [(rule, copy) for rule in chosen for copy in rule.copies]
    for rule, copy in copied:
        both = out | {copy: state[rule.ours].clone()}
        assert rules.read(both, family.names, chosen).unused == ()
        with pytest.raises(InputError, match="differs from"):
            rules.read(out | {copy: state[rule.ours] + 1}, family.names, chosen)
        name = rule.theirs[0] if rule.theirs[0] in out else family.names.prefix + rule.theirs[0]
        only = {n: t for n, t in both.items() if n != name}
        assert torch.equal(rules.read(only, family.names, chosen).tensors[rule.ours], state[rule.ours])


CHANGES: tuple[dict[str, Any], ...] = (
    {"width": 12, "feedforward": 48},
    {"characters.filters": (), "tied": True},
    {"characters.width": 3, "characters.highways": 0, "characters.longest": 7, "characters.activation": "tanh"},
    {"recurrent.residual": False, "recurrent.forget": 0.0},
    {"output.transform": True},
    {"mix.layers": "all", "mix.norm": True, "mix.toward_equal": 0.5},
    {"vocabulary": 99},
    {"width": 12, "heads": 3, "feedforward": 48},
    {"layers": 1},
    {"feedforward": 7},
    {"windows": (None, 3)},
    {"norms.bias": False},
    {"visibility": "causal"},
    {"position.maximum": 33},
    {"segments": 1},
    {"norms.eps": 1e-5},
    {"dropout": 0.3},
    {"attention_dropout": 0.2},
    {"init_std": 0.5},
    {"tied": False},
    {"activation": "gelu_tanh"},
    {"activation": "relu"},
)


STRANGE: dict[str, dict[str, Any]] = {  # by core: settings that none of its families has
    "transformer": {"position.scheme": "none", "norms.attention_out": "rms"},
    "recurrent": {"biases": False, "norms.embedding": "rms"},
}


REFUSED: dict[str, set[str]] = {  # by core, too
    "transformer": set(),
    "recurrent": {"heads", "attention_dropout", "windows", "visibility"},
    "decoder": {"windows", "visibility", "segments"},  # of every core with one
}


@pytest.mark.parametrize("changes", CHANGES, ids=str)
@EVERY
def test_settings_there_and_back(family: Family, changes: dict[str, Any]) -> None:
    refused = REFUSED[family.base.core] | (REFUSED["decoder"] if family.base.decoder is not None else set())
    if refused.intersection(changes):
        with pytest.raises(InputError):
            keys.changed(tiny(family), changes)
        return
    config = keys.changed(tiny(family), changes)
    base = keys.changed(family.base, {"pooler": config.pooler})
    said = {key.ours for key in family.keys.keys}
    said |= {path for some in family.keys.together if some.theirs for path in some.ours}
    strange = {path for path, value in changes.items() if path not in said and _get(tiny(family), path) != value}
    named = family.unsupported(config)  # a setting that its config.json has no key for is named, not lost
    assert {name.partition(" ")[0] for name in named} <= {path.partition(".")[0] for path in strange}
    if not named:
        assert keys.read(keys.write(config, family.keys, {}), family.keys, base) == config


def _get(part: Any, path: str) -> Any:
    for name in path.split("."):
        part = getattr(part, name)
    return part


@EVERY
def test_keys_without_effect_are_carried(family: Family) -> None:
    said = keys.write(tiny(family), family.keys, {}) | {"transformers_version": "4.8.2", "my_note": [1, {"a": None}]}
    config = keys.read(said, family.keys, family.base)
    assert keys.write(config, family.keys, said) == said


@EVERY
def test_what_it_cannot_say_is_named(family: Family) -> None:
    strange = keys.changed(tiny(family), STRANGE[family.base.core])
    assert len(family.unsupported(strange)) == 2
    with pytest.raises(InputError, match=r"rms"):
        family.write_config(strange, {}, {})


@EVERY
def test_refused_values_are_refused(family: Family) -> None:
    for only in family.keys.only:
        for value in only.values:
            keys.read(least(family) | {only.theirs: value}, family.keys, family.base)
        for value in ("something else", True if True not in only.values else 3, {"a": 1}):
            with pytest.raises(InputError, match=only.theirs):
                keys.read(least(family) | {only.theirs: value}, family.keys, family.base, "config.json")
        if not only.absent:
            short = {name: value for name, value in least(family).items() if name != only.theirs}
            with pytest.raises(InputError, match=f"no {only.theirs}"):
                keys.read(short, family.keys, family.base, "config.json")


@EVERY
def test_keys_that_repeat_others_say_the_same(family: Family) -> None:
    config = tiny(family)
    for name, field in family.keys.repeats:
        said = keys.write(config, family.keys, {name: 99})
        assert said[name] == _get(config, field)
        assert keys.read(said | {name: None}, family.keys, family.base) == keys.read(said, family.keys, family.base)
        with pytest.raises(InputError, match=name):
            keys.read(said | {name: 99}, family.keys, family.base, "config.json")


def least(family: Family) -> dict[str, Any]:
    """What a config.json of the family must say."""
    return {only.theirs: only.values[0] for only in family.keys.only if not only.absent}


@EVERY
def test_values_of_the_wrong_type_are_refused(family: Family) -> None:
    for key in family.keys.keys:
        with pytest.raises(InputError, match=key.theirs):
            keys.read(least(family) | {key.theirs: ["no"]}, family.keys, family.base, "config.json")
        with pytest.raises(InputError, match=key.theirs):
            keys.read(least(family) | {key.theirs: None}, family.keys, family.base, "config.json")


@EVERY
def test_old_spellings_are_read(family: Family) -> None:
    """Early checkpoints call a norm's weight and bias gamma and beta."""
    config = tiny(family)
    chosen, state = table(family, config, {}), state_of(config, {})
    out = theirs(family, config, {}, state)
    old = {n.replace("Norm.weight", "Norm.gamma").replace("Norm.bias", "Norm.beta"): t for n, t in out.items()}
    back = rules.read(old, family.names, chosen)
    assert all(torch.equal(back.tensors[name], state[name]) for name in state)
    if old.keys() != out.keys():
        both = out | {next(n for n in old if n not in out): torch.zeros(1)}
        with pytest.raises(InputError, match="are the same tensor"):
            rules.read(both, family.names, chosen)
