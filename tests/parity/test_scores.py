"""Scores of given words against transformers' logits of the exported model, looked up one text at a time."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from fewshot_tools import bart_of_bytes, t5
from parity_tools import randomise

from didact import hub
from didact.config import Position
from didact.errors import InputError
from didact.exchange import keys
from didact.families import BART, BERT, GPT2, OPENAI_GPT, Family
from didact.generation import borders
from didact.generation.cloze import fill_spans
from didact.generation.conditional import score_after
from didact.generation.masked import Blank, Order, fill_in, pseudo
from didact.generation.score import score, texts
from didact.heads import Vocabulary
from didact.model import Model, Pretrained
from didact.tokenization.tokenizer import Tokenizer
from didact.tokenization.train import train

CORPUS = ["the cat sat on the mat, and the hat sat on the cat. " * 9, "unable, able, table, stable: the unable table."]
PAIRS = (
    ("the cat sat on", " the mat"),
    ("the cat sat on", " the hat, and the cat"),
    ("the cat sat on ", "the mat"),
    ("the cat", " sat"),
    ("the cat sat", " on"),
    ("", "the mat"),
    ("un", "able"),
    ("a table.\n\nthe cat:\n", "able"),
    ("the " * 40, " mat"),
)
SMALL: dict[str, Any] = {"width": 24, "layers": 2, "heads": 3, "feedforward": 96}


def exported(family: Family, tokenizer: Tokenizer, folder: Path, maximum: int = 24) -> Pretrained:
    """A small random model of a family, written as a Hugging Face folder."""
    base = family.base_for(tokenizer)
    config = keys.changed(base, SMALL | {"position": Position(maximum=maximum, offset=base.position.offset)})
    model = Model(keys.changed(config, {"pooler": False}), {"vocabulary": Vocabulary()}).eval()
    randomise(model)
    hub.export(Pretrained(model, tokenizer, family.name), folder)
    return hub.load(folder)


@pytest.fixture(scope="module")
def bpe() -> Tokenizer:
    return train(CORPUS, "gpt2", 300, cased=True)[0]


@pytest.fixture(scope="module")
def wordpiece() -> Tokenizer:
    return train([*CORPUS, "a bat, a rat, a tab"], "wordpiece", 45)[0]


@pytest.mark.parametrize("family", [GPT2, OPENAI_GPT], ids=lambda f: f.name)
def test_continuations(family: Family, bpe: Tokenizer, tmp_path: Path) -> None:
    """Alone, in any pack, with contexts shared and cut: the logarithm that their softmax gives each token."""
    ours = exported(family, bpe, tmp_path)
    theirs = transformers.AutoModelForCausalLM.from_pretrained(tmp_path).eval()
    tokenize = transformers.AutoTokenizer.from_pretrained(tmp_path)
    expected = []
    for context, continuation in PAIRS:
        space = len(context) - len(context.rstrip())
        context, continuation = context[: len(context) - space], context[len(context) - space :] + continuation
        before, whole = tokenize(context)["input_ids"], tokenize(context + continuation)["input_ids"]
        if whole[: len(before)] != before:
            whole = before + tokenize(continuation)["input_ids"]
        m = len(whole) - len(before)
        whole = whole if before else [tokenize.bos_token_id, *whole]
        whole = whole[-(theirs.config.n_positions + 1) :]
        with torch.inference_mode():
            found = theirs(torch.tensor([whole[:-1]])).logits[0, -m:].log_softmax(-1)
        expected.append((found[torch.arange(m), whole[-m:]].numpy(), found.argmax(-1).tolist() == whole[-m:]))
    assert any(len(logprobs) > 1 for logprobs, _ in expected)
    for batch_tokens in (1, 60, 8192):
        scored = score(ours, PAIRS, batch_tokens=batch_tokens)
        for own, (logprobs, greedy), pair in zip(scored, expected, PAIRS, strict=True):
            np.testing.assert_allclose(own.logprobs, logprobs, atol=2e-5 * max(1, -logprobs.min()), err_msg=str(pair))
            assert own.greedy == greedy
    assert [own.cut > 0 for own in scored] == [False] * 8 + [True]


def test_a_text_longer_than_the_window(bpe: Tokenizer, tmp_path: Path) -> None:
    """Each token once: the first 24 after the beginning, the next 24 after 1 to 24 before them, the rest likewise."""
    ours = exported(GPT2, bpe, tmp_path)
    theirs = transformers.AutoModelForCausalLM.from_pretrained(tmp_path).eval()
    text = "the cat sat on the hat, and " * 9
    ids = [ours.tokenizer.bos, *bpe.encode(text).tokens.tolist()]
    assert len(ids) > 60
    expected = []
    for i in range(1, len(ids)):
        last = min(len(ids) - 1, 24 * math.ceil(i / 24))  # the last token of the window that asks for token i
        window = ids[max(0, last - 24) : i]
        with torch.inference_mode():
            expected.append(theirs(torch.tensor([window])).logits[0, -1].log_softmax(-1)[ids[i]].item())
    scored, nothing, short = texts(ours, [text, "", "the"])
    np.testing.assert_allclose(scored.logprobs, expected, atol=2e-4)
    assert (nothing.tokens, nothing.total) == (0, 0.0)
    assert short.total == pytest.approx(score(ours, [("", "the")])[0].total, abs=1e-5)


def test_no_character_is_read_twice_or_left_out(bpe: Tokenizer) -> None:
    """Also where a piece would reach across the border: "un" and "able" are one piece together."""
    for (context, continuation), own in zip(PAIRS, borders.split(bpe, PAIRS), strict=True):
        assert bpe.decode([*own.context, *own.continuation]) == context + continuation
    (apart,) = borders.split(bpe, [("un", "able")])
    assert bpe.encode("unable").tokens.tolist() != [*apart.context, *apart.continuation]


TEXTS = ["the unable cat sat on the mat.", "a stable table", "rat"]


@pytest.mark.parametrize("order", ["pseudo", "words", "left_to_right", "together", "most_certain"])
def test_pseudo_log_likelihood(order: Order, wordpiece: Tokenizer, tmp_path: Path) -> None:
    """A pass of transformers' model for each piece, the mask written in by hand."""
    ours = exported(BERT, wordpiece, tmp_path)
    theirs = transformers.AutoModelForMaskedLM.from_pretrained(tmp_path).eval()
    tokenize = transformers.AutoTokenizer.from_pretrained(tmp_path)
    split_words = 0
    for text, scored in zip(TEXTS, pseudo(ours, TEXTS, order), strict=True):
        ids = tokenize(text)["input_ids"]
        pieces = tokenize.convert_ids_to_tokens(ids)
        rows = list(range(1, len(ids) - 1))
        split_words += sum(piece.startswith("##") for piece in pieces)

        def found(hidden: list[int], ids: list[int] = ids) -> Any:
            read = [tokenize.mask_token_id if i in hidden else t for i, t in enumerate(ids)]
            with torch.inference_mode():
                return theirs(torch.tensor([read])).logits[0].log_softmax(-1)[range(len(ids)), ids]

        expected = dict.fromkeys(rows, 0.0)
        left = list(rows)
        for row in rows:
            match order:
                case "pseudo":
                    hidden = [row]
                case "words":
                    end = next(i for i in range(row + 1, len(ids)) if not pieces[i].startswith("##"))
                    hidden = list(range(row, end))
                case "left_to_right":
                    hidden = [i for i in rows if i >= row]
                case "together":
                    hidden = rows
                case "most_certain":
                    hidden = left
                    row = max(left, key=lambda i: found(left)[i].item())
                    left = [i for i in left if i != row]
            expected[row] = found(hidden)[row].item()
        np.testing.assert_allclose(scored.logprobs, [expected[row] for row in rows], atol=1e-4)
    assert split_words > 3


