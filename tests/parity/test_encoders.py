"""BERT's relatives against transformers: every layer and head, theirs padded, ours packed, in both directions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from parity_tools import (
    LENGTHS,
    VOCABULARY,
    assert_answers,
    assert_equal,
    assert_layers,
    assert_same_weights,
    expected_of,
    logits_of,
    ragged,
    random_peer,
    randomise,
)

from didact import hub
from didact.batch import Batch, Labels
from didact.errors import InputError
from didact.exchange import keys
from didact.families import ALBERT, DISTILBERT, ROBERTA, XLM_ROBERTA, Family
from didact.heads import Choice, Classes, Head, PairRelation, Span, Vocabulary
from didact.hub import weights
from didact.model import Model, Pretrained
from didact.tokenization.tokenizer import Tokenizer

SIZES = {
    "vocab_size": VOCABULARY,
    "hidden_size": 24,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "intermediate_size": 40,
    "max_position_embeddings": 16,
}
OTHER_WORDS = {"hidden_size": "dim", "num_hidden_layers": "n_layers", "num_attention_heads": "n_heads"}
OTHER_WORDS |= {"intermediate_size": "hidden_dim"}
HEADS: dict[str, dict[str, Head]] = {
    "Model": {},
    "ForMaskedLM": {"vocabulary": Vocabulary()},
    "ForSequenceClassification": {"classes": Classes(5)},
    "ForTokenClassification": {"classes": Classes(5, pooled=False)},
    "ForQuestionAnswering": {"span": Span()},
    "ForMultipleChoice": {"choice": Choice()},
}
ROBERTA_SIZES = SIZES | {"pad_token_id": 1, "max_position_embeddings": 18, "layer_norm_eps": 1e-5}


@dataclass(frozen=True)
class Member:
    """A family, its class names' prefix, settings in their words, variants of them, and architectures BERT lacks."""

    family: Family
    prefix: str
    sizes: Mapping[str, Any]
    variants: Mapping[str, Mapping[str, Any]]
    more: Mapping[str, Mapping[str, Head]]

    @property
    def heads(self) -> dict[str, dict[str, Head]]:
        return HEADS | {name: dict(heads) for name, heads in self.more.items()}


MEMBERS = (
    Member(
        ROBERTA,
        "Roberta",
        ROBERTA_SIZES,
        {
            "one segment": {"type_vocab_size": 1},
            "two segments, relu": {"type_vocab_size": 2, "hidden_act": "relu"},
            "padding is 0": {"type_vocab_size": 1, "pad_token_id": 0},
            "untied": {"type_vocab_size": 1, "tie_word_embeddings": False},
        },
        {},
    ),
    Member(XLM_ROBERTA, "XLMRoberta", ROBERTA_SIZES, {"one segment": {"type_vocab_size": 1}}, {}),
    Member(
        ALBERT,
        "Albert",
        SIZES | {"embedding_size": 8},
        {
            "one group": {},
            "two groups, dropout": {"num_hidden_groups": 2, "hidden_dropout_prob": 0.2},
            "as wide as the model, gelu": {"embedding_size": 24, "hidden_act": "gelu"},
            "untied, a group a layer": {"tie_word_embeddings": False, "num_hidden_groups": 4},
        },
        {"ForPreTraining": {"vocabulary": Vocabulary(), "pair_relation": PairRelation()}},
    ),
    Member(
        DISTILBERT,
        "DistilBert",
        {OTHER_WORDS.get(name, name): value for name, value in SIZES.items()},
        {
            "plain": {},
            "sines, relu": {"sinusoidal_pos_embds": True, "activation": "relu"},
            "untied": {"tie_word_embeddings": False},
        },
        {},
    ),
)
CASES = [(m, a, v) for m in MEMBERS for a in m.heads for v in m.variants]
EVERY = pytest.mark.parametrize(
    ("member", "architecture", "variant"), CASES, ids=[f"{m.family.name}-{a}-{v}" for m, a, v in CASES]
)


def theirs_of(member: Member, architecture: str, settings: Mapping[str, Any], folder: Path, vocabulary: Path) -> Any:
    """A random model of transformers, saved by transformers."""
    labels = 5 if "Classification" in architecture else 2
    config = getattr(transformers, f"{member.prefix}Config")(**{**member.sizes, **settings}, num_labels=labels)
    return random_peer(config, member.prefix + architecture, folder, vocabulary)


def assert_same(ours: Model, theirs: Any) -> None:
    segments = ours.config.segments
    side, inputs = ragged(max(1, segments))
    if not segments:
        del inputs["token_type_ids"]
    assert_layers(ours, theirs, side, inputs)
    assert_answers(logits_of(ours, side), expected_of(theirs, inputs))


@EVERY
def test_what_transformers_wrote(
    member: Member, architecture: str, variant: str, tmp_path: Path, vocabulary: Path
) -> None:
    theirs = theirs_of(member, architecture, member.variants[variant], tmp_path, vocabulary)
    ours = hub.load(tmp_path)
    assert ours.family == member.family.name
    assert {h.slot for h in ours.model.specs.values()} == {h.slot for h in member.heads[architecture].values()}
    assert ours.fresh == ours.unused == ()
    assert_same(ours.model, theirs)


