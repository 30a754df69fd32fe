"""A real BERT, MiniLM-L6: hidden states and vectors on real texts, other readers of what we write, bytes kept."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from parity_tools import TEXTS, assert_equal, minilm, peer
from safetensors.torch import load_file

import didact
from didact import hub
from didact.batch import Side
from didact.data.lay import lay
from didact.heads import Classes, EmbeddingHead, Vocabulary
from didact.hub import weights
from didact.model import Pretrained
from didact.tokenization.tokenizer import frame


@pytest.fixture(scope="module")
def ours() -> Pretrained:
    return didact.load(minilm())


def packed(ours: Pretrained, texts: tuple[str, ...] = TEXTS) -> Side:
    examples = [frame(ours.tokenizer, e, max_length=512) for e in ours.tokenizer.encode_many(texts)]
    return lay(examples).batch(np.arange(len(texts))).inputs


def test_hidden_states(ours: Pretrained) -> None:
    theirs = transformers.AutoModel.from_pretrained(minilm()).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(minilm())
    inputs = tokenizer(list(TEXTS), padding=True, truncation=True, max_length=512, return_tensors="pt")
    kept = inputs["attention_mask"].bool()
    side = packed(ours)
    assert torch.equal(side.packed.tokens, inputs["input_ids"][kept])
    with torch.inference_mode():
        hidden = ours.model.hidden(side, layers=True)
        out = theirs(**inputs, output_hidden_states=True)
    for i, (a, b) in enumerate(zip(hidden.layers, out.hidden_states, strict=True)):
        assert_equal(a, b[kept], f"layer {i}")


def test_a_pack_changes_nothing(ours: Pretrained) -> None:
    together = ours.embed(TEXTS)
    for i, text in enumerate(TEXTS):
        assert_equal(torch.from_numpy(ours.embed([text])[0]), torch.from_numpy(together[i]), text)
    assert_equal(torch.from_numpy(ours.embed(TEXTS, batch_tokens=32)), torch.from_numpy(together))


@pytest.mark.parametrize("pooling", ["mean", "cls", "max"])
def test_sentence_transformers_opens_what_we_write(pooling: Any, tmp_path: Path) -> None:
    peer("sentence_transformers")
    from sentence_transformers import SentenceTransformer

    head = EmbeddingHead(pooling, normalise=pooling != "max", maximum=64)
    written = hub.load(minilm(), {"embedding": head})
    assert written.fresh == ()
    hub.export(written, tmp_path)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # theirs, of its own deprecations
        theirs = SentenceTransformer(str(tmp_path), device="cpu").encode(list(TEXTS), show_progress_bar=False)
    again = didact.load(tmp_path)
    assert again.model.specs == {"embedding": head}
    assert_equal(torch.from_numpy(again.embed(TEXTS)), torch.from_numpy(theirs), pooling)
    own = hub.load(tmp_path, {}).embed(TEXTS[:3], pooling=pooling)
    assert own.shape == (3, 384)


def test_sentence_transformers_reads_its_own_folder_as_we_do(ours: Pretrained) -> None:
    peer("sentence_transformers")
    from sentence_transformers import SentenceTransformer

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = SentenceTransformer(str(minilm()), device="cpu").encode(list(TEXTS), show_progress_bar=False)
    assert_equal(torch.from_numpy(ours.embed(TEXTS)), torch.from_numpy(theirs))


def test_ctranslate2_converts_what_we_write(ours: Pretrained, tmp_path: Path) -> None:
    ctranslate2 = peer("ctranslate2")
    hub.export(ours, tmp_path / "huggingface")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        converter = ctranslate2.converters.TransformersConverter(str(tmp_path / "huggingface"))
        converter.convert(str(tmp_path / "ctranslate2"))
    encoder = ctranslate2.Encoder(str(tmp_path / "ctranslate2"), device="cpu", compute_type="float32", intra_threads=1)
    side = packed(ours)
    tokens = [t.tolist() for t in side.packed.tokens.split(side.packed.lengths)]
    out = torch.from_numpy(np.array(encoder.forward_batch(tokens).last_hidden_state))
    with torch.inference_mode():
        hidden = ours.model.hidden(side).main
    kept = side.packed.pad(torch.ones_like(side.packed.tokens)).bool()
    assert_equal(hidden, out[kept])


def test_there_and_back_keeps_every_byte(tmp_path: Path) -> None:
    source = minilm()
    hub.convert(source, tmp_path / "didact")
    own = weights.read(tmp_path / "didact")
    assert "core.blocks.0.attention.qkv.weight" in own
    assert weights.read_json(tmp_path / "didact" / "config.json")["model_type"] == "didact"
    hub.convert(tmp_path / "didact", tmp_path / "back")
    before, after = load_file(source / "model.safetensors"), load_file(tmp_path / "back" / "model.safetensors")
    assert before.keys() - after.keys() == {"embeddings.position_ids"}  # 0, 1, 2 …: holds nothing of its own
    for name, tensor in after.items():
        assert tensor.dtype == before[name].dtype
        assert tensor.numpy().tobytes() == before[name].numpy().tobytes()
    said, says = (weights.read_json(f / "config.json") for f in (source, tmp_path / "back"))
    assert {k: v for k, v in says.items() if k in said} == said
    for name in ("tokenizer.json", "vocab.txt", "tokenizer_config.json", "special_tokens_map.json"):
        assert (source / name).read_bytes() == (tmp_path / "back" / name).read_bytes()
    a, b = (didact.load(tmp_path / name) for name in ("didact", "back"))
    assert a.model.specs == b.model.specs
    assert np.array_equal(a.embed(TEXTS), b.embed(TEXTS))


def test_new_heads_are_drawn_and_reported() -> None:
    heads = {"classes": Classes(3, dropout=0.0), "vocabulary": Vocabulary()}
    one, two, other = (
        hub.load(minilm(), heads, generator=torch.Generator().manual_seed(seed), changes={"dropout": 0.0})
        for seed in (0, 0, 1)
    )
    assert {name.split(".")[1] for name in one.fresh} == {"classes", "vocabulary"}
    assert one.model.config.dropout == 0.0
    for name in ("heads.classes.dense.weight", "heads.vocabulary.dense.weight"):
        states = [m.model.state_dict()[name] for m in (one, two, other)]
        assert torch.equal(states[0], states[1])
        assert not torch.equal(states[0], states[2])
    scratch = hub.load(minilm(), heads, scratch=True, changes={"layers": 2})
    assert len(scratch.model.core.blocks) == 2
    assert scratch.model.core.embedding.word.weight.std().item() == pytest.approx(0.02, rel=0.05)
