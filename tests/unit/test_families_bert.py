"""BERT's own settings and recipe."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from hub_tools import tokenizer

from didact.config import ModelConfig
from didact.errors import InputError
from didact.exchange import keys
from didact.families import BERT
from didact.heads import PairRelation, Vocabulary
from didact.hub.checkpoint import shapes_of
from didact.tokenization.tokenizer import Tokenizer


def test_the_base_model_is_bert_base() -> None:
    """109,482,240 parameters, as published and as transformers counts them (pooler included)."""
    assert ModelConfig() == BERT.base
    assert sum(shape.numel() for shape in shapes_of(BERT.base, {}).values()) == 109_482_240


def test_an_empty_config_has_transformers_defaults() -> None:
    assert keys.read({}, BERT.keys, BERT.base) == replace(BERT.base, dropout=0.1, attention_dropout=0.1)


def test_recipe(tmp_path: Path) -> None:
    objective = BERT.recipe(tokenizer(tmp_path))
    assert dict(objective.heads) == {"vocabulary": Vocabulary(), "pair_relation": PairRelation()}
    (tmp_path / "bare").mkdir()
    (tmp_path / "bare" / "vocab.txt").write_text("[UNK]\na\nb\n")
    with pytest.raises(InputError, match="no mask token"):
        BERT.recipe(Tokenizer.load(tmp_path / "bare"))


def test_code_from_a_checkpoint_is_refused() -> None:
    with pytest.raises(InputError, match="auto_map"):
        keys.read({"auto_map": {"AutoModel": "modeling_x.X"}}, BERT.keys, BERT.base)


def test_how_positions_begin_is_kept_where_it_is_not_berts_own() -> None:
    base = BERT.base
    looking = replace(base, position=replace(base.position, start="neighbours"))
    said = keys.write(looking, BERT.keys, {})
    assert said["position_initializer"] == "neighbours"
    assert keys.read(said, BERT.keys, base) == replace(looking, dropout=base.dropout)
    assert "position_initializer" not in keys.write(base, BERT.keys, {})
    with pytest.raises(InputError, match="position_initializer"):
        keys.read({**said, "position_initializer": "other"}, BERT.keys, base)
