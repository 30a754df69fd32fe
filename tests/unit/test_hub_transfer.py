"""A start with the pieces of another tokenizer."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from hub_tools import CONFIG, PIECES, small, tokenizer
from task_tools import CORPUS, KINDS
from task_tools import tokenizer as of_kind
from tokenizers import Tokenizer as Backend
from tokenizers import models, pre_tokenizers
from transformers import AutoModelForMaskedLM

from didact import hub
from didact.batch import Labels, Side
from didact.config import Decoder, ModelConfig
from didact.errors import InputError
from didact.exchange import keys
from didact.families import BART, ROBERTA, T5, TRANSFORMER, Family
from didact.heads import Vocabulary
from didact.hub.grow import transfer, written_with
from didact.model import Model, Pretrained
from didact.packed import Packed
from didact.tokenization.tokenizer import ROLES, Tokenizer

OTHERS = ["[MASK]", "ab", "[SEP]", "[PAD]", *"zyxwvutsrqponmlkjihgfedcba", "[CLS]", "##c", "[UNK]", "##bca", "9", "Ω"]


def others(folder: Path, pieces: list[str] = OTHERS) -> Tokenizer:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "vocab.txt").write_text("\n".join(pieces) + "\n", encoding="utf-8")
    return Tokenizer.load(folder)


@pytest.mark.parametrize("tied", [True, False])
def test_known_pieces_keep_their_rows_and_new_ones_are_means(tied: bool, tmp_path: Path) -> None:
    config = keys.changed(CONFIG, {"tied": tied, "vocabulary": len(PIECES) + 3})
    start = small(tmp_path / "start", {"vocabulary": Vocabulary()}, config)
    with torch.no_grad():
        for value in start.model.parameters():
            value.normal_()
    moved = transfer(start, others(tmp_path / "others"))
    assert moved.model.config.vocabulary == len(OTHERS)
    at = {piece: i for i, piece in enumerate(PIECES)}
    made_of = {"ab": ["a", "##b"], "##bca": ["##b", "##c", "##a"]}
    before, after = start.model.state_dict(), moved.model.state_dict()
    names = ["core.embedding.word.weight", "heads.vocabulary.bias"]
    names += [] if tied else ["heads.vocabulary.decoder.weight"]
    for name in names:
        for i, piece in enumerate(OTHERS):
            if piece in at:
                assert torch.equal(after[name][i], before[name][at[piece]])
            else:
                rows = [at[p] for p in made_of[piece]] if piece in made_of else range(len(PIECES))
                torch.testing.assert_close(after[name][i], before[name][list(rows)].mean(0))
    assert all(torch.equal(after[n], before[n]) for n in before if n not in names)


def test_of_text_that_both_write_alike_they_say_alike(tmp_path: Path) -> None:
    start = small(tmp_path / "start", {"vocabulary": Vocabulary()})
    moved = transfer(start, others(tmp_path / "others"))
    hub.export(moved, tmp_path / "out")
    common = [piece for piece in OTHERS if piece in PIECES]
    said = []
    for model in (start, hub.load(tmp_path / "out")):
        ids = [model.tokenizer.id_of(piece) for piece in ("[CLS]", "q", "[MASK]", "c", "##c", "[SEP]")]
        hidden = model.model.hidden(Side(Packed.of([ids])))
        logits = model.model.answer(hidden, Labels("vocabulary", torch.arange(6), torch.arange(6)))
        said.append(logits[:, [model.tokenizer.id_of(piece) for piece in common]])
    torch.testing.assert_close(*said)


@pytest.mark.parametrize("old", KINDS)
@pytest.mark.parametrize("new", KINDS)
def test_of_any_kind(old: str, new: str) -> None:
    """Every role has its row; a piece stands for itself, for what has its text, or for what that text is read as."""
    a, b = of_kind(old), of_kind(new)
    made_of = written_with(a, b)
    assert len(made_of) == b.vocabulary
    for role, _ in ROLES:
        if getattr(b, role) is not None and getattr(a, role) is not None:
            assert made_of[getattr(b, role)] == [getattr(a, role)]
    if old == new:
        assert made_of == [[i] for i in range(a.vocabulary)]
    for piece, parts in enumerate(made_of):
        if old == new or piece in b.special_ids or not parts:
            continue
        text = b.surfaces[piece].decode().strip()
        read = a.encode(text).tokens.tolist()
        assert parts == read or (len(parts) == 1 and a.surfaces[parts[0]] == b.surfaces[piece])
        assert a.unk not in parts
    read = [own.decode(errors="replace").strip() for own in b.surfaces]
    letters = [i for i, text in enumerate(read) if text and text in " ".join(CORPUS) and text.isalpha()]
    assert all(made_of[i] for i in letters if i not in b.special_ids), "both were learned on these texts"


def test_there_and_back(tmp_path: Path) -> None:
    """With every old piece in it, somewhere, nothing is lost."""
    start = small(tmp_path / "start", {"vocabulary": Vocabulary()})
    there = transfer(start, others(tmp_path / "others", ["ab", *reversed(PIECES), "9"]))
    back = transfer(there, tokenizer(tmp_path / "again"))
    assert back.model.config == start.model.config
    assert all(torch.equal(own, start.model.state_dict()[name]) for name, own in back.model.state_dict().items())


def test_a_decoders_blank_row_stays_behind(tmp_path: Path) -> None:
    old = tokenizer(tmp_path / "old")
    config = keys.changed(TRANSFORMER.base_for(old), {"width": 8, "layers": 1, "heads": 2, "feedforward": 8})
    model = Model(config, {"vocabulary": Vocabulary()}, torch.Generator().manual_seed(0)).eval()
    fewer = transfer(Pretrained(model, old, "transformer"), others(tmp_path / "fewer", PIECES[:-4]))
    count = len(PIECES) - 4
    assert fewer.model.config.decoder == Decoder(start=count, blank=True)
    table = fewer.model.state_dict()["core.embedding.word.weight"]
    assert len(table) == count + 1
    assert not table[-1].any()


@pytest.mark.parametrize(("family", "start"), [(BART, "sep"), (T5, "pad")], ids=["bart", "t5"])
def test_a_decoder_begins_with_the_same_token(family: Family, start: str, tmp_path: Path) -> None:
    old = tokenizer(tmp_path / "old")
    sizes = {"width": 8, "layers": 1, "heads": 2, "feedforward": 8, "decoder.start": getattr(old, start)}
    model = Model(keys.changed(family.base_for(old), sizes), {"vocabulary": Vocabulary()})
    new = others(tmp_path / "others")
    moved = transfer(Pretrained(model, old, family.name), new)
    assert moved.model.config.decoder is not None
    assert moved.model.config.decoder.start == getattr(new, start)
    lacking = others(tmp_path / "lacking", [p for p in OTHERS if p != old.token(getattr(old, start))])
    with pytest.raises(InputError, match="with which the decoder begins; expected a tokenizer that has it"):
        transfer(Pretrained(model, old, family.name), lacking)


def test_positions_begin_behind_the_new_padding(tmp_path: Path) -> None:
    """RoBERTa's, as transformers counts them."""
    old, new = tokenizer(tmp_path / "old"), others(tmp_path / "others")
    sizes = {"width": 8, "layers": 1, "heads": 2, "feedforward": 8, "position.maximum": 16}
    model = Model(keys.changed(ROBERTA.base_for(old), sizes), {"vocabulary": Vocabulary()})
    moved = transfer(Pretrained(model, old, "roberta"), new)
    assert (model.config.position.offset, moved.model.config.position.offset) == (old.pad + 1, new.pad + 1)
    hub.export(moved, tmp_path / "out")
    theirs = AutoModelForMaskedLM.from_pretrained(tmp_path / "out").eval()
    ids = new.encode("a q").tokens.tolist()
    hidden = moved.model.eval().hidden(Side(Packed.of([ids])))
    ours = moved.model.answer(hidden, Labels("vocabulary", torch.arange(len(ids)), torch.arange(len(ids))))
    torch.testing.assert_close(ours, theirs(torch.tensor([ids])).logits[0], atol=1e-5, rtol=1e-5)


