"""GPT-2 and GPT against transformers: every layer and head, theirs padded, ours packed, in both directions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tokenizers
import torch
import transformers
from parity_tools import (
    LENGTHS,
    TEXTS,
    VOCABULARY,
    assert_answers,
    assert_equal,
    assert_layers,
    expected_of,
    logits_of,
    ragged,
    randomise,
)
from tokenizers import decoders, models, pre_tokenizers
from torch import Tensor

from didact import hub
from didact.batch import Example, Side
from didact.errors import InputError
from didact.exchange import keys
from didact.families import GPT2, OPENAI_GPT, Family
from didact.heads import Choice, Classes, Head, Span, Vocabulary
from didact.hub import weights
from didact.model import Model, Pretrained
from didact.objectives import Causal
from didact.tokenization.tokenizer import Tokenizer, frame

SHAPE = {"vocab_size": VOCABULARY, "n_positions": 16, "n_embd": 24, "n_layer": 3, "n_head": 4, "pad_token_id": 0}
CONFIGS: dict[str, tuple[Family, dict[str, Any]]] = {
    "gpt2": (GPT2, {}),
    "narrow inside": (GPT2, {"n_inner": 20, "activation_function": "relu", "layer_norm_epsilon": 1e-3}),
    "untied": (GPT2, {"tie_word_embeddings": False}),
    "openai-gpt": (OPENAI_GPT, {}),
    "openai-gpt, untied": (OPENAI_GPT, {"tie_word_embeddings": False, "afn": "silu"}),
}
NAMES = {"gpt2": "GPT2", "openai-gpt": "OpenAIGPT"}
HEADS: dict[str, dict[str, Head]] = {
    "Model": {},
    "LMHeadModel": {"vocabulary": Vocabulary()},
    "DoubleHeadsModel": {"vocabulary": Vocabulary(), "choice": Choice()},
    "ForSequenceClassification": {"classes": Classes(5)},
    "ForTokenClassification": {"classes": Classes(5, pooled=False)},
    "ForQuestionAnswering": {"span": Span()},
}
CASES = [
    pytest.param(family, settings, kind, id=f"{name}-{kind}")
    for name, (family, settings) in CONFIGS.items()
    for kind in HEADS
    if any(a.name == NAMES[family.name] + kind for a in family.architectures)
]


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A byte-level BPE of single bytes; its one special token is the end of text."""
    folder = tmp_path_factory.mktemp("bpe")
    pieces = ["<|endoftext|>", *sorted(pre_tokenizers.ByteLevel.alphabet())[: VOCABULARY - 1]]
    backend = tokenizers.Tokenizer(models.BPE({piece: i for i, piece in enumerate(pieces)}, []))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    backend.add_special_tokens(["<|endoftext|>"])
    Tokenizer(backend).save(folder)
    return folder


def sides() -> tuple[Side, dict[str, Tensor]]:
    """Ours without segments and without a word of who sees whom; theirs without token types."""
    side, inputs = ragged()
    packed = side.packed
    plain = type(packed)(packed.tokens, packed.positions, packed.cu_seqlens, packed.max_seqlen)
    return Side(plain), {name: value for name, value in inputs.items() if name != "token_type_ids"}


def theirs_of_rows(model: Any, inputs: dict[str, Tensor]) -> dict[str, Tensor]:
    """`expected_of`, and for the class with two heads, which takes the last rows as an argument."""
    if not type(model).__name__.endswith("DoubleHeadsModel"):
        return expected_of(model, inputs)
    kept = inputs["attention_mask"].bool()  # no mask: rows look back, and padding stands after them
    asked = {"input_ids": inputs["input_ids"].view(2, 2, -1), "mc_token_ids": (kept.sum(1) - 1).view(2, 2)}
    with torch.inference_mode():
        out = model(**asked)
    return {"vocabulary": out.logits.flatten(0, 1)[kept], "choice": out.mc_logits.flatten()}


def assert_same(ours: Model, theirs: Any) -> None:
    side, inputs = sides()
    assert_layers(ours, theirs, side, inputs)
    assert_answers(logits_of(ours, side, last=True), theirs_of_rows(theirs, inputs))


@pytest.mark.parametrize(("family", "settings", "kind"), CASES)
def test_what_transformers_wrote(
    family: Family, settings: dict[str, Any], kind: str, tmp_path: Path, tokenizer: Path
) -> None:
    name = NAMES[family.name]
    config = getattr(transformers, f"{name}Config")(**SHAPE | settings, num_labels=5)
    theirs = getattr(transformers, name + kind)(config).eval()
    randomise(theirs)
    theirs.save_pretrained(tmp_path)
    Tokenizer.load(tokenizer).save(tmp_path)
    before = weights.read(tmp_path)
    if not any(name.endswith(("wte.weight", "tokens_embed.weight")) for name in before):  # of a tied pair they keep one
        before["transformer.tokens_embed.weight"] = before.pop("lm_head.weight")
    ours = hub.load(tmp_path)
    assert dict(ours.model.specs) == HEADS[kind]
    assert ours.fresh == ours.unused == ()
    assert_same(ours.model, theirs)
    hub.export(ours, tmp_path / "again")
    after = weights.read(tmp_path / "again")
    assert after.keys() == before.keys()
    assert all(torch.equal(after[n], before[n]) for n in before)


