"""Encoder-decoders against transformers: every layer of both sides and every head, theirs padded, ours packed, in both
directions, lengths ragged on both sides.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from parity_tools import LENGTHS, VOCABULARY, assert_equal, peer, randomise
from torch import Tensor
from transformers.models.marian.modeling_marian import MarianSinusoidalPositionalEmbedding

from didact import hub
from didact.batch import Batch, Labels, Side
from didact.exchange import keys
from didact.families import BART, MBART, MT5, T5, TRANSFORMER, Family
from didact.heads import Classes, Head, Span, Vocabulary
from didact.hub import weights
from didact.model import Model, Pretrained
from didact.nn.init import Begins
from didact.packed import Packed
from didact.tokenization.tokenizer import Tokenizer

TARGETS = (3, 9, 1, 8)  # lengths of the decoder's side; the encoder's are LENGTHS
END = 2
FAIRSEQ = {
    "vocab_size": VOCABULARY,
    "d_model": 24,
    "encoder_layers": 2,
    "decoder_layers": 3,
    "encoder_attention_heads": 4,
    "decoder_attention_heads": 3,
    "encoder_ffn_dim": 40,
    "decoder_ffn_dim": 32,
    "max_position_embeddings": 16,
    "pad_token_id": 0,
    "eos_token_id": END,
    "forced_eos_token_id": END,
    "decoder_start_token_id": END,
    "classifier_dropout": 0.1,  # the model's own
}
TEXTS = {
    "vocab_size": VOCABULARY,
    "d_model": 24,
    "d_kv": 5,
    "d_ff": 40,
    "num_layers": 2,
    "num_decoder_layers": 3,
    "num_heads": 3,
    "relative_attention_num_buckets": 6,
    "relative_attention_max_distance": 7,
    "pad_token_id": 0,
    "eos_token_id": END,
    "decoder_start_token_id": 0,
    "classifier_dropout": 0.1,  # the model's own
}
CONFIGS: dict[str, tuple[Family, dict[str, Any]]] = {
    "bart": (BART, FAIRSEQ),
    "mbart": (MBART, FAIRSEQ),
    "mbart, scaled words": (MBART, FAIRSEQ | {"scale_embedding": True}),
    "marian": (TRANSFORMER, FAIRSEQ | {"scale_embedding": True, "activation_function": "swish"}),
    "t5": (T5, TEXTS),
    "t5, v1.1": (T5, TEXTS | {"feed_forward_proj": "gated-gelu", "tie_word_embeddings": False}),
    "mt5": (MT5, TEXTS | {"feed_forward_proj": "gated-gelu", "tie_word_embeddings": False}),
    "bart, scaled words": (BART, FAIRSEQ | {"scale_embedding": True, "activation_function": "relu"}),
}
NAMES = {"bart": "Bart", "mbart": "MBart", "transformer": "Marian", "t5": "T5", "mt5": "MT5"}
HEADS: dict[str, dict[str, Head]] = {
    "Model": {},
    "ForConditionalGeneration": {"vocabulary": Vocabulary()},
    "MTModel": {"vocabulary": Vocabulary()},
    "ForSequenceClassification": {"classes": Classes(5)},
    "ForQuestionAnswering": {"span": Span()},
}
CASES = [
    pytest.param(family, settings, kind, id=f"{name}-{kind}")
    for name, (family, settings) in CONFIGS.items()
    for kind in HEADS
    if any(a.name == NAMES[family.name] + kind for a in family.architectures)
]


def packs(lengths: tuple[int, ...], seed: int) -> tuple[Packed, Tensor, Tensor]:
    """Random sequences, ours and theirs: packed; padded ids and mask. The last token of each, and no other, ends it."""
    generator = torch.Generator().manual_seed(seed)
    tokens = [[*torch.randint(5, VOCABULARY, (n - 1,), generator=generator).tolist(), END] for n in lengths]
    packed = Packed.of(tokens)
    return packed, packed.pad(packed.tokens), packed.pad(torch.ones_like(packed.tokens))


def assert_same(ours: Model, theirs: Any, kind: str) -> None:
    source, ids, mask = packs(LENGTHS, 1)
    # Classification reads the decoder's row at the end of the *inputs*: both sides are then as long.
    target, out_ids, out_mask = packs(LENGTHS if kind == "ForSequenceClassification" else TARGETS, 2)
    inputs, outputs = Side(source), Side(target)
    said = {"input_ids": ids, "attention_mask": mask, "decoder_input_ids": out_ids, "decoder_attention_mask": out_mask}
    with torch.inference_mode():
        encoded = ours.hidden(inputs, layers=True)
        decoded = ours.decoded(outputs, encoded, inputs, layers=True, attention=(0, 1, 2), cross=(0, 1, 2))
        plain = theirs(**said, output_hidden_states=True)
    pairs = (encoded, plain.encoder_hidden_states, mask), (decoded, plain.decoder_hidden_states, out_mask)
    for number, (mine, expected, kept) in enumerate(pairs):
        assert len(mine.layers) == len(expected) == 3 + number
        for i, (a, b) in enumerate(zip(mine.layers, expected, strict=True)):
            assert_equal(a, b[kept.bool()], f"{('encoder', 'decoder')[number]} layer {i}")
    theirs.set_attn_implementation("eager")
    with torch.inference_mode():
        looked = theirs(**said, output_attentions=True)
    for mine, expected, keys_ in (
        (decoded.attention, looked.decoder_attentions, target.lengths),
        (decoded.cross, looked.cross_attentions, source.lengths),
    ):
        for i, layer in mine.items():
            for b, (q, k) in enumerate(zip(target.lengths, keys_, strict=True)):
                assert_equal(layer[b], expected[i][b, :, :q, :k], f"probabilities {i}")
    rows = torch.arange(len(target.tokens))
    last = target.cu_seqlens[1:].long() - 1
    groups = {"span": target.cu_seqlens}
    asked = tuple(
        Labels(name, at := last if head.pooled else rows, at, groups.get(head.kind), side="outputs")
        for name, head in ours.specs.items()
    )
    with torch.inference_mode():
        logits = dict(zip(ours.specs, ours(Batch(inputs, asked, outputs)), strict=True))
    kept = out_mask.bool()
    if "vocabulary" in logits:
        assert_equal(logits["vocabulary"], plain.logits[kept], "vocabulary")
    if "classes" in logits:
        assert_equal(logits["classes"], plain.logits, "classes")
    if "span" in logits:
        assert_equal(logits["span"], torch.stack([plain.start_logits[kept], plain.end_logits[kept]], -1), "span")


def cls(family: Family, kind: str) -> Any:
    return getattr(transformers, NAMES[family.name] + kind)


@torch.no_grad()
def draw(model: torch.nn.Module) -> None:
    """transformers keeps the output's bias among the buffers, which nothing draws, and Marian's sines among the
    parameters, which are not to be drawn.
    """
    randomise(model)
    for name, buffer in model.named_buffers():
        if name == "final_logits_bias":
            buffer.normal_(generator=torch.Generator().manual_seed(5))
    for module in model.modules():
        if isinstance(module, MarianSinusoidalPositionalEmbedding):
            module.weight.copy_(module.create_weight())


@pytest.mark.parametrize(("family", "settings", "kind"), CASES)
def test_what_transformers_wrote(
    family: Family, settings: dict[str, Any], kind: str, tmp_path: Path, vocabulary: Path
) -> None:
    config = getattr(transformers, f"{NAMES[family.name]}Config")(**settings)
    config.num_labels = 2 if kind == "ForQuestionAnswering" else 5
    theirs = cls(family, kind)(config).eval()
    draw(theirs)
    theirs.save_pretrained(tmp_path)
    Tokenizer.load(vocabulary).save(tmp_path)
    before = weights.read(tmp_path)
    ours = hub.load(tmp_path)
    assert dict(ours.model.specs) == HEADS[kind]
    assert ours.fresh == ours.unused == ()
    assert_same(ours.model, theirs, kind)
    hub.export(ours, tmp_path / "again")
    after = weights.read(tmp_path / "again")
    if family is TRANSFORMER:  # the bare class writes the sines, which hold nothing of their own
        before = {name: tensor for name, tensor in before.items() if "embed_positions" not in name}
    assert after.keys() == before.keys()
    assert all(torch.equal(after[n], before[n]) for n in before)


@pytest.mark.parametrize(("family", "settings", "kind"), CASES)
def test_what_we_wrote(family: Family, settings: dict[str, Any], kind: str, tmp_path: Path, vocabulary: Path) -> None:
    config = keys.read(settings, family.keys, family.base)
    config = keys.changed(config, {"pooler": any(head.pooled for head in HEADS[kind].values())})
    model = Model(config, HEADS[kind]).eval()
    randomise(model)
    names = ("pad_token_id", "eos_token_id", "forced_eos_token_id")
    carried = {name: settings[name] for name in names if name in settings}
    hub.export(Pretrained(model, Tokenizer.load(vocabulary), family.name, carried=carried), tmp_path)
    theirs, report = cls(family, kind).from_pretrained(tmp_path, output_loading_info=True)
    assert weights.read_json(tmp_path / "config.json")["architectures"] == [NAMES[family.name] + kind]
    assert report["unexpected_keys"] == set()
    fixed = {name for name in report["missing_keys"] if name.endswith("embed_positions.weight")}
    assert report["missing_keys"] == (fixed if kind == "Model" and family is TRANSFORMER else set())  # sines, made anew
    assert_same(model, theirs.eval(), kind)
    again = hub.load(tmp_path)
    assert again.model.specs == model.specs
    assert again.model.config == config
    assert all(torch.equal(t, again.model.state_dict()[n]) for n, t in model.state_dict().items())


def blank(vocabulary: Path) -> tuple[Pretrained, int]:
    """A fresh Transformer of the tokenizer's size, drawn as the parity tests draw; its row that reads zeros."""
    tokenizer = Tokenizer.load(vocabulary)
    sizes = {"width": 24, "heads": 4, "layers": 2, "feedforward": 40}
    model = Model(keys.changed(TRANSFORMER.base_for(tokenizer), sizes), {"vocabulary": Vocabulary()}).eval()
    randomise(model)
    for module in model.modules():
        if isinstance(module, Begins):
            with torch.no_grad():
                module.begin()
    return Pretrained(model, tokenizer, "transformer"), tokenizer.vocabulary


