"""What the recipes share: masked words, and a line where there is no mask token."""

from __future__ import annotations

from pathlib import Path

import pytest
from data_tools import small_tokenizer

from didact.errors import InputError
from didact.families import FAMILIES, Family
from didact.families.recipes import masked
from didact.tokenization.tokenizer import Tokenizer


def test_masked_words_of_a_tokenizer(tmp_path: Path) -> None:
    tokenizer = small_tokenizer(tmp_path)
    made = masked(tokenizer, rate=0.3)
    assert (made.mask_id, made.vocabulary, made.rate) == (tokenizer.mask, tokenizer.vocabulary, 0.3)


def test_a_tokenizer_without_a_mask_is_refused(tmp_path: Path) -> None:
    (tmp_path / "vocab.txt").write_text("[PAD]\n[UNK]\n[CLS]\n[SEP]\na\n", encoding="utf-8")
    with pytest.raises(InputError, match="no mask token"):
        masked(Tokenizer.load(tmp_path / "vocab.txt"))


@pytest.mark.parametrize("family", FAMILIES, ids=lambda f: f.name)
def test_every_recipe_can_be_made(family: Family, tmp_path: Path) -> None:
    assert family.recipe(small_tokenizer(tmp_path)).names
