"""XLNet against transformers: both streams, memory, every head, theirs padded, ours packed, in both directions."""

from __future__ import annotations

import itertools
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
from torch import Tensor

from didact import hub
from didact.batch import Batch, Labels, Side
from didact.errors import InputError
from didact.exchange import keys
from didact.families import XLNET
from didact.heads import Choice, Classes, Head, Span, Vocabulary
from didact.model import Model, Pretrained
from didact.packed import Chain, Packed
from didact.tokenization.tokenizer import Tokenizer
from didact.visibility import NOBODY, ranked

SHAPE: dict[str, Any] = {"vocab_size": VOCABULARY, "d_model": 24, "n_layer": 3, "n_head": 4, "d_inner": 40}
CONFIGS: dict[str, dict[str, Any]] = {
    "plain": {},
    "cut distances": {"clamp_len": 4},
    "relu, wide eps": {"ff_activation": "relu", "layer_norm_eps": 1e-3},
    "untied": {"tie_word_embeddings": False},
}
ARCHITECTURES: dict[str, dict[str, Head]] = {
    "XLNetModel": {},
    "XLNetLMHeadModel": {"vocabulary": Vocabulary()},
    "XLNetForSequenceClassification": {"classes": Classes(5)},
    "XLNetForTokenClassification": {"classes": Classes(5, pooled=False)},
    "XLNetForQuestionAnsweringSimple": {"span": Span()},
    "XLNetForMultipleChoice": {"choice": Choice()},
}
EVERY = pytest.mark.parametrize("settings", CONFIGS.values(), ids=CONFIGS)
CASES = [(a, name) for a in ARCHITECTURES for name in CONFIGS if name == "plain" or a == "XLNetLMHeadModel"]


def theirs_of(architecture: str, settings: dict[str, Any], folder: Path, vocabulary: Path) -> Any:
    """A random model of transformers, saved by transformers."""
    labels: dict[str, Any] = {"num_labels": 5 if "Classification" in architecture else 2}
    config = transformers.XLNetConfig(**SHAPE | settings | labels)
    return random_peer(config, architecture, folder, vocabulary)


def padded_left(lengths: tuple[int, ...]) -> dict[str, Tensor]:
    """What `ragged` packs, padded on the left, as XLNet's sequences end in their <cls>."""
    side, _ = ragged(3, lengths)
    assert side.packed.segments is not None
    most = max(lengths)
    ids, mask, types = (torch.zeros(len(lengths), most, dtype=torch.int64) for _ in range(3))
    start = 0
    for b, n in enumerate(lengths):
        ids[b, most - n :] = side.packed.tokens[start : start + n]
        types[b, most - n :] = side.packed.segments[start : start + n]
        mask[b, most - n :] = 1
        start += n
    return {"input_ids": ids, "attention_mask": mask, "token_type_ids": types}


def assert_same(ours: Model, theirs: Any) -> None:
    side, inputs = ragged(3)
    assert_layers(ours, theirs, side, inputs)
    assert_answers(logits_of(ours, side, last=True), expected_of(theirs, padded_left(LENGTHS)))


@pytest.mark.parametrize(("architecture", "settings"), CASES)
def test_what_transformers_wrote(architecture: str, settings: str, tmp_path: Path, vocabulary: Path) -> None:
    theirs = theirs_of(architecture, CONFIGS[settings], tmp_path, vocabulary)
    ours = hub.load(tmp_path)
    assert [h.slot for h in ours.model.specs.values()] == [h.slot for h in ARCHITECTURES[architecture].values()]
    assert ours.fresh == ours.unused == ()
    assert_same(ours.model, theirs)


