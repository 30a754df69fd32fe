"""A start with more pieces, or with larger sizes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import tokenizers
import torch
from hub_tools import CONFIG, PIECES, small, tokenizer
from tokenizers import models, pre_tokenizers

from didact import hub
from didact.batch import Labels, Side
from didact.config import Characters, Decoder, ModelConfig
from didact.errors import InputError
from didact.exchange import keys
from didact.families import TRANSFORMER
from didact.heads import Vocabulary
from didact.hub.grow import extend, missing_pieces, tile
from didact.model import Model, Pretrained
from didact.nn.characters import spell
from didact.packed import Packed
from didact.tokenization.tokenizer import Tokenizer

NEW = ["abc", "##bca", "acab", "q9"]


def more(folder: Path, pieces: list[str] = NEW, old: list[str] = PIECES) -> Tokenizer:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "vocab.txt").write_text("\n".join([*old, *pieces]) + "\n", encoding="utf-8")
    return Tokenizer.load(folder)


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("padded", [0, 3])
def test_new_pieces_begin_as_the_mean_of_those_that_write_them(tied: bool, padded: int, tmp_path: Path) -> None:
    config = keys.changed(CONFIG, {"tied": tied, "vocabulary": len(PIECES) + padded})
    start = small(tmp_path / "start", {"vocabulary": Vocabulary()}, config)
    with torch.no_grad():
        for value in start.model.parameters():
            value.normal_()
    longer = extend(start, more(tmp_path / "more"))
    count = len(PIECES)
    assert longer.model.config.vocabulary == count + 4
    at = {piece: i for i, piece in enumerate(PIECES)}
    made_of = [["a", "##b", "##c"], ["##b", "##c", "##a"], ["a", "##c", "##a", "##b"], None]
    names = ["core.embedding.word.weight", "heads.vocabulary.bias"]
    names += [] if tied else ["heads.vocabulary.decoder.weight"]
    before, after = start.model.state_dict(), longer.model.state_dict()
    for name in names:
        assert torch.equal(after[name][:count], before[name][:count])
        for i, pieces in enumerate(made_of):
            rows = before[name][[at[p] for p in pieces]] if pieces else before[name][:count]
            torch.testing.assert_close(after[name][count + i], rows.mean(0))
    assert all(torch.equal(after[n], before[n]) for n in before if n not in names)
    assert longer.tokenizer.encode("abc").tokens.tolist() == [count]
    hub.export(longer, tmp_path / "out")
    assert hub.load(tmp_path / "out").model.config.vocabulary == count + 4


def test_new_pieces_are_spelled_where_words_are_read_from_their_bytes(tmp_path: Path) -> None:
    old, new = tokenizer(tmp_path / "old"), more(tmp_path / "more")
    letters = Characters(((1, 4), (3, 4)), width=4, longest=9)
    config = ModelConfig(old.vocabulary, 8, 1, 2, 8, tied=False, characters=letters)
    start = Pretrained(Model(config, {"vocabulary": Vocabulary()}, torch.Generator().manual_seed(0)), old)
    start.model.core.embedding.spell(old.tokens(range(old.vocabulary)))
    longer = extend(start, new).model.state_dict()
    before = start.model.state_dict()
    assert torch.equal(longer["core.embedding.word.spelling"], spell(new.tokens(range(new.vocabulary)), 9))
    assert len(longer["heads.vocabulary.decoder.weight"]) == new.vocabulary
    assert torch.equal(longer["core.embedding.word.project.weight"], before["core.embedding.word.project.weight"])


@pytest.mark.parametrize("pieces", [NEW[:1], NEW])
def test_a_decoders_blank_row_stays_behind(pieces: list[str], tmp_path: Path) -> None:
    """Its number is the decoder's start; what the model makes of the old pieces is as it was."""
    old = tokenizer(tmp_path / "old")
    sizes = {"width": 8, "layers": 1, "heads": 2, "feedforward": 8}
    config = keys.changed(TRANSFORMER.base_for(old), sizes)
    model = Model(config, {"vocabulary": Vocabulary()}, torch.Generator().manual_seed(0)).eval()
    start = Pretrained(model, old, "transformer")
    longer = extend(start, more(tmp_path / "more", pieces))
    count = len(PIECES) + len(pieces)
    assert longer.model.config.vocabulary == count + 1
    assert longer.model.config.decoder == Decoder(start=count, blank=True)
    table, before = (m.state_dict()["core.embedding.word.weight"] for m in (longer.model, model))
    assert not table[count].any()
    assert torch.equal(table[: len(PIECES)], before[:-1])
    assert table[len(PIECES) : count].any(-1).all()
    source = Side(Packed.of([[5, 6, 7]]))
    answers = []
    for own in (model, longer.model):
        assert own.config.decoder is not None
        begin = own.config.decoder.start
        decoded = own.decoded(Side(Packed.of([[begin, 6]])), own.hidden(source), source)
        asked = Labels("vocabulary", torch.arange(2), torch.arange(2), side="outputs")
        answers.append(own.answer(decoded, asked)[:, : len(PIECES)])
    torch.testing.assert_close(*answers)
    hub.export(longer, tmp_path / "out")
    assert hub.load(tmp_path / "out").model.config.decoder == longer.model.config.decoder


def test_more_rows_than_pieces(tmp_path: Path) -> None:
    start = small(tmp_path / "start", {"vocabulary": Vocabulary()})
    longer = extend(start, more(tmp_path / "more"), vocabulary=64)
    table = longer.model.state_dict()["core.embedding.word.weight"]
    assert len(table) == 64
    torch.testing.assert_close(table[-1], table[: len(PIECES)].mean(0))
    with pytest.raises(
        InputError, match=rf"model\.vocabulary: found {len(PIECES)}; expected {len(PIECES) + 4} or more"
    ):
        extend(start, more(tmp_path / "more"), vocabulary=len(PIECES))