def test_a_blank_start_stays_blank(tmp_path: Path, vocabulary: Path) -> None:
    """It reads zeros, is never answered, and no gradient comes to it; to transformers it is all that, too."""
    pretrained, start = blank(vocabulary)
    model = pretrained.model
    source, target = Packed.of([[2, 9, 3], [2, 3]]), Packed.of([[start, 8, 9], [start, 7]])
    rows = torch.arange(5)
    asked = (Labels("vocabulary", rows, rows + 5, side="outputs"),)
    (logits,) = model(Batch(Side(source), asked, Side(target)))
    assert logits.shape == (5, start)
    torch.nn.functional.cross_entropy(logits, rows + 5, label_smoothing=0.1).backward()
    table = model.core.embedding.table
    assert table is not None
    assert table.grad is not None
    assert not table[start].any()
    assert not table.grad[start].any()
    assert table.grad[:start].abs().amax(1).gt(0).all()
    hub.export(pretrained, tmp_path)
    theirs = transformers.MarianMTModel.from_pretrained(tmp_path).eval()
    mask = source.pad(torch.ones(5, dtype=torch.int64))
    with torch.no_grad():
        out = theirs(source.pad(source.tokens), mask, decoder_input_ids=target.pad(target.tokens)).logits
    expected = out[target.pad(torch.ones(5, dtype=torch.int64)).bool()]
    assert_equal(logits.detach(), expected[:, :start])
    assert expected[:, start].max() < -9e3
    assert hub.load(tmp_path).model.config == model.config