@pytest.mark.parametrize(("architecture", "settings"), CASES)
def test_what_we_wrote(architecture: str, settings: str, tmp_path: Path, vocabulary: Path) -> None:
    heads = ARCHITECTURES[architecture]
    pooler = {"pooler": any(head.pooled for head in heads.values())}
    config = keys.changed(
        keys.read(SHAPE | CONFIGS[settings], XLNET.keys, XLNET.base), {"attention_dropout": 0.0} | pooler
    )
    model = Model(config, heads).eval()
    randomise(model)
    hub.export(Pretrained(model, Tokenizer.load(vocabulary), "xlnet"), tmp_path)
    kind = getattr(transformers, architecture)
    theirs, report = kind.from_pretrained(tmp_path, output_loading_info=True)
    assert transformers.AutoConfig.from_pretrained(tmp_path).architectures == [architecture]
    assert report["unexpected_keys"] == report["missing_keys"] == set()
    assert_same(model, theirs.eval())
    again = hub.load(tmp_path)
    assert again.model.specs == model.specs
    assert again.model.config == config
    assert_same_weights(model, again.model)


def two_streams(lengths: tuple[int, ...] = LENGTHS) -> tuple[Side, dict[str, Tensor], Tensor, Tensor]:
    """Sequences in permuted orders with a query row for every row: ours; theirs as arguments; and, of our rows, which
    are query rows and which may see nothing.
    """
    plain, inputs = ragged(3, lengths)
    packed, most = plain.packed, max(lengths)
    assert packed.segments is not None
    orders = [torch.randperm(n, generator=torch.Generator().manual_seed(n)) for n in lengths]
    rank = torch.cat([torch.cat((o, torch.full_like(o, NOBODY))) for o in orders])
    reach = torch.cat([torch.cat((o, o - 1)) for o in orders])
    asking = rank == NOBODY
    starts = packed.cu_seqlens.tolist()
    twice = torch.cat([torch.arange(a, b).repeat(2) for a, b in itertools.pairwise(starts)])
    side = Side(
        Packed(
            tokens=packed.tokens[twice].masked_fill(asking, 0),
            positions=packed.positions[twice],
            cu_seqlens=packed.cu_seqlens * 2,
            max_seqlen=most,
            segments=packed.segments[twice],
            queries=asking.nonzero()[:, 0],
        ),
        ranked(rank, reach),
    )
    perm_mask = torch.ones(len(lengths), most, most)
    for b, (n, order) in enumerate(zip(lengths, orders, strict=True)):
        perm_mask[b, :n, :n] = (order[None, :] >= order[:, None]).float()
    mapping = torch.eye(most).expand(len(lengths), most, most)
    return side, inputs | {"perm_mask": perm_mask, "target_mapping": mapping}, asking, asking & (reach < 0)


@EVERY
def test_two_streams(settings: dict[str, Any], tmp_path: Path, vocabulary: Path) -> None:
    """The query stream sees what comes before it in the order, the content stream itself besides. (Where a target may
    see nothing, theirs averages over all keys: such rows are left out, and ours are zeros where attention gives them.)
    """
    theirs = theirs_of("XLNetLMHeadModel", settings, tmp_path, vocabulary)
    ours = hub.load(tmp_path).model
    side, inputs, asking, blind = two_streams()
    kept = inputs["attention_mask"].bool()
    rows = asking.nonzero()[:, 0]
    with torch.inference_mode():
        hidden = ours.hidden(side, layers=True)
        logits = ours(Batch(side, (Labels("vocabulary", rows, rows),)))[0]
        out = theirs(**inputs, output_hidden_states=True)
    seeing = ~blind[asking]
    assert int(blind.sum()) == len(LENGTHS)  # the first of each order
    for i, layer in enumerate(hidden.layers):
        content, query = out.hidden_states[2 * i : 2 * i + 2]
        assert_equal(layer[~asking], content[kept], f"content, layer {i}")
        assert_equal(layer[asking][seeing], query[kept][seeing], f"query, layer {i}")
    assert_equal(logits[seeing], out.logits[kept][seeing], "logits")


