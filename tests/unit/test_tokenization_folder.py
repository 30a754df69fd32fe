"""A tokenizer's files: bad ones are told in one line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from didact.errors import InputError
from didact.tokenization.tokenizer import Tokenizer
from didact.tokenization.train import train

PIECES = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "the", "cat", "##s", "é", "e"]


def write(path: Path, text: str) -> Path:
    path.write_bytes(text.encode())
    return path


@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_a_vocabulary_file(tmp_path: Path, end: str, mark: str) -> None:
    path = write(tmp_path / "vocab.txt", mark + end.join(PIECES) + end)
    tokenizer = Tokenizer.load(path)
    assert tokenizer.tokens(tokenizer.encode("The cats é").tokens) == ["the", "cat", "##s", "e"]
    assert (tokenizer.pad, tokenizer.unk, tokenizer.cls, tokenizer.sep, tokenizer.mask) == (0, 1, 2, 3, 4)
    assert Tokenizer.load(tmp_path) == tokenizer


def test_case_is_kept_where_the_vocabulary_has_capitals_or_the_settings_say_so(tmp_path: Path) -> None:
    path = write(tmp_path / "vocab.txt", "\n".join([*PIECES, "The"]))
    cased = Tokenizer.load(path)
    assert cased.tokens(cased.encode("The é").tokens) == ["The", "é"]
    write(tmp_path / "tokenizer_config.json", json.dumps({"do_lower_case": True, "mask_token": {"content": "cat"}}))
    told = Tokenizer.load(path)
    assert told.tokens(told.encode("The").tokens) == ["the"]
    assert told.mask == PIECES.index("cat")


@pytest.mark.parametrize(
    ("name", "text", "row", "says"),
    [
        ("vocab.txt", "\n".join([*PIECES, "the"]), 11, "stands in row 6 too"),
        ("vocab.txt", "the\ncat\n", None, "no piece \\[UNK\\]"),
        ("vocab.txt", "", None, "no piece \\[UNK\\]"),
        ("tokenizer.json", "{", None, "not a tokenizer"),
        ("tokenizer.json", '{"model": 3}', None, "not a tokenizer"),
        ("other.txt", "x", None, "no tokenizer here"),
        ("spm.model", "x", None, r"spm\.model: no tokenizer\.json beside it"),
    ],
)
def test_bad_files(tmp_path: Path, name: str, text: str, row: int | None, says: str) -> None:
    write(tmp_path / name, text)
    with pytest.raises(InputError, match=says) as caught:
        Tokenizer.load(tmp_path)
    assert caught.value.row == row
    assert "\n" not in str(caught.value)


def test_bad_bytes_and_bad_settings(tmp_path: Path) -> None:
    (tmp_path / "vocab.txt").write_bytes(b"[UNK]\n\xff\n")
    with pytest.raises(InputError, match="not UTF-8"):
        Tokenizer.load(tmp_path)
    write(tmp_path / "vocab.txt", "\n".join(PIECES))
    for text, says in (("{", "not JSON"), ("[]", "a JSON object")):
        write(tmp_path / "tokenizer_config.json", text)
        with pytest.raises(InputError, match=says):
            Tokenizer.load(tmp_path)


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        Tokenizer.load(tmp_path / "none")


def test_settings_are_carried(tmp_path: Path) -> None:
    tokenizer, _ = train(["some text"], "wordpiece", 40)
    carried = Tokenizer(tokenizer._backend, {**tokenizer.settings, "own_key": [1, 2]})
    carried.save(tmp_path)
    assert Tokenizer.load(tmp_path).settings["own_key"] == [1, 2]
    assert json.loads((tmp_path / "tokenizer_config.json").read_text())["mask_token"] == "[MASK]"


def test_padding_and_truncation_of_a_file_are_switched_off(tmp_path: Path) -> None:
    tokenizer, _ = train(["a b c d"], "wordpiece", 40)
    tokenizer.save(tmp_path)
    path = tmp_path / "tokenizer.json"
    described = json.loads(path.read_text())
    described["truncation"] = {"direction": "Right", "max_length": 4, "strategy": "LongestFirst", "stride": 0}
    described["padding"] = {
        "strategy": {"Fixed": 9}, "direction": "Right", "pad_to_multiple_of": None, "pad_id": 0, "pad_type_id": 0,
        "pad_token": "[PAD]",
    }  # fmt: skip
    path.write_text(json.dumps(described))
    again = Tokenizer.load(path)
    assert len(again.encode("a b c d a b c d")) == 8
    assert again.fingerprint == tokenizer.fingerprint