def test_ctranslate2_gives_the_same_scores(tmp_path: Path, vocabulary: Path) -> None:
    """Its own converter takes what we write; the log-probability of every token of any target, its end included."""
    ctranslate2 = peer("ctranslate2")
    pretrained, start = blank(vocabulary)
    hub.export(pretrained, tmp_path / "model")
    read = transformers.AutoTokenizer.from_pretrained(tmp_path / "model")
    assert read.eos_token_id == weights.read_json(tmp_path / "model" / "config.json")["eos_token_id"] == 3
    ctranslate2.converters.TransformersConverter(str(tmp_path / "model")).convert(str(tmp_path / "converted"))
    translator = ctranslate2.Translator(str(tmp_path / "converted"), device="cpu", compute_type="float32")
    generator = torch.Generator().manual_seed(0)
    drawn = [[torch.randint(5, start, (n,), generator=generator).tolist() for n in each] for each in (LENGTHS, TARGETS)]
    sources, targets = ([[*ids, 3] for ids in side] for side in drawn)
    words = [[[pretrained.tokenizer.token(i) for i in ids] for ids in side] for side in (sources, drawn[1])]
    found = [score.log_probs for score in translator.score_batch(*words)]
    asked = torch.tensor([i for ids in targets for i in ids])
    rows = torch.arange(len(asked))
    labels = (Labels("vocabulary", rows, asked, side="outputs"),)
    read = Packed.of([[start, *ids] for ids in drawn[1]])
    with torch.inference_mode():
        (logits,) = pretrained.model(Batch(Side(Packed.of(sources)), labels, Side(read)))
    ours = torch.log_softmax(logits, -1)[rows, asked]
    torch.testing.assert_close(torch.tensor([x for each in found for x in each]), ours, atol=1e-4, rtol=1e-4)


def test_ctranslate2_writes_the_same_texts(tmp_path: Path, vocabulary: Path) -> None:
    """The whole road of benchmarks/client.py, on random weights; and what it says of two texts that differ."""
    peer("ctranslate2")
    from benchmarks import client

    pretrained, start = blank(vocabulary)
    words = [t for t in pretrained.tokenizer.tokens(range(5, VOCABULARY)) if t.isalpha()]
    sources = [" ".join(words[i : i + n]) for i, n in enumerate((1, 4, 9))]
    made = client.client_of(pretrained, tmp_path)
    told = client.compared(pretrained, made, sources, [(source,) for source in sources], longest=12)
    assert [told[beams]["texts"] for beams in ("1", "4")] == [3, 3]
    assert (told["1"]["same"], told["1"]["differences"]) == (1.0, [])
    assert told["1"]["bleu"]["didact"] == told["1"]["bleu"]["ctranslate2"]
    assert "100.00 % of 3" in client.table(told)
    apart = client._difference(pretrained, (2, 7, 3), (8, 9, 10), (8, 11), 3, 12)
    theirs = transformers.MarianMTModel.from_pretrained(tmp_path / "exported").eval()
    with torch.inference_mode():
        logits = theirs(torch.tensor([[2, 7, 3]]), decoder_input_ids=torch.tensor([[start, 8]])).logits[0, 1]
    assert apart["where"] == 1
    assert apart["gap"] == pytest.approx(float(logits[9] - logits[11]), abs=1e-4)
