"""Encoder-decoders against transformers: every layer of both sides and every head, theirs padded, ours packed, in both
directions, lengths ragged on both sides.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from parity_tools import LENGTHS, VOCABULARY, assert_equal, randomise
from torch import Tensor

from didact import hub
from didact.batch import Batch, Labels, Side
from didact.exchange import keys
from didact.families import BART, Family
from didact.heads import Classes, Head, Span, Vocabulary
from didact.hub import weights
from didact.model import Model, Pretrained
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
CONFIGS: dict[str, tuple[Family, dict[str, Any]]] = {
    "bart": (BART, FAIRSEQ),
    "bart, scaled words": (BART, FAIRSEQ | {"scale_embedding": True, "activation_function": "relu"}),
}
NAMES = {"bart": "Bart"}
HEADS: dict[str, dict[str, Head]] = {
    "Model": {},
    "ForConditionalGeneration": {"vocabulary": Vocabulary()},
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


def bias(model: torch.nn.Module) -> None:
    """transformers keeps the output's bias among the buffers, which nothing draws."""
    for name, buffer in model.named_buffers():
        if name == "final_logits_bias":
            buffer.normal_(generator=torch.Generator().manual_seed(5))


@pytest.mark.parametrize(("family", "settings", "kind"), CASES)
def test_what_transformers_wrote(
    family: Family, settings: dict[str, Any], kind: str, tmp_path: Path, vocabulary: Path
) -> None:
    config = getattr(transformers, f"{NAMES[family.name]}Config")(**settings)
    config.num_labels = 5
    theirs = cls(family, kind)(config).eval()
    randomise(theirs)
    bias(theirs)
    theirs.save_pretrained(tmp_path)
    Tokenizer.load(vocabulary).save(tmp_path)
    before = weights.read(tmp_path)
    ours = hub.load(tmp_path)
    assert dict(ours.model.specs) == HEADS[kind]
    assert ours.fresh == ours.unused == ()
    assert_same(ours.model, theirs, kind)
    hub.export(ours, tmp_path / "again")
    after = weights.read(tmp_path / "again")
    assert after.keys() == before.keys()
    assert all(torch.equal(after[n], before[n]) for n in before)


@pytest.mark.parametrize(("family", "settings", "kind"), CASES)
def test_what_we_wrote(family: Family, settings: dict[str, Any], kind: str, tmp_path: Path, vocabulary: Path) -> None:
    config = keys.read(settings, family.keys, family.base)
    config = keys.changed(config, {"pooler": any(head.pooled for head in HEADS[kind].values())})
    model = Model(config, HEADS[kind]).eval()
    randomise(model)
    carried = {name: settings[name] for name in ("pad_token_id", "eos_token_id", "forced_eos_token_id")}
    hub.export(Pretrained(model, Tokenizer.load(vocabulary), family.name, carried=carried), tmp_path)
    theirs, report = cls(family, kind).from_pretrained(tmp_path, output_loading_info=True)
    assert weights.read_json(tmp_path / "config.json")["architectures"] == [NAMES[family.name] + kind]
    assert report["unexpected_keys"] == set()
    assert report["missing_keys"] == set()
    assert_same(model, theirs.eval(), kind)
    again = hub.load(tmp_path)
    assert again.model.specs == model.specs
    assert again.model.config == config
    assert all(torch.equal(t, again.model.state_dict()[n]) for n, t in model.state_dict().items())
