"""didact.generation.ways: prompts in which special tokens are named, for the models that were trained on such texts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import transformers
from fewshot_tools import bart_of_bytes, gpt, masking, sentinels, t5

from didact import hub
from didact.generation import generate, generate_tokens, stream
from didact.generation.conditional import score_after
from didact.generation.texts import Following
from didact.generation.ways import continued, whole
from didact.runs.write import generate_files
from didact.tokenization.tokenizer import Tokenizer

HIDDEN = ["the <extra_id_0> sat on the <extra_id_1>.", "<extra_id_0> film", "a dull<extra_id_2>"]
MASKED = ["the <mask> sat on the mat", "<mask> film", "a dull film<mask></s> it was"]


@pytest.mark.parametrize(("tokenizer", "texts"), [(sentinels(), HIDDEN), (masking(), MASKED)], ids=["t5", "bart"])
def test_names_are_read_as_transformers_reads_them(tokenizer: Tokenizer, texts: list[str], tmp_path: Path) -> None:
    """Where that is asked for. Else they are text, in which no special token is but those around it."""
    tokenizer.save(tmp_path)
    theirs: Any = transformers.AutoTokenizer.from_pretrained(tmp_path)
    assert whole(tokenizer, texts, special=True) == theirs(texts)["input_ids"]
    around = [content for content, _ in tokenizer.template.single if isinstance(content, int)]
    for read in whole(tokenizer, texts):
        assert [token for token in read if token in tokenizer.special_ids and token != tokenizer.unk] == around
    assert tokenizer.named([*texts, "the cat sat", "<extra"]) == [True] * 3 + [False] * 2


@pytest.mark.parametrize(("model", "texts"), [(t5(), HIDDEN), (bart_of_bytes(), MASKED)], ids=["t5", "bart"])
def test_what_is_written_after_them(model: Any, texts: list[str]) -> None:
    tokens = whole(model.tokenizer, texts, special=True)
    for settings in ({}, {"beams": 3}):
        found = generate(model, texts, maximum=8, special=True, **settings)
        assert found == generate_tokens(model, tokens, maximum=8, special=True, **settings)
        assert found != generate(model, texts, maximum=8, **settings)
    assert (
        "".join(stream(model, texts[0], maximum=8, special=True))
        == generate(model, texts, maximum=8, special=True)[0][0].text
    )
    plain, read = (score_after(model, [(texts[0], "cat")], special=special)[0].total for special in (False, True))
    assert abs(plain - read) > 1e-3


def test_what_goes_on_with_them() -> None:
    tokenizer = gpt().tokenizer
    end = tokenizer.eos
    assert continued(tokenizer, ["the cat<|endoftext|>"], special=True)[0][-1] == end
    assert end not in continued(tokenizer, ["the cat<|endoftext|>"])[0]


def test_sentinels_stay_in_an_answer(tmp_path: Path) -> None:
    """As transformers says them; of other special tokens nothing is said."""
    tokenizer = sentinels()
    tokenizer.save(tmp_path)
    theirs: Any = transformers.AutoTokenizer.from_pretrained(tmp_path)
    first, second, *_ = tokenizer.sentinels
    cat, mat = (tokenizer.encode(word).tokens.tolist() for word in ("cat", "mat"))
    shown = [first, *cat, second, *mat]
    said = Following(tokenizer.showing)([tokenizer.pad or 0, *shown, tokenizer.eos or 0])
    assert said == theirs.decode(shown, skip_special_tokens=False, clean_up_tokenization_spaces=False)
    assert said.split("<extra_id_1>")[0].split() == ["<extra_id_0>", "cat"]
    assert Following(tokenizer)(shown).split() == ["cat", "mat"]
    for special in (True, False):
        answer = generate(t5(), ["the cat"], maximum=4, first="<extra_id_0>", special=special)[0][0]
        assert answer.tokens[0] == first
        assert answer.text.startswith("<extra_id_0>") is special
    assert "".join(stream(t5(), "the cat", maximum=4, first="<extra_id_0>", special=True)).startswith("<extra_id_0>")


def test_from_the_command_line(tmp_path: Path) -> None:
    hub.export(t5(), tmp_path / "t5")
    (tmp_path / "prompts.txt").write_text(HIDDEN[0] + "\n")
    for special in (True, False):
        out = tmp_path / f"{special}.jsonl"
        generate_files(str(tmp_path / "t5"), [tmp_path / "prompts.txt"], out, {"maximum": 6}, "", False, special)
        (answer,) = generate(t5(), HIDDEN[:1], maximum=6, special=special)[0]
        assert json.loads(out.read_text())["answers"][0]["text"] == answer.text
