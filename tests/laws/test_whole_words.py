"""Law: words are right in every script, the same for every tokenizer; punctuation apart, sentences never whole."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from didact.errors import InputError
from didact.tokenization import whole_words
from didact.tokenization.tokenizer import Tokenizer
from didact.tokenization.train import train

# script, text, its words
SCRIPTS: tuple[tuple[str, str, list[str]], ...] = (
    (
        "Latin",
        "The cat's 3.5 naïve, unbelievable e-mails!",
        ["The", "cat", "'", "s", "3", ".", "5", "naïve", ",", "unbelievable", "e", "-", "mails", "!"],
    ),
    ("Latin, decomposed", "cafe\u0301 de\u0301ja\u0300 vu", ["cafe\u0301", "de\u0301ja\u0300", "vu"]),
    ("Turkish", "İstanbul'da güneşli.", ["İstanbul", "'", "da", "güneşli", "."]),
    ("Cyrillic", "Мама мыла раму, правда?", ["Мама", "мыла", "раму", ",", "правда", "?"]),
    ("Greek", "Καλημέρα, κόσμε;", ["Καλημέρα", ",", "κόσμε", ";"]),
    ("Arabic", "مُحَمَّد كتب الرسالة، نعم؟", ["مُحَمَّد", "كتب", "الرسالة", "،", "نعم", "؟"]),
    ("Persian, with joiners", "می\u200cخواهم بروم.", ["می\u200cخواهم", "بروم", "."]),
    ("Hebrew", "שָׁלוֹם עולם!", ["שָׁלוֹם", "עולם", "!"]),
    ("Devanagari", "नमस्ते दुनिया, क्या हाल है।", ["नमस्ते", "दुनिया", ",", "क्या", "हाल", "है", "।"]),
    ("Chinese", "我爱北京，2020年。", ["我", "爱", "北", "京", "，", "2020", "年", "。"]),
    ("Chinese and Latin", "用Python写AI程序", ["用", "Python", "写", "AI", "程", "序"]),
    ("Japanese", "コーヒーを飲む。", ["コー", "ヒー", "を", "飲", "む", "。"]),
    ("Korean", "나는 학교에 간다.", ["나는", "학교에", "간다", "."]),
    ("Thai", "น้ำดีมาก 5 บาท", ["น้ำ", "ดี", "ม", "า", "ก", "5", "บ", "า", "ท"]),
    ("Lao", "ຂ້ອຍ", ["ຂ້", "ອ", "ຍ"]),
    ("Khmer", "ខ្មែរ", ["ខ្មែ", "រ"]),
    ("Burmese", "မြန်မာ", ["မြ", "န်", "မာ"]),
    ("Tibetan", "བོད་སྐད།", ["བོད", "་", "སྐད", "།"]),
    ("Emoji", "ok👍🏽 yes", ["ok", "👍🏽", "yes"]),
    ("Code", "def foo_bar(x):", ["def", "foo", "_", "bar", "(", "x", ")", ":"]),
    ("short DNA", "ACGT TTGA", ["ACGT", "TTGA"]),
    ("DNA", "ACGT" * 40, ["A", "C", "G", "T"] * 40),
    ("protein among words", "x " + "MKV" * 50 + " y", ["x", *"MKV" * 50, "y"]),
)
KINDS = ("wordpiece", "bpe", "unigram", "char")
IDS = [name for name, _, _ in SCRIPTS]


@pytest.fixture(scope="module", params=KINDS)
def tokenizer(request: pytest.FixtureRequest) -> Tokenizer:
    return train([text for _, text, _ in SCRIPTS] * 2, request.param, 700, cased=True)[0]


@pytest.mark.parametrize(("text", "words"), [(t, w) for _, t, w in SCRIPTS], ids=IDS)
def test_words_of_a_text(text: str, words: list[str]) -> None:
    assert whole_words.words(text) == words


@pytest.mark.parametrize(("text", "words"), [(t, w) for _, t, w in SCRIPTS], ids=IDS)
def test_tokens_of_one_word_have_one_number_whatever_the_tokenizer(
    tokenizer: Tokenizer, text: str, words: list[str]
) -> None:
    encoded = tokenizer.encode(text)
    assert encoded.offsets is not None
    numbers = whole_words.number(encoded.word_starts)
    starts = np.flatnonzero(whole_words.boundaries(text))
    assert numbers[0] == 0
    assert set(np.diff(numbers)) <= {0, 1}
    for row in range(len(encoded)):
        a, b = encoded.offsets[row]
        inside = text[a:b].strip()
        if row and encoded.word_starts[row] and inside:
            # a word starts where the token's first visible character is
            first = a + text[a:b].index(inside)
            assert first in starts, (text, inside)
    if tokenizer.kind != "WordPiece" or max(map(len, text.split())) <= 100:  # longer ones are one [UNK]
        covered = np.unique(numbers).size
        assert 1 <= covered <= len(words)
        joined = numbers[np.flatnonzero(encoded.word_starts)]
        assert (joined == np.arange(len(joined))).all()


@pytest.mark.parametrize("kind", KINDS)
def test_all_tokenizers_count_the_same_words_where_no_token_spans_two(kind: str) -> None:
    text = "Мама unbelievably 中国人 नमस्ते, ok."
    tokenizer, _ = train([text + " x"], kind, 300, cased=True)
    encoded = tokenizer.encode(text)
    assert encoded.offsets is not None
    spans_two = any(
        whole_words.boundaries(text)[a + 1 : b].any() and text[a:b].strip() == text[a:b]
        for a, b in encoded.offsets.tolist()
    )
    if not spans_two:
        assert encoded.word_starts.sum() == len(whole_words.words(text))


def test_a_long_chinese_sentence_is_never_one_word(tokenizer: Tokenizer) -> None:
    text = "我爱北京天安门天安门上太阳升" * 3
    encoded = tokenizer.encode(text)
    sizes = np.bincount(whole_words.number(encoded.word_starts))
    assert len(encoded) > 3
    assert sizes.max() <= 3  # byte-level: a character is three tokens at most


def test_a_segmenter_makes_words_of_scripts_without_spaces_and_of_nothing_else(tokenizer: Tokenizer) -> None:
    asked: list[str] = []

    def segmenter(run: str) -> list[str]:
        asked.append(run)
        return [run[i : i + 2] for i in range(0, len(run), 2)]

    text = "我爱北京 and 天安门, ok"
    assert whole_words.words(text, segmenter) == ["我爱", "北京", "and", "天安", "门", ",", "ok"]
    assert asked == ["我爱北京", "天安门"]
    encoded = tokenizer.encode(text, segmenter=segmenter)
    starts = np.flatnonzero(whole_words.boundaries(text, segmenter))
    assert encoded.offsets is not None
    firsts = encoded.offsets[np.flatnonzero(encoded.word_starts), 0]
    assert all(text[f] == " " or f in starts for f in firsts.tolist())


def test_a_segmenter_that_changes_the_text_is_an_error() -> None:
    with pytest.raises(ValueError, match="changed the text"):
        whole_words.boundaries("我爱北京", lambda _: ["我", "京"])


def test_jieba() -> None:
    pytest.importorskip("jieba", reason="the extra zh is not installed")
    segmenter = dict(whole_words.SEGMENTERS)["jieba"]()
    assert whole_words.words("我爱北京天安门，好。", segmenter) == ["我", "爱", "北京", "天安门", "，", "好", "。"]


def test_jieba_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "jieba", None)
    with pytest.raises(InputError, match=r"no jieba is installed; expected pip install 'didact\[zh\]'"):
        whole_words.jieba_segmenter()


def test_white_space_alone_belongs_to_the_word_after_it() -> None:
    kinds = whole_words.classes(whole_words.codes("a  b"))
    offsets = whole_words.visible(kinds, np.array([[0, 1], [1, 2], [2, 3], [3, 4]]))
    assert whole_words.token_starts(whole_words.boundaries("a  b"), offsets).tolist() == [True, True, False, False]


@pytest.mark.parametrize("text", ["", " ", "\u0301", "\u200b\u200d", "\n\n"])
def test_texts_without_words(text: str) -> None:
    assert whole_words.words(text) == []
    assert whole_words.boundaries(text).shape == (len(text),)
