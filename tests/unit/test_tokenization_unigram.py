from __future__ import annotations

import math
from collections import Counter

import pytest
import tokenizers
from tokenizers import models

from didact.tokenization import unigram
from didact.tokenization.unigram import learn_pieces

STEMS = ["walk", "talk", "jump", "learn", "count", "paint"]
ENDINGS = ["", "s", "ed", "ing", "er", "ers"]


def words() -> Counter[str]:
    return Counter({f"▁{s}{e}": 7 + 3 * i + j for i, s in enumerate(STEMS) for j, e in enumerate(ENDINGS)})


def test_stems_and_endings_are_found() -> None:
    found = words()
    alphabet = sorted(set("".join(found)))
    pieces = learn_pieces(found, alphabet, len(alphabet) + 12)
    names = {piece for piece, _ in pieces}
    assert len(pieces) <= len(alphabet) + 12
    assert set(alphabet) <= names
    assert {f"▁{s}" for s in STEMS} <= names
    assert "ing" in names
    assert sum(math.exp(score) for _, score in pieces) == pytest.approx(1, abs=0.05)
    assert [s for _, s in pieces] == sorted((s for _, s in pieces), reverse=True)


def test_the_order_of_the_words_does_not_matter() -> None:
    found = words()
    backwards = Counter(dict(reversed(found.items())))
    alphabet = sorted(set("".join(found)))
    assert learn_pieces(found, alphabet, 40) == learn_pieces(backwards, alphabet[::-1], 40)


def test_only_the_most_frequent_words_are_learned_from(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unigram, "MOST_CHARACTERS", 20)
    found = Counter({"aaaaaaaa": 9, "bbbbbbbb": 8, "cccccccc": 7})
    names = {piece for piece, _ in learn_pieces(found, ["a", "b", "c"], 50)}
    assert "aaaaaaaa" in names
    assert not any("cc" in name for name in names)


def test_words_of_unknown_characters() -> None:
    pieces = dict(learn_pieces(Counter({"a你b": 5, "ab": 3}), ["a", "b"], 10))
    assert set(pieces) == {"a", "b", "ab"}


def test_the_best_segmentation_without_a_piece() -> None:
    import numpy as np

    pieces = ["a", "b", "ab", "abb"]
    scores = np.array([-1.0, -2.0, -1.5, -0.5])
    assert unigram._without(pieces, scores).tolist() == [-1.0, -2.0, -3.0, -3.5]


def test_as_good_as_the_trainer_of_tokenizers() -> None:
    found = words()
    alphabet = sorted(set("".join(found)))
    size = len(alphabet) + 12
    ours = [("<unk>", 0.0), *learn_pieces(found, alphabet, size)]
    theirs = tokenizers.Tokenizer(models.Unigram())
    trainer = tokenizers.trainers.UnigramTrainer(
        vocab_size=size + 1, special_tokens=["<unk>"], unk_token="<unk>", show_progress=False
    )
    theirs.train_from_iterator((w for w, n in found.items() for _ in range(n)), trainer)
    model = tokenizers.Tokenizer(models.Unigram(ours, unk_id=0))

    def spent(tokenizer: tokenizers.Tokenizer) -> int:
        return sum(len(tokenizer.encode(w)) * n for w, n in found.items())

    assert spent(model) <= 1.1 * spent(theirs)