@EVERY
def test_what_we_wrote(member: Member, architecture: str, variant: str, tmp_path: Path, vocabulary: Path) -> None:
    said = {**member.sizes, **member.variants[variant]}
    heads = member.heads[architecture]
    pooled = any(head.pooled for head in heads.values())
    pooler = pooled or (architecture == "Model" and member.family is not DISTILBERT)  # a class that has one of its own
    base = keys.changed(member.family.base, {"pooler": pooler})
    config = keys.changed(keys.read(said, member.family.keys, base), {"dropout": 0.1})
    model = Model(config, heads).eval()
    randomise(model)
    hub.export(Pretrained(model, Tokenizer.load(vocabulary), member.family.name), tmp_path)
    auto = "AutoModel" + architecture.removeprefix("Model")
    theirs, report = getattr(transformers, auto).from_pretrained(tmp_path, output_loading_info=True)
    assert type(theirs).__name__ == f"{member.prefix}{architecture}"
    assert set(report["unexpected_keys"]) == set()
    assert report["missing_keys"] == set()
    assert_same(model, theirs.eval())
    again = hub.load(tmp_path)
    assert again.model.specs == model.specs
    assert again.model.config == config
    assert_same_weights(model, again.model)


LOSSES = [(m, "ForMaskedLM") for m in MEMBERS] + [(m, "ForSequenceClassification") for m in MEMBERS]


@pytest.mark.parametrize(("member", "architecture"), LOSSES, ids=[f"{m.family.name}-{a}" for m, a in LOSSES])
def test_losses(member: Member, architecture: str, tmp_path: Path, vocabulary: Path) -> None:
    """Sum over count is the loss that transformers reports for the same labels."""
    variant = next(iter(member.variants.values()))
    theirs = theirs_of(member, architecture, variant, tmp_path, vocabulary)
    model = hub.load(tmp_path).model
    side, inputs = ragged(max(1, model.config.segments))
    if not model.config.segments:
        del inputs["token_type_ids"]
    ((name, head),) = model.specs.items()
    if head.pooled:
        values = torch.tensor([0, 4, 2, 1])
        asked, labels = Labels(name, side.packed.cu_seqlens[:-1].long(), values), values
    else:
        values = torch.tensor([13, 5, 58])
        asked = Labels(name, torch.tensor([0, 4, 9]), values)  # two of the first sequence, one of the third
        labels = torch.full((len(LENGTHS), max(LENGTHS)), -100)
        labels[0, 0], labels[0, 4], labels[2, 1] = values
    (logits,) = model(Batch(side, (asked,)))
    part = model.loss(logits, asked)
    assert_equal(part.total / part.count, theirs(**inputs, labels=labels).loss)


@pytest.mark.parametrize(
    ("member", "key", "value"),
    [
        (MEMBERS[0], "is_decoder", True),
        (MEMBERS[2], "inner_group_num", 2),
        (MEMBERS[3], "auto_map", {"AutoModel": "x"}),
    ],
    ids=["roberta", "albert", "distilbert"],
)
def test_what_is_not_supported_is_refused(
    member: Member, key: str, value: Any, tmp_path: Path, vocabulary: Path
) -> None:
    theirs_of(member, "ForMaskedLM", next(iter(member.variants.values())), tmp_path, vocabulary)
    config = weights.read_json(tmp_path / "config.json") | {key: value}
    weights.write_json(config, tmp_path / "config.json")
    with pytest.raises(InputError, match=key):
        hub.load(tmp_path)


@pytest.mark.parametrize("member", MEMBERS, ids=lambda m: m.family.name)
def test_dropout_before_a_head_there_and_back(member: Member, tmp_path: Path, vocabulary: Path) -> None:
    """What a head drops out in training is what their class drops out, whoever wrote the file."""
    for slot, (key, absent) in member.family.dropouts.items():
        heads: dict[str, Head] = {
            "classes.pooled": Classes(5, dropout=0.35),
            "classes.rows": Classes(5, pooled=False, dropout=0.35),
            "choice": Choice(dropout=0.35),
            "span": Span(dropout=0.35),
        }
        head = heads[slot]
        base = keys.changed(member.family.base, {"pooler": True})
        config = keys.read({**member.sizes}, member.family.keys, base)
        folder = tmp_path / slot
        hub.export(Pretrained(Model(config, {"own": head}), Tokenizer.load(vocabulary), member.family.name), folder)
        said = weights.read_json(folder / "config.json")
        assert said[key] == 0.35
        theirs = getattr(transformers, said["architectures"][0]).from_pretrained(folder)
        rates = {m.p for name, m in theirs.named_modules() if isinstance(m, torch.nn.Dropout) and "layer" not in name}
        assert 0.35 in rates
        weights.write_json({k: v for k, v in said.items() if k != "didact"}, folder / "config.json")
        assert next(iter(hub.load(folder).model.specs.values())) == head
        if absent is not None:
            del said[key], said["didact"]
            weights.write_json(said, folder / "config.json")
            (read,) = hub.load(folder).model.specs.values()
            assert isinstance(read, Classes | Choice | Span)
            assert (config.dropout if read.dropout is None else read.dropout) == absent