def test_a_cloze_asks_the_pieces_of_its_blank_alone(wordpiece: Tokenizer, tmp_path: Path) -> None:
    ours = exported(BERT, wordpiece, tmp_path)
    theirs = transformers.AutoModelForMaskedLM.from_pretrained(tmp_path).eval()
    tokenize = transformers.AutoTokenizer.from_pretrained(tmp_path)
    read = tokenize("the cat sat on the [MASK], a [MASK] table.", return_tensors="pt")["input_ids"]
    at = (read[0] == tokenize.mask_token_id).nonzero()[0]
    read[0, (read[0] == tokenize.mask_token_id).nonzero()[1]] = tokenize.convert_tokens_to_ids("mat")
    with torch.inference_mode():
        expected = theirs(read).logits[0, at].log_softmax(-1)
    blanks = [Blank("the cat sat on the ", word, ", a mat table.") for word in ("mat", "cat", "hat")]
    assert {len(wordpiece.encode(blank.text)) for blank in blanks} == {1}
    for order in ("together", "left_to_right", "most_certain", "pseudo"):
        for blank, own in zip(blanks, fill_in(ours, blanks, order), strict=True):
            assert own.tokens == 1
            assert own.total == pytest.approx(expected[0, tokenize.convert_tokens_to_ids(blank.text)].item(), abs=1e-4)


def test_what_cannot_be_scored(bpe: Tokenizer, wordpiece: Tokenizer, tmp_path: Path) -> None:
    gpt, bert = exported(GPT2, bpe, tmp_path / "gpt"), exported(BERT, wordpiece, tmp_path / "bert")
    with pytest.raises(InputError, match="nothing to score in ''"):
        score(gpt, [("the cat", "")])
    with pytest.raises(InputError, match=r"a continuation of \d+ tokens after 3; expected at most 24"):
        score(gpt, [("the cat", " cat" * 30)])
    with pytest.raises(InputError, match="sees the words that it would be asked for"):
        score(bert, [("the", " cat")])
    with pytest.raises(InputError, match="sees nothing after a blank"):
        fill_in(gpt, [Blank("the", " cat")])
    with pytest.raises(InputError, match="nothing to score in ' '"):
        fill_in(bert, [Blank("the", " ", "cat")])
    with pytest.raises(InputError, match=r"an answer of \d+ tokens; expected fewer, of 24 in all"):
        pseudo(bert, ["the cat " * 30])
    cut = fill_in(bert, [Blank("the cat " * 30, "mat", " sat on the cat")])[0]
    assert cut.cut > 0
    assert cut.tokens == 1
    bare = hub.load(tmp_path / "bert", heads={})
    with pytest.raises(InputError, match="no vocabulary head"):
        pseudo(bare, ["the cat"])


