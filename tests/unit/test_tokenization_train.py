from __future__ import annotations

import random
import subprocess
import sys
from pathlib import Path

import pytest
import tokenizers
from tokenizers import models

from didact.errors import InputError
from didact.tokenization import train as module
from didact.tokenization.pipelines import KINDS
from didact.tokenization.tokenizer import Tokenizer
from didact.tokenization.train import train

ENGLISH = "The old painter painted walls, talked and walked. Walkers talk; painters paint. It couldn't be 42! "
CHINESE = "今天天气很好，我们去公园散步吧。他们说这个公园很大，里面有很多花。"
SCRIPT = """
import random, sys
from didact.tokenization.train import train
kind, seed = sys.argv[1], int(sys.argv[2])
stems, ends = ("walk", "talk", "paint", "code"), ("s", "ed", "ing", "")
words = [f"{a}{b}{c}" for a in ("un", "re", "de", "") for b in stems for c in ends]
rng = random.Random(1)
texts = [" ".join(rng.choices(words, k=12)) + " 中国人民。" for _ in range(60)]
random.Random(seed).shuffle(texts)
print(train(texts, kind, 300 if kind in ("bpe", "gpt2") else 90, k=3)[0].fingerprint)
"""


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_texts_give_the_same_tokenizer_in_any_order_and_process(kind: str) -> None:
    root = Path(__file__).resolve().parents[2]
    found = {
        subprocess.run(
            [sys.executable, "-c", SCRIPT, kind, str(seed)], capture_output=True, text=True, check=True, cwd=root
        ).stdout
        for seed in range(4)
    }
    assert len(found) == 1


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("text", [ENGLISH * 5, CHINESE * 5, "ACGTTGCA" * 200], ids=["English", "Chinese", "DNA"])
def test_what_was_learned_from_can_be_written(kind: str, text: str) -> None:
    size = 400
    tokenizer, report = train([text, text[: len(text) // 2]], kind, size, cased=True, k=4)
    assert tokenizer.vocabulary <= size
    assert tokenizer.special_ids == ((0,) if kind == "gpt2" else (0, 1, 2, 3, 4))
    if not (kind in ("wordpiece", "word") and text.startswith("ACGT")):  # a word of more than 100 is given up
        assert report.unknown == 0
        assert report.coverage == 1
        encoded = tokenizer.encode(text)
        assert tokenizer.unk not in encoded.tokens
        written = tokenizer.decode(encoded.tokens)
        assert "".join(written.split()) == "".join(text.split()) or kind == "unigram"  # NFKC makes ， a comma
    assert str(report.vocabulary) in str(report).replace(",", "")


def test_cased_and_uncased() -> None:
    for kind in KINDS:
        cased, _ = train([ENGLISH + "É"] * 3, kind, 300, cased=True)
        small, _ = train([ENGLISH + "É"] * 3, kind, 300)
        assert cased.encode("The").tokens.tolist() != cased.encode("the").tokens.tolist()
        assert (
            small.encode("The É").tokens.tolist()
            == small.encode("the e" if kind != "kmer" else "the é").tokens.tolist()
        )


def test_korean_stays_whole_without_accents() -> None:
    tokenizer, _ = train(["나는 학교에 간다"] * 3, "unigram", 60)
    assert all(len(piece) < 2 or "\u1100" not in piece for piece in tokenizer.tokens(range(tokenizer.vocabulary)))
    assert tokenizer.decode(tokenizer.encode("나는").tokens) == "나는"


def test_kmers() -> None:
    tokenizer, _ = train(["ACGTAC GGGACG"] * 3, "kmer", 50, cased=True, k=3)
    e = tokenizer.encode("ACGGGGTTTAC")
    assert tokenizer.tokens(e.tokens) == ["ACG", "GGG", "T", "T", "T", "A", "C"]
    assert e.offsets is not None
    assert e.offsets[-1].tolist() == [10, 11]


def test_words_are_whole_and_the_most_frequent_are_known() -> None:
    tokenizer, report = train(["the cat, the dog. the cat! a bird"], "word", 8)
    assert tokenizer.tokens(range(5, tokenizer.vocabulary)) == ["the", "cat", "!"]
    encoded = tokenizer.encode("The cat sat!")
    assert tokenizer.tokens(encoded.tokens) == ["the", "cat", "[UNK]", "!"]
    assert encoded.source_bytes is not None
    assert encoded.source_bytes.sum() == 12
    assert report.unknown > 0
    assert tokenizer.decode(encoded.tokens) == "the cat !"


def test_the_vocabulary_is_filled() -> None:
    words = [f"{a}{b}{c}" for a in "bcdfg" for b in "aeiou" for c in "lmnrst"]
    texts = [" ".join(random.Random(i).choices(words, k=50)) for i in range(30)]
    for kind in ("wordpiece", "unigram"):
        assert train(texts, kind, 100)[0].vocabulary == 100
    assert train(texts, "bpe", 350)[0].vocabulary == 350


def test_rare_characters_are_left_out_of_a_small_vocabulary() -> None:
    text = "a" * 3 + "".join(chr(0x4E00 + i) for i in range(500))
    tokenizer, report = train([" ".join(text)], "wordpiece", 105)
    assert tokenizer.vocabulary <= 105
    assert report.coverage < 1
    assert report.unknown > 0
    assert "unknown" in str(report)


def test_scripts_without_spaces_do_not_take_all_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_SYMBOLS", 500)
    texts = ["".join(chr(0x4E00 + (i * j) % 997) for j in range(1, 200)) for i in range(20)]
    _, report = train(texts, "bpe", 300)
    assert report.texts < report.of_texts == 20
    assert report.size < report.of_size


def test_the_sample_has_a_size() -> None:
    _, report = train([f"{ENGLISH} {i}" for i in range(50)], "wordpiece", 100, sample_bytes=1000)
    assert report.size <= 1000 < report.of_size
    assert "of 50 texts" in str(report)


def test_progress_is_told() -> None:
    told: list[tuple[str, float]] = []
    train([ENGLISH], "wordpiece", 60, progress=lambda what, share: told.append((what, share)))
    assert [what for what, _ in told] == ["reading", "counting words", "learning", "measuring"]
    assert all(0 <= share <= 1 for _, share in told)


@pytest.mark.parametrize("texts", [[], [""], ["  \n"]])
def test_no_text(texts: list[str]) -> None:
    with pytest.raises(InputError, match="no text"):
        train(texts)


@pytest.mark.parametrize(("kind", "size"), [("wordpiece", 5), ("bpe", 260)])
def test_a_vocabulary_that_is_too_small(kind: str, size: int) -> None:
    with pytest.raises(InputError, match="at least"):
        train([ENGLISH], kind, size)  # type: ignore[arg-type]


def test_no_such_kind() -> None:
    with pytest.raises(InputError, match="expected one of wordpiece"):
        train([ENGLISH], "words", 100)  # type: ignore[arg-type]


def test_what_is_learned_loads(tmp_path: Path) -> None:
    tokenizer, _ = train([ENGLISH], "wordpiece", 100)
    tokenizer.save(tmp_path)
    assert (tmp_path / "vocab.txt").read_text(encoding="utf-8").splitlines()[:5] == tokenizer.tokens(range(5))
    again = Tokenizer.load(tmp_path / "vocab.txt")
    assert again.encode(ENGLISH).tokens.tolist() == tokenizer.encode(ENGLISH).tokens.tolist()


@pytest.mark.parametrize("kind", KINDS)
def test_sentinels_and_further_special_tokens_come_last(kind: str, tmp_path: Path) -> None:
    size = 300 if kind in ("bpe", "gpt2") else 60
    plain, _ = train([ENGLISH] * 3, kind, size - 5, k=3)  # type: ignore[arg-type]
    with_them, _ = train([ENGLISH] * 3, kind, size, k=3, sentinels=3, special=("[R]", "[X]"))  # type: ignore[arg-type]
    assert with_them.vocabulary == plain.vocabulary + 5 <= size
    last = range(plain.vocabulary, plain.vocabulary + 5)
    assert with_them.tokens(last) == ["[R]", "[X]", "<extra_id_0>", "<extra_id_1>", "<extra_id_2>"]
    assert with_them.sentinels == tuple(last)[2:]
    assert set(last) <= set(with_them.special_ids)
    assert plain.sentinels == ()
    assert with_them.encode(ENGLISH).tokens.tolist() == plain.encode(ENGLISH).tokens.tolist()
    with_them.save(tmp_path)
    assert Tokenizer.load(tmp_path).sentinels == with_them.sentinels
    with pytest.raises(InputError, match=r"a vocabulary of 8; expected at least (1[13]|26[346])"):
        train([ENGLISH], kind, 8, sentinels=5)  # type: ignore[arg-type]


def test_sentinels_end_at_the_first_that_is_missing() -> None:
    """T5 adds them from the end of its vocabulary backwards; in mT5's they are pieces that begin like words."""
    added, _ = train([ENGLISH] * 3, "word", 60, special=tuple(f"<extra_id_{i}>" for i in (2, 1, 0, 4)))
    assert added.tokens(added.sentinels) == ["<extra_id_0>", "<extra_id_1>", "<extra_id_2>"]
    assert list(added.sentinels) == sorted(added.sentinels, reverse=True)
    pieces = {name: i for i, name in enumerate(["[UNK]", "▁the", "▁<extra_id_1>", "▁<extra_id_0>"])}
    found = Tokenizer(tokenizers.Tokenizer(models.WordLevel(pieces, unk_token="[UNK]")))
    assert found.sentinels == (3, 2)
