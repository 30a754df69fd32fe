"""ELECTRA's own settings and recipe."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
import transformers
from hub_tools import tokenizer

from didact.errors import InputError
from didact.exchange import keys
from didact.families import ELECTRA
from didact.heads import Replacement, Vocabulary
from didact.hub.checkpoint import shapes_of
from didact.objectives import Replaced
from didact.tokenization.tokenizer import Tokenizer


def test_the_base_model_is_electra_small(tmp_path: Path) -> None:
    """14 M parameters (Clark et al., 2020, table 1), as many as transformers' has that is made of nothing said."""
    with torch.device("meta"):
        theirs = transformers.ElectraForPreTraining(transformers.ElectraConfig())
    ours = shapes_of(ELECTRA.base, ELECTRA.recipe(tokenizer(tmp_path)).heads)
    assert sum(shape.numel() for shape in ours.values()) == theirs.num_parameters() == 13_549_057


def test_an_empty_config_has_transformers_defaults() -> None:
    assert keys.read({}, ELECTRA.keys, ELECTRA.base) == replace(ELECTRA.base, dropout=0.1, attention_dropout=0.1)


def test_recipe(tmp_path: Path) -> None:
    """Table 6: 15 % masked, a generator of a quarter, the weight 50."""
    objective = ELECTRA.recipe(tokenizer(tmp_path))
    assert isinstance(objective, Replaced)
    assert (objective.rate, objective.detection) == (0.15, 50.0)
    assert dict(objective.heads) == {"replaced": Replacement()}
    generator = objective.companions(ELECTRA.base)["generator"]
    assert dict(generator.heads) == {"vocabulary": Vocabulary()}
    assert (generator.config.width, generator.config.layers, generator.config.embedding_width) == (64, 12, 128)
    (tmp_path / "bare").mkdir()
    (tmp_path / "bare" / "vocab.txt").write_text("[UNK]\na\nb\n")
    with pytest.raises(InputError, match="no mask token"):
        ELECTRA.recipe(Tokenizer.load(tmp_path / "bare"))


def test_another_summary_is_refused() -> None:
    for key, value in (("summary_type", "last"), ("summary_activation", "tanh"), ("summary_use_proj", False)):
        with pytest.raises(InputError, match=key):
            keys.read({key: value}, ELECTRA.keys, ELECTRA.base)
