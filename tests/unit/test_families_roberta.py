"""RoBERTa's positions begin after the padding token's id, whatever it is; XLM-R shares its tables."""

from __future__ import annotations

import pytest
from data_tools import small_tokenizer

from didact.config import Position
from didact.exchange import keys
from didact.families import ROBERTA, XLM_ROBERTA
from didact.objectives import Masked
from didact.tokenization.tokenizer import Tokenizer


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    """Of a vocabulary that begins with [PAD]."""
    return small_tokenizer(tmp_path_factory.mktemp("tokenizer"))


@pytest.mark.parametrize(
    ("said", "position"),
    [
        ({"max_position_embeddings": 514}, Position(maximum=512, offset=2)),
        ({"max_position_embeddings": 514, "pad_token_id": 0}, Position(maximum=513, offset=1)),
        ({}, Position(maximum=510, offset=2)),  # what transformers makes of a file that says nothing
    ],
)
def test_rows_of_the_table_are_positions_and_an_offset(said: dict[str, int], position: Position) -> None:
    config = keys.read(said, ROBERTA.keys, ROBERTA.base)
    assert config.position == position
    back = keys.write(config, ROBERTA.keys, {})
    assert back["max_position_embeddings"] == said.get("max_position_embeddings", 512)
    assert back["pad_token_id"] == said.get("pad_token_id", 1)


def test_a_fresh_model_fits_its_tokenizer(tokenizer: Tokenizer) -> None:
    assert tokenizer.pad == 0
    config = ROBERTA.base_for(tokenizer)
    assert (config.vocabulary, config.position.offset, config.position.maximum) == (tokenizer.vocabulary, 1, 512)
    assert keys.write(config, ROBERTA.keys, {})["max_position_embeddings"] == 513


def test_one_table_for_both() -> None:
    assert XLM_ROBERTA.keys is ROBERTA.keys
    assert XLM_ROBERTA.names is ROBERTA.names
    assert [a.name.removeprefix("XLM").lower() for a in XLM_ROBERTA.architectures] == [
        a.name.lower() for a in ROBERTA.architectures
    ]
    assert (ROBERTA.tokenizer, XLM_ROBERTA.tokenizer) == ("bpe", "unigram")


def test_its_recipe_is_masked_tokens_alone(tokenizer: Tokenizer) -> None:
    objective = ROBERTA.recipe(tokenizer)
    assert isinstance(objective, Masked)
    assert (objective.rate, objective.select.kind, objective.relation) == (0.15, "tokens", None)
