from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import AddedToken, models, pre_tokenizers, processors
from tokenizers import Tokenizer as Backend

from didact.batch import Source
from didact.errors import InputError
from didact.tokenization.encoded import Encoded
from didact.tokenization.frame import BARE, bert_template, read_template, roberta_template
from didact.tokenization.tokenizer import Tokenizer, frame
from didact.tokenization.train import train

TEXT = "The cat couldn't unaffordably sit on the re-made mat , 中国 . " * 3


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return train([TEXT], "wordpiece", 120)[0]


def test_one_text(tokenizer: Tokenizer) -> None:
    a = tokenizer.encode("The cat's mat")
    e = frame(tokenizer, a, targets={"label": 1}, source=Source("x", 3))
    assert tokenizer.tokens(e.tokens)[0] == "[CLS]"
    assert tokenizer.tokens(e.tokens)[-1] == "[SEP]"
    assert e.special.tolist() == [True, *[False] * len(a), True]
    assert e.words is not None
    assert (e.words[0], e.words[-1]) == (-1, -1)
    assert sorted(set(e.words[1:-1].tolist())) == [0, 1, 2, 3, 4]  # the cat ' s mat
    assert e.offsets is not None
    assert a.offsets is not None
    np.testing.assert_array_equal(e.offsets[1:-1], a.offsets)
    assert e.offsets[0].tolist() == [0, 0]
    assert e.source_bytes is not None
    assert e.source_bytes.sum() == len("The cat's mat")
    assert e.segments is not None
    assert not e.segments.any()
    assert (dict(e.targets), e.source) == ({"label": 1}, Source("x", 3))


def test_a_pair(tokenizer: Tokenizer) -> None:
    a, b = tokenizer.encode_many(["the cat", "the mat ."])
    e = frame(tokenizer, a, b)
    assert e.segments is not None
    assert e.segments.tolist() == [0] * (len(a) + 2) + [1] * (len(b) + 1)
    assert e.words is not None
    numbers = [w for w in e.words.tolist() if w >= 0]
    assert sorted(set(numbers)) == [0, 1, 2, 3, 4]
    assert e.special.sum() == 3


def test_words_go_on_counting_where_a_text_begins_inside_a_word(tokenizer: Tokenizer) -> None:
    a = Encoded(np.arange(10, 14), None, np.array([True, False, False, True]), None)
    e = frame(tokenizer, a.cut(1, 3), a.cut(1, 3))
    assert e.words is not None
    assert e.words.tolist() == [-1, 0, 0, -1, 1, 1, -1]


@settings(max_examples=150, deadline=None)
@given(
    n=st.integers(0, 12),
    m=st.integers(0, 12) | st.none(),
    length=st.integers(0, 20),
    truncation=st.sampled_from(["longest_first", "only_first", "only_second"]),
)
def test_truncation_is_that_of_tokenizers(
    tokenizer: Tokenizer, n: int, m: int | None, length: int, truncation: str
) -> None:
    a, b = list("abcdefghijkl")[:n], None if m is None else list("mnopqrstuvwx")[:m]
    backend = Backend.from_str(tokenizer._backend.to_str())
    ours_a, ours_b = tokenizer.encode(" ".join(a)), None if b is None else tokenizer.encode(" ".join(b))
    overhead = 2 if b is None else 3
    room = length - overhead
    try:
        e = frame(tokenizer, ours_a, ours_b, length, truncation)  # type: ignore[arg-type]
    except InputError:
        total = n + (m or 0)
        yields = {"longest_first": total, "only_first": n, "only_second": m or 0}[truncation]
        assert total - room > yields or room < 0
        return
    assert len(e) <= length
    yielding = {"only_first": n, "only_second": m or 0}.get(truncation, 0)
    if truncation != "longest_first" and yielding == n + (m or 0) - room:
        return  # tokenizers refuses to leave nothing of a text
    backend.enable_truncation(max(length, overhead), strategy=truncation)
    wanted = backend.encode(" ".join(a), None if b is None else " ".join(b))
    assert e.tokens.tolist() == wanted.ids


def test_the_end_that_stays(tokenizer: Tokenizer) -> None:
    a = tokenizer.encode("a b c d e")
    assert tokenizer.tokens(frame(tokenizer, a, max_length=4, keep="last").tokens) == ["[CLS]", "d", "e", "[SEP]"]


def test_no_room_is_an_error(tokenizer: Tokenizer) -> None:
    a, b = tokenizer.encode_many(["a b c d e", "a b"])
    with pytest.raises(InputError, match="5 \\+ 2 tokens do not fit"):
        frame(tokenizer, a, b, 7, "only_second")


def test_texts_without_offsets(tokenizer: Tokenizer) -> None:
    a = tokenizer.encode("a b")
    bare = Encoded(a.tokens, None, a.word_starts, None)
    e = frame(tokenizer, bare)
    assert e.offsets is None
    assert e.source_bytes is None
    assert len(frame(tokenizer, bare, a)) == 7


def test_templates() -> None:
    assert bert_template(2, 3).overhead(False) == 2
    assert bert_template(2, 3).overhead(True) == 3
    assert roberta_template(0, 2).overhead(True) == 4
    assert BARE.overhead(True) == 0
    assert read_template(None) is None
    assert read_template({"type": "ByteLevel"}) is None
    assert read_template({"type": "BertProcessing", "sep": ["[SEP]", 3], "cls": ["[CLS]", 2]}) == bert_template(2, 3)
    roberta = {"type": "RobertaProcessing", "sep": ["</s>", 2], "cls": ["<s>", 0]}
    assert read_template({"type": "Sequence", "processors": [{"type": "ByteLevel"}, roberta]}) == roberta_template(0, 2)


@pytest.mark.parametrize("name", ["roberta", "gpt2"])
def test_other_templates_give_the_ids_of_transformers(name: str, tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    names = ["<s>", "</s>", "<pad>", "<unk>", "<mask>"]
    vocabulary = {t: i for i, t in enumerate([*names, *sorted(pre_tokenizers.ByteLevel.alphabet())])}
    backend = Backend(models.BPE(vocabulary, []))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.add_special_tokens([AddedToken(t, special=True) for t in names])
    if name == "roberta":
        backend.post_processor = processors.RobertaProcessing(("</s>", 1), ("<s>", 0))
    else:
        backend.post_processor = processors.ByteLevel()
    ours = Tokenizer(backend)
    if name == "gpt2":  # no template of its own and no names for cls and sep but these
        ours = Tokenizer(backend, {"cls_token": "none", "sep_token": "none"})
        assert ours.template == BARE
    ours.save(tmp_path)
    theirs = transformers.AutoTokenizer.from_pretrained(tmp_path)
    a, b = ours.encode_many(["a b", "c"])
    assert frame(ours, a).tokens.tolist() == theirs("a b")["input_ids"]
    assert frame(ours, a, b).tokens.tolist() == theirs("a b", "c")["input_ids"]