def test_a_row_that_sees_nothing_is_given_nothing() -> None:
    config = keys.read(SHAPE, XLNET.keys, XLNET.base)
    model = Model(config, {}).eval()
    randomise(model)
    side, _, _, blind = two_streams()
    heard: list[Tensor] = []
    out = model.get_submodule("core.blocks.0.attention.out")
    out.register_forward_pre_hook(lambda _, given: heard.append(given[0]))
    with torch.inference_mode():
        model.hidden(side)
    assert not heard[0][blind].any()
    assert heard[0][~blind].abs().amin(1).gt(0).all()


@pytest.mark.parametrize("memory", [3, 6, 100])
def test_memory(memory: int, tmp_path: Path, vocabulary: Path) -> None:
    """Three segments of two sequences in one pack, and transformers called three times with what it remembers."""
    theirs = theirs_of("XLNetLMHeadModel", {"mem_len": memory}, tmp_path, vocabulary)
    ours = hub.load(tmp_path).model
    lengths = (4, 7, 5)
    generator = torch.Generator().manual_seed(3)
    chains = [[torch.randint(5, VOCABULARY, (n,), generator=generator) for n in lengths] for _ in range(2)]
    packed = Packed.of([part.tolist() for chain in chains for part in chain])
    chained = Packed(packed.tokens, packed.positions, packed.cu_seqlens, 7, chain=Chain((-1, 0, 1, -1, 3, 4), memory))
    with torch.inference_mode():
        hidden = ours.hidden(Side(chained), layers=True)
    starts = packed.cu_seqlens.tolist()
    mems = None
    for number, n in enumerate(lengths):
        with torch.inference_mode():
            ids = torch.stack([chain[number] for chain in chains])
            out = theirs(input_ids=ids, mems=mems, output_hidden_states=True)
        mems = out.mems
        for i, layer in enumerate(hidden.layers):
            for b in range(2):
                start = starts[3 * b + number]
                assert_equal(layer[start : start + n], out.hidden_states[i][b], f"segment {number}, layer {i}")


def test_memory_of_two_streams_and_segments(tmp_path: Path, vocabulary: Path) -> None:
    """Query rows remember, too; they are not remembered; remembered rows are of segment 0."""
    theirs = theirs_of("XLNetLMHeadModel", {}, tmp_path, vocabulary)
    ours = hub.load(tmp_path).model
    both = two_streams((5, 6))
    side, inputs, asking, blind = both
    packed = side.packed
    chained = Packed(
        packed.tokens, packed.positions, packed.cu_seqlens, 6, packed.segments, packed.queries, Chain((-1, 0), 100)
    )
    with torch.inference_mode():
        hidden = ours.hidden(Side(chained, side.visibility)).main
        mems = None
        for b, n in enumerate((5, 6)):
            one = {
                "input_ids": inputs["input_ids"][b : b + 1, :n],
                "token_type_ids": inputs["token_type_ids"][b : b + 1, :n],
                "perm_mask": inputs["perm_mask"][b : b + 1, :n, :n],
                "target_mapping": inputs["target_mapping"][b : b + 1, :n, :n],
            }
            out = theirs.transformer(**one, mems=mems, output_hidden_states=True)
            mems = out.mems
            rows = torch.arange(*packed.cu_seqlens[b : b + 2].tolist())
            content, query = rows[~asking[rows]], rows[asking[rows]]
            assert_equal(hidden[content], out.hidden_states[-2][0], f"content {b}")
            seeing = ~blind[query] if b == 0 else torch.ones(n, dtype=torch.bool)  # the second sees its memory
            assert_equal(hidden[query][seeing], out.hidden_states[-1][0][seeing], f"query {b}")


@pytest.mark.parametrize(
    ("key", "value"),
    [("attn_type", "uni"), ("bi_data", True), ("untie_r", False), ("summary_type", "mean"), ("d_head", 7)],
)
def test_what_changes_the_computation_is_refused(key: str, value: object, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=key):
        keys.read(SHAPE | {key: value}, XLNET.keys, XLNET.base, tmp_path)