def test_rows_that_no_piece_takes_stay_as_they_are(tmp_path: Path) -> None:
    """A model that has learned never to write them does not forget it."""
    start = small(
        tmp_path / "start", {"vocabulary": Vocabulary()}, keys.changed(CONFIG, {"vocabulary": len(PIECES) + 10})
    )
    with torch.no_grad():
        start.model.state_dict()["heads.vocabulary.bias"][len(PIECES) :] = -20.0
    bias = extend(start, more(tmp_path / "more")).model.state_dict()["heads.vocabulary.bias"]
    assert bias[len(PIECES) + len(NEW) :].tolist() == [-20.0] * 6
    assert (bias[: len(PIECES) + len(NEW)] > -1).all()


def test_bytes_and_added_tokens() -> None:
    """Byte-level pieces are merged as the old tokenizer merges them; an added token is text like any other."""
    vocabulary = {c: i for i, c in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
    merges = [("t", "h"), ("th", "e")]
    for a, b in merges:
        vocabulary[a + b] = len(vocabulary)

    def made(vocabulary: dict[str, int], merges: list[tuple[str, str]]) -> tokenizers.Tokenizer:
        backend = tokenizers.Tokenizer(models.BPE(vocabulary, merges))
        backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        return backend

    old = Tokenizer(made(vocabulary, merges))
    longer = made(vocabulary | {"Ġthe": len(vocabulary)}, [*merges, ("Ġ", "the")])
    longer.add_tokens(["the é"])
    new = Tokenizer(longer)
    assert missing_pieces(old, new) == (len(vocabulary), len(vocabulary) + 1)
    config = ModelConfig(len(vocabulary), 8, 1, 2, 8)
    start = Pretrained(Model(config, {}, torch.Generator().manual_seed(0)), old)
    table = extend(start, new).model.state_dict()["core.embedding.word.weight"]
    before = start.model.state_dict()["core.embedding.word.weight"]
    for row, pieces in ((-2, ["Ġ", "the"]), (-1, ["the", "Ġ", "Ã", "©"])):
        torch.testing.assert_close(table[row], before[[vocabulary[p] for p in pieces]].mean(0))


def test_another_tokenizer_is_refused(tmp_path: Path) -> None:
    start = small(tmp_path / "start", {})
    others = {
        "same": tokenizer(tmp_path / "same"),
        "fewer": more(tmp_path / "fewer", [], PIECES[:-1]),
        "moved": more(tmp_path / "moved", NEW, [*PIECES[:-2], PIECES[-1], PIECES[-2]]),
    }
    folder = tmp_path / "cased"
    more(folder).save(folder)
    described = json.loads((folder / "tokenizer.json").read_text())
    described["normalizer"]["lowercase"] = False
    (folder / "tokenizer.json").write_text(json.dumps(described))
    for other in (*others.values(), Tokenizer.load(folder)):
        with pytest.raises(InputError, match="another tokenizer"):
            missing_pieces(start.tokenizer, other)
        with pytest.raises(InputError, match="another tokenizer"):
            extend(start, other)


@pytest.mark.parametrize(
    ("added", "said"),
    [
        (["a", "##b"], r"for a, ##b are added"),
        (["a", "##b", "q9"], r"read otherwise, for a, ##b are added"),
        (["q9", "zebra"], None),
    ],
)
def test_old_pieces_that_become_added_tokens_are_refused(added: list[str], said: str | None, tmp_path: Path) -> None:
    """ "cab" would be "c ##a ##b" no more, but "c a b"."""
    folder = tmp_path / "more"
    tokenizer(tmp_path / "old").save(folder)
    backend = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
    backend.add_tokens(added)
    backend.save(str(folder / "tokenizer.json"))
    start, new = small(tmp_path / "start", {}), Tokenizer.load(folder)
    if said is None:
        assert missing_pieces(start.tokenizer, new) == (len(PIECES), len(PIECES) + 1)
        return
    with pytest.raises(InputError, match=said):
        extend(start, new)


def test_tiled(tmp_path: Path) -> None:
    start = small(tmp_path / "start", {"vocabulary": Vocabulary()})
    larger = tile(start, {"layers": 3, "width": 24, "heads": 3, "feedforward": 30})
    config = larger.model.config
    assert (config.layers, config.width, config.heads, config.feedforward) == (3, 24, 3, 30)
    table, old = (p.model.state_dict()["core.embedding.word.weight"] for p in (larger, start))
    assert torch.equal(table[:, 4:20], old)
    hub.export(larger, tmp_path / "out")
    assert hub.load(tmp_path / "out").model.config == config


@pytest.mark.parametrize(
    ("name", "before", "after"),
    [
        ("layers", 2, 1),
        ("heads", 2, 1),
        ("width", 16, 8),
        ("head_width", 8, 4),
        ("feedforward", 24, 16),
        ("segments", 2, 1),
        ("position.maximum", 512, 64),
    ],
)
def test_nothing_is_tiled_into_less(name: str, before: int, after: int, tmp_path: Path) -> None:
    start = small(tmp_path / "start", {"vocabulary": Vocabulary()})
    said = (
        rf"model\.start_tiled: {name} {before} cannot be tiled into {after}; expected model\.{name}: {before} or more"
    )
    with pytest.raises(InputError, match=said):
        tile(start, {name: after})