@pytest.mark.parametrize("batch_tokens", [1, 8192])
@pytest.mark.parametrize(("model", "form"), [(t5(), "span"), (bart_of_bytes(), "whole")], ids=["t5", "bart"])
def test_blanks_that_a_decoder_writes(model: Pretrained, form: Any, batch_tokens: int, tmp_path: Path) -> None:
    """What transformers' tokenizer makes of a prompt with a sentinel or a mask, and of the texts around it."""
    hub.export(model, tmp_path)
    theirs = transformers.AutoModelForSeq2SeqLM.from_pretrained(tmp_path).eval()
    tokenize = transformers.AutoTokenizer.from_pretrained(tmp_path)

    def pieces(text: str) -> list[int]:
        return tokenize(text, add_special_tokens=False)["input_ids"]

    cases = [("the cat sat", " very bad", " film."), ("the cat sat", " on", " film."), ("a dull film", " good", "")]
    blanks = [Blank(before + " ", text.strip(), after) for before, text, after in cases]
    found = fill_spans(model, blanks, form, batch_tokens=batch_tokens)
    for (before, text, after), own in zip(cases, found, strict=True):
        start, values = theirs.config.decoder_start_token_id, pieces(text)
        if form == "span":  # the sentinel alone, where its name in a text leaves a piece of the space before it
            source = [*pieces(before), *pieces("<extra_id_0>")[-1:], *pieces(after), tokenize.eos_token_id]
            read = [start, *pieces("<extra_id_0>")[-1:], *values]
        else:
            source = tokenize(f"{before} <mask>{after}")["input_ids"]
            read = [start, tokenize.bos_token_id, *pieces(before), *values]
        with torch.inference_mode():
            out = theirs(torch.tensor([source]), decoder_input_ids=torch.tensor([read])).logits[0].log_softmax(-1)
        expected = out[len(read) - len(values) - 1 : -1][range(len(values)), values].numpy()
        np.testing.assert_allclose(own.logprobs, expected, atol=1e-4)
        assert own.cut == 0
    if form == "whole":
        (long,) = fill_spans(model, [Blank("the cat " * 90, "sat", " on the mat")], form)
        assert long.cut > 0
        with pytest.raises(InputError, match="fewer, of 128 in all"):
            fill_spans(model, [Blank("the", "cat " * 200)], form)


def test_texts_of_an_encoder_decoder(wordpiece: Tokenizer, tmp_path: Path) -> None:
    """The source framed, the decoder's start and the token that begins texts read, every token of the text asked."""
    base = BART.base_for(wordpiece)
    sizes = SMALL | {"position": Position(maximum=24, offset=base.position.offset), "pooler": False}
    model = Model(keys.changed(base, sizes), {"vocabulary": Vocabulary()}).eval()
    randomise(model)
    hub.export(Pretrained(model, wordpiece, BART.name), tmp_path)
    theirs = transformers.AutoModelForSeq2SeqLM.from_pretrained(tmp_path).eval()
    tokenize = transformers.AutoTokenizer.from_pretrained(tmp_path)
    pairs = [("the cat sat on", " the mat"), ("the cat sat on ", "a stable table"), ("a rat", "rat"), ("", "the"),
             ("the cat sat on", "the hat"), ("the cat " * 30, "sat on")]  # fmt: skip
    for batch_tokens in (1, 40, 8192):
        for (source, text), own in zip(
            pairs, score_after(hub.load(tmp_path), pairs, batch_tokens=batch_tokens), strict=True
        ):
            read = tokenize(source, add_special_tokens=False)["input_ids"]
            assert own.cut == max(0, len(read) - 22)
            read = [tokenize.cls_token_id, *read[-22:], tokenize.sep_token_id]
            ids = tokenize(text, add_special_tokens=False)["input_ids"]
            lead = [theirs.config.decoder_start_token_id, tokenize.cls_token_id]
            with torch.inference_mode():
                out = theirs(torch.tensor([read]), decoder_input_ids=torch.tensor([[*lead, *ids[:-1]]])).logits[0, 1:]
            expected = out.log_softmax(-1)[range(len(ids)), ids].numpy()
            np.testing.assert_allclose(own.logprobs, expected, atol=1e-4)
            assert own.greedy == (out.argmax(-1).tolist() == ids)
