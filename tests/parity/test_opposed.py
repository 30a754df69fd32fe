"""Two stacks that look in opposite directions against transformers: two BERTs, each under an explicit triangle."""

from __future__ import annotations

from pathlib import Path

import torch
import transformers
from parity_tools import VOCABULARY, assert_equal, ragged, randomise

from didact import hub
from didact.config import ModelConfig, Position
from didact.model import Model, Pretrained
from didact.nn.opposed import Opposed, Pair
from didact.nn.transformer import Transformer
from didact.tokenization.tokenizer import Tokenizer

BOTH = ModelConfig(
    vocabulary=VOCABULARY, width=48, layers=3, heads=4, feedforward=80, position=Position(maximum=16), core="opposed"
)
HALF = ModelConfig(vocabulary=VOCABULARY, width=24, layers=3, heads=2, feedforward=40, position=Position(maximum=16))


def half(core: Opposed, side: str) -> Model:
    """One direction of `core` as a plain BERT."""
    model = Model(HALF, {}).eval()
    assert isinstance(model.core, Transformer)
    model.core.embedding.load_state_dict(core.embedding.state_dict())
    for mine, both in zip(model.core.blocks, core.blocks, strict=True):
        assert isinstance(both, Pair)
        mine.load_state_dict(getattr(both, side).state_dict())
    return model


def test_each_direction_is_a_bert_under_a_triangle(tmp_path: Path, vocabulary: Path) -> None:
    model = Model(BOTH, {}).eval()
    randomise(model)
    assert isinstance(model.core, Opposed)
    side, padded = ragged()
    kept = padded["attention_mask"].bool()
    rows = torch.arange(padded["input_ids"].shape[1])
    triangles = {"forwards": rows[None, :] <= rows[:, None], "backwards": rows[None, :] >= rows[:, None]}
    expected = {}
    for name, triangle in triangles.items():
        hub.export(Pretrained(half(model.core, name), Tokenizer.load(vocabulary), "bert"), tmp_path / name)
        theirs = transformers.BertModel.from_pretrained(tmp_path / name, attn_implementation="eager").eval()
        seen = triangle & kept[:, None, None, :]
        mask = torch.zeros(seen.shape).masked_fill(~seen, torch.finfo(torch.float32).min)
        with torch.inference_mode():
            expected[name] = theirs(**(padded | {"attention_mask": mask})).last_hidden_state[kept]
    with torch.inference_mode():
        hidden = model.hidden(side, layers=True)
    assert_equal(hidden.streams["forward"], expected["forwards"], "forward")
    assert_equal(hidden.streams["backward"], expected["backwards"], "backward")
    assert_equal(hidden.main, torch.cat((expected["forwards"], expected["backwards"]), -1), "main")
    assert torch.equal(hidden.layers[-1], hidden.main)
