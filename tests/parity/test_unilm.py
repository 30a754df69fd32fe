"""UniLM against transformers: BERT's weights under an explicit attention mask of each of the four visibilities."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from parity_tools import VOCABULARY, assert_equal, randomise

from didact import hub
from didact.batch import Batch, Example
from didact.exchange import keys
from didact.families import UNILM
from didact.hub import weights
from didact.model import Model, Pretrained
from didact.objectives import UniLM
from didact.tokenization.tokenizer import Tokenizer

SIZES = {"width": 24, "layers": 3, "heads": 4, "feedforward": 40, "position.maximum": 16, "vocabulary": VOCABULARY}
CLS, SEP, MASK = 2, 3, 4
IDS = {"bidirectional": (0, 1), "left_to_right": (2, 2), "right_to_left": (3, 3), "seq2seq": (4, 5)}
LENGTHS = ((3, 2), (1, 6), (5, 5), (4, 1))


def sees(mode: str, q: int, k: int, source: int) -> bool:
    """The paper's figure 1: whether row q sees row k, the first `source` rows being the first segment."""
    match mode:
        case "left_to_right":
            return k <= q
        case "right_to_left":
            return k >= q
        case "seq2seq":
            return k < source or source <= k <= q
    return True


def examples() -> list[Example]:
    """[CLS] a [SEP] b [SEP], of several lengths."""
    rng = np.random.default_rng(0)
    made = []
    for a, b in LENGTHS:
        tokens = np.concatenate([[CLS], rng.integers(5, VOCABULARY, a), [SEP], rng.integers(5, VOCABULARY, b), [SEP]])
        made.append(Example(tokens, np.isin(tokens, (CLS, SEP)), np.repeat([0, 1], [a + 2, b + 1])))
    return made


def objective(mode: str) -> UniLM:
    shares: Any = tuple(float(mode == name) for name in IDS)
    return UniLM(MASK, VOCABULARY, (0, 1, CLS, SEP, MASK), shares=shares, next_sentence=False, rate=0.5)


@pytest.mark.parametrize("mode", IDS)
def test_every_visibility(mode: str, tmp_path: Path, vocabulary: Path) -> None:
    model = Model(keys.changed(UNILM.base, SIZES), objective(mode).heads).eval()
    randomise(model)
    hub.export(Pretrained(model, Tokenizer.load(vocabulary), "unilm"), tmp_path)
    theirs, report = transformers.AutoModelForMaskedLM.from_pretrained(
        tmp_path, output_loading_info=True, attn_implementation="eager"
    )
    assert report["missing_keys"] == set()
    assert {name for name in report["unexpected_keys"] if "pooler" not in name} == set()
    flat = objective(mode)(examples(), np.arange(4, dtype=np.uint64))
    batch: Batch = flat.batch(range(4))
    (asked,) = batch.labels
    packed = batch.inputs.packed
    assert packed.segments is not None
    longest = max(packed.lengths)
    mask = torch.full((4, 1, longest, longest), torch.finfo(torch.float32).min)
    for i, ((a, _), n) in enumerate(zip(LENGTHS, packed.lengths, strict=True)):
        seen = torch.tensor([[sees(mode, q, k, a + 2) for k in range(n)] for q in range(n)])
        mask[i, 0, :n, :n].masked_fill_(seen, 0.0)
    kept = packed.pad(torch.ones_like(packed.tokens)).bool()
    first, second = IDS[mode]
    wanted = [first if row < a + 2 else second for a, b in LENGTHS for row in range(a + b + 3)]
    assert packed.segments.tolist() == wanted
    with torch.inference_mode():
        (logits,) = model(batch)
        expected = theirs(
            input_ids=packed.pad(packed.tokens), token_type_ids=packed.pad(packed.segments), attention_mask=mask
        ).logits[kept]
    assert len(asked.rows) >= 8
    assert_equal(logits, expected[asked.rows], mode)


def test_a_mixture_in_one_pack_is_each_alone() -> None:
    own = UniLM(MASK, VOCABULARY, (0, 1, CLS, SEP, MASK), next_sentence=False, rate=0.5)
    model = Model(keys.changed(UNILM.base, SIZES), own.heads).eval()
    randomise(model)
    flat = own(examples() * 4, np.arange(16, dtype=np.uint64))
    assert len({tuple(asked.cuts.tolist()) for asked in flat.labels}) == 4
    assert all(len(asked.labels.rows) for asked in flat.labels)
    with torch.inference_mode():
        together = model(flat.batch(range(16)))
        alone = [model(flat.batch([i])) for i in range(16)]
    for number, logits in enumerate(together):
        assert_equal(logits, torch.cat([one[number] for one in alone]), flat.labels[number].labels.name)


def test_what_it_is_called(tmp_path: Path, vocabulary: Path) -> None:
    """BERT to others, UniLM here; the segments of a plain BERT are two."""
    model = Model(keys.changed(UNILM.base, SIZES), {}).eval()
    hub.export(Pretrained(model, Tokenizer.load(vocabulary), "unilm"), tmp_path)
    assert weights.read_json(tmp_path / "config.json")["model_type"] == "bert"
    assert weights.read_json(tmp_path / "config.json")["type_vocab_size"] == 6
    assert hub.load(tmp_path).family == "unilm"