def test_special_tokens_stand_for_their_like_alone(tmp_path: Path) -> None:
    """One that the start has none like is the mean of all, whatever else has no text; a name goes before a role."""
    bert = tokenizer(tmp_path / "old")
    ended = Backend(models.BPE({"<pad>": 0, "<|endoftext|>": 1, "q": 2, "<more>": 3}, []))
    ended.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    ended.add_special_tokens(["<pad>", "<|endoftext|>", "<more>"])
    gpt = Tokenizer(ended)
    padded = Tokenizer(ended, {"pad_token": "<|endoftext|>"})
    assert written_with(bert, gpt) == [[bert.pad], [], [bert.id_of("q")], []]
    assert written_with(gpt, bert)[: bert.mask + 1] == [[0], [], [], [], []]
    assert written_with(gpt, padded) == [[0], [1], [2], [3]]


def test_rows_are_counted(tmp_path: Path) -> None:
    config = ModelConfig(len(PIECES), 8, 1, 2, 8)
    start = Pretrained(Model(config, {}), tokenizer(tmp_path / "old"))
    new = others(tmp_path / "others")
    assert transfer(start, new, 64).model.config.vocabulary == 64
    with pytest.raises(InputError, match=rf"model\.vocabulary: found 8; expected {len(OTHERS)} or more"):
        transfer(start, new, 8)