@pytest.mark.parametrize(("family", "settings", "kind"), CASES)
def test_what_we_wrote(family: Family, settings: dict[str, Any], kind: str, tmp_path: Path, tokenizer: Path) -> None:
    config = keys.read(SHAPE | settings, family.keys, family.base)
    config = keys.changed(config, {"pooler": any(head.pooled for head in HEADS[kind].values())})
    model = Model(config, HEADS[kind]).eval()
    randomise(model)
    hub.export(Pretrained(model, Tokenizer.load(tokenizer), family.name, carried={"pad_token_id": 0}), tmp_path)
    opened = getattr(transformers, NAMES[family.name] + kind)
    theirs, report = opened.from_pretrained(tmp_path, output_loading_info=True)
    assert weights.read_json(tmp_path / "config.json")["architectures"] == [NAMES[family.name] + kind]
    assert report["unexpected_keys"] == set()
    assert report["missing_keys"] == set()
    assert_same(model, theirs.eval())
    again = hub.load(tmp_path)
    assert again.model.specs == model.specs
    assert again.model.config == config
    assert all(torch.equal(t, again.model.state_dict()[n]) for n, t in model.state_dict().items())
    assert theirs.config.eos_token_id == 0
    ids = transformers.AutoTokenizer.from_pretrained(tmp_path)("abc a?")["input_ids"]
    assert ids == again.tokenizer.encode("abc a?").tokens.tolist()


@pytest.mark.parametrize("family", [GPT2, OPENAI_GPT], ids=lambda f: f.name)
def test_the_loss(family: Family, tmp_path: Path, tokenizer: Path) -> None:
    """Sum over count is the loss that transformers reports for the same sequences, each token but the first asked."""
    config = keys.read(SHAPE, family.keys, family.base)
    model = Model(config, Causal().heads).eval()
    randomise(model)
    hub.export(Pretrained(model, Tokenizer.load(tokenizer), family.name), tmp_path)
    theirs = getattr(transformers, NAMES[family.name] + "LMHeadModel").from_pretrained(tmp_path).eval()
    _, inputs = sides()
    expected = theirs(**inputs, labels=inputs["input_ids"].masked_fill(inputs["attention_mask"] == 0, -100)).loss
    rows = [ids[: int(mask.sum())].numpy() for ids, mask in zip(*inputs.values(), strict=True)]
    flat = Causal()([Example(r, np.zeros(len(r), bool)) for r in rows], np.arange(len(rows), dtype=np.uint64))
    batch = flat.batch(range(len(rows)))
    (logits,) = model(batch)
    part = model.loss(logits, batch.labels[0])
    assert part.count == sum(n - 1 for n in LENGTHS)
    assert_equal(part.total / part.count, expected)


def test_old_files_hold_the_triangle_and_the_output_matrix(tmp_path: Path, tokenizer: Path) -> None:
    """As the first files on the hub: bare names, the mask as a tensor, the tied matrix twice."""
    theirs = transformers.GPT2LMHeadModel(transformers.GPT2Config(**SHAPE)).eval()
    randomise(theirs)
    theirs.save_pretrained(tmp_path)
    tensors = {n.removeprefix("transformer."): t for n, t in weights.read(tmp_path).items()}
    for i in range(3):
        tensors[f"h.{i}.attn.bias"] = torch.ones(16, 16).tril().view(1, 1, 16, 16)
    tensors["lm_head.weight"] = tensors["wte.weight"].clone()
    weights.write(tensors, tmp_path)
    Tokenizer.load(tokenizer).save(tmp_path)
    ours = hub.load(tmp_path)
    assert ours.unused == ()
    assert_same(ours.model, theirs)


@pytest.mark.parametrize(
    "said",
    [
        {"scale_attn_weights": False},
        {"scale_attn_by_inverse_layer_idx": True},
        {"add_cross_attention": True},
        {"summary_activation": "tanh"},
        {"embd_pdrop": 0.0},
        {"n_inner": "wide"},
    ],
    ids=str,
)
def test_what_changes_the_computation_is_refused(said: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(InputError, match=next(iter(said))):
        keys.read(SHAPE | said, GPT2.keys, GPT2.base, tmp_path)


def test_how_attention_is_rounded_is_carried() -> None:
    said = SHAPE | {"reorder_and_upcast_attn": True, "n_inner": None}
    config = keys.read(said, GPT2.keys, GPT2.base)
    assert keys.write(config, GPT2.keys, said).items() >= said.items()


def test_the_real_merges(tmp_path: Path) -> None:
    """GPT-2's own 50,000 merges: the same pieces of every text as transformers', and nothing around them."""
    source = Path(__file__).resolve().parents[3] / "shared" / "data" / "vocabularies" / "huggingface_gpt2_merges.txt"
    if not source.is_file():
        pytest.skip(f"{source} is not here")
    lines = source.read_text(encoding="utf-8").splitlines()
    merges = [tuple(line.split()) for line in lines if line and not line.startswith("#version")]
    pieces = [*sorted(pre_tokenizers.ByteLevel.alphabet()), *("".join(pair) for pair in merges), "<|endoftext|>"]
    vocabulary = {piece: i for i, piece in enumerate(dict.fromkeys(pieces))}
    theirs = transformers.GPT2Tokenizer(vocab=vocabulary, merges=merges)
    theirs.save_pretrained(tmp_path)
    ours = Tokenizer.load(tmp_path)
    assert ours.vocabulary == 50257
    assert ours.bos == ours.eos == 50256
    for text in TEXTS:
        ids = theirs(text)["input_ids"]
        assert ours.encode(text).tokens.tolist() == ids
        assert ours.decode(ids) == text
        assert frame(ours, ours.encode(text)).tokens.tolist() == ids
