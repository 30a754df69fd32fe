"""Texts in, texts out: answers, batches, streaming, draws, and what is complained of."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tokenizers
import torch
from scipy.stats import chisquare
from tokenizers import decoders, models, pre_tokenizers
from writing_tools import a_filler, a_writer, byte_level, logits_of, wide

import didact
from didact import hub
from didact.errors import InputError
from didact.generation import WRITER, Decoding, generate, generate_tokens, mask_predict, pseudo, score, stream
from didact.generation.draw import draw, narrowed, uniforms
from didact.generation.texts import Following, Pieces, Stopping
from didact.generation.top import top
from didact.heads import Vocabulary
from didact.model import Model, Pretrained
from didact.runs.write import generate_files
from didact.tokenization.tokenizer import Tokenizer

PROMPTS = ["the cat", "a", "Заяц 🙂 бежал", "one two three four five"]


@pytest.fixture(scope="module")
def writer() -> Pretrained:
    return a_writer()


@pytest.fixture(scope="module")
def filler(tmp_path_factory: pytest.TempPathFactory) -> Pretrained:
    return a_filler(tmp_path_factory.mktemp("words"))


def test_load_and_generate(writer: Pretrained, tmp_path: Path) -> None:
    hub.export(writer, tmp_path)
    model = didact.load(tmp_path)
    answers = model.generate(PROMPTS, beams=3, answers=2, maximum=8)
    assert [len(own) for own in answers] == [2] * 4
    assert answers == generate(writer, PROMPTS, Decoding(beams=3, answers=2, maximum=8))
    assert "".join(model.stream(PROMPTS[0], maximum=8)) == model.generate([PROMPTS[0]], maximum=8)[0][0].text
    with pytest.raises(ValueError, match="writer"):
        hub.load(tmp_path).generate(PROMPTS)


def test_settings_of_a_checkpoint_change_nothing(writer: Pretrained, tmp_path: Path) -> None:
    """Of its generation_config.json only tokens are taken: what would have no effect here makes nothing fail."""
    hub.export(writer, tmp_path)
    said = {"temperature": 0.6, "top_p": 0.9, "do_sample": False, "length_penalty": 2.0, "num_beams": 1}
    (tmp_path / "generation_config.json").write_text(json.dumps(said))
    assert didact.load(tmp_path).generate(PROMPTS, maximum=4) == generate(writer, PROMPTS, maximum=4)


def test_greedy_by_hand(writer: Pretrained) -> None:
    """The likeliest token of a full pass each time; the score is their log-likelihood."""
    for prompt, (answer,) in zip(PROMPTS, generate(writer, PROMPTS, maximum=7), strict=True):
        tokens = writer.tokenizer.encode(prompt).tokens.tolist()
        total = 0.0
        for found in answer.tokens:
            said = logits_of(writer, tokens)[-1].log_softmax(0)
            assert found == int(said.argmax())
            total += float(said[found])
            tokens.append(found)
        assert answer.score == pytest.approx(total, abs=1e-3)
        assert len(answer.tokens) == 7 or answer.tokens[-1] == writer.tokenizer.eos


@pytest.mark.parametrize("settings", [{}, {"beams": 3}, {"sample": True, "answers": 3, "seed": 5}], ids=str)
def test_batches_change_nothing(writer: Pretrained, settings: dict) -> None:
    one = generate(writer, PROMPTS, batch=1, maximum=10, **settings)
    many = generate(writer, PROMPTS, batch=3, maximum=10, **settings)
    assert [[a.tokens for a in own] for own in one] == [[a.tokens for a in own] for own in many]


def test_prompts_of_tokens(writer: Pretrained) -> None:
    """The same answers as after their text; also after what no text is."""
    tokens = [own.tokens.tolist() for own in writer.tokenizer.encode_many(PROMPTS)]
    for settings in ({}, {"beams": 3}):
        assert generate_tokens(writer, tokens, maximum=8, **settings) == generate(
            writer, PROMPTS, maximum=8, **settings
        )
    half = [writer.tokenizer.eos, *tokens[2][1:]]  # the end of a text, and the second half of a letter
    ((answer,),) = generate_tokens(writer, [half], maximum=4)
    assert answer.tokens[0] == int(logits_of(writer, half)[-1].argmax())


def test_seeds(writer: Pretrained) -> None:
    def drawn(seed: int) -> list[tuple[int, ...]]:
        return [
            a.tokens for own in generate(writer, ["a", "a"], sample=True, answers=4, seed=seed, maximum=6) for a in own
        ]

    assert drawn(1) == drawn(1)
    assert drawn(1) != drawn(2)
    assert len(set(drawn(1))) == 8


def test_draws_follow_the_probabilities() -> None:
    """Chi-square, 20,000 draws of one distribution, at one step and over prompts, answers and steps."""
    logits = torch.tensor([2.0, 0.0, -1.0, 1.0, 0.5, -3.0, 1.5])
    for settings in ({}, {"top_k": 4}, {"top_p": 0.8}, {"temperature": 2.0, "min_p": 0.1}):
        kept = narrowed(logits[None], Decoding(sample=True, **settings))
        expected = kept[0].double().softmax(0).numpy()
        uniform = torch.cat([uniforms(3, np.arange(50), 20, step).flatten() for step in range(20)])
        found = np.bincount(draw(kept.expand(len(uniform), -1), uniform).numpy(), minlength=7)
        assert (found[expected == 0] == 0).all()
        some = expected > 0
        assert chisquare(found[some], expected[some] / expected[some].sum() * len(uniform)).pvalue > 1e-3


def test_draws_at_the_borders() -> None:
    logits = torch.tensor([[float("-inf"), 0.0, 0.0, float("-inf")]]).expand(2, -1)
    assert draw(logits, torch.tensor([0.0, 1.0 - 2.0**-53], dtype=torch.float64)).tolist() == [1, 2]


@pytest.mark.parametrize("size", [3, 64, 500, 1000, 4096])
@pytest.mark.parametrize("k", [1, 3, 8])
def test_the_largest(size: int, k: int) -> None:
    scores = torch.randn(5, size, generator=torch.Generator().manual_seed(size))
    scores[0, : size // 2] = float("-inf")
    values, places = top(scores, k)
    torch.testing.assert_close(values, scores.topk(min(k, size)).values)
    torch.testing.assert_close(scores.gather(1, places), values)


@pytest.mark.parametrize("seed", range(4))
def test_pieces_are_the_text_and_end_in_no_character(writer: Pretrained, seed: int) -> None:
    """Random bytes: mostly none that make characters."""
    settings = Decoding(maximum=40, sample=True, seed=seed, temperature=3.0)
    for prompt in PROMPTS:
        pieces = list(stream(writer, prompt, settings))
        assert "".join(pieces) == generate(writer, [prompt], settings)[0][0].text


TEXTS = ("naïve façade 🙂 Заяц 我爱", "don't stop . it 's we 're", "  two  spaces\n\nand lines")


@pytest.mark.parametrize("text", TEXTS)
def test_no_piece_holds_half_a_character(text: str) -> None:
    tokenizer = byte_level()
    tokens = tokenizer.encode(text).tokens.tolist()
    pieces = Pieces(Following(tokenizer))
    given = [pieces.add(token) for token in tokens] + [pieces.end()]
    assert "".join(given) == text
    assert not any("�" in piece for piece in given)
    assert sum(piece != "" for piece in given) >= len(text) - 1  # a character is said as soon as it is whole


def test_word_pieces_that_are_pulled_together() -> None:
    """WordPiece's decoder writes "don't" only once it has seen the last piece."""
    pieces = ["[UNK]", "do", "n", "'", "t", ".", "we", "re", "play", "##ing"]
    backend = tokenizers.Tokenizer(models.WordPiece({p: i for i, p in enumerate(pieces)}, unk_token="[UNK]"))
    backend.decoder = decoders.WordPiece()
    tokenizer = Tokenizer(backend)
    tokens = [6, 3, 7, 1, 2, 3, 4, 8, 9, 8, 5]
    following = Pieces(Following(tokenizer))
    given = [following.add(token) for token in tokens] + [following.end()]
    assert "".join(given) == tokenizer.decode(tokens)
    assert sum(piece != "" for piece in given) > 2


@pytest.mark.parametrize("beams", [1, 3])
def test_stop_texts(writer: Pretrained, beams: int) -> None:
    free = generate(writer, PROMPTS, maximum=12, beams=beams)
    for prompt, (answer, *_) in zip(PROMPTS, free, strict=True):
        text = answer.text.replace("�", "")
        if len(text) < 4:
            continue
        stop = text[2:4]
        (found,) = generate(writer, [prompt], maximum=12, beams=beams, stop=stop)[0]
        assert stop not in found.text
        if beams == 1:
            assert found.text == answer.text[: answer.text.index(stop)]
            assert "".join(stream(writer, prompt, maximum=12, stop=(stop,))) == found.text
            assert len(found.tokens) <= len(answer.tokens)


def test_a_stop_text_that_only_begins() -> None:
    tokenizer = byte_level()
    pieces = Pieces(Following(tokenizer), Stopping(Following(tokenizer), ("\n\nQ:",)))
    given = [pieces.add(t) for t in tokenizer.encode("a\n\nb\n\nQ: c").tokens.tolist()]
    assert given[1] == ""
    assert "".join(given) + pieces.end() == "a\n\nb"


def test_what_greedy_decoding_writes_is_greedy(writer: Pretrained) -> None:
    """And what is drawn is not. Of ASCII alone, a piece a letter, so that a text has no other tokens."""
    letters = ["<|endoftext|>", "Ġ", *map(chr, range(0x21, 0x7F))]
    backend = tokenizers.Tokenizer(models.BPE({piece: i for i, piece in enumerate(letters)}, []))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    backend.add_special_tokens(["<|endoftext|>"])
    model = Model(replace(writer.model.config, vocabulary=len(letters)), {"vocabulary": Vocabulary()}).eval()
    wide(model, 0)
    speller = Pretrained(model, Tokenizer(backend), "gpt2", writer=WRITER)
    prompts, drawn = ["the cat", "a", "one two three"], 0
    for settings in ({}, {"sample": True, "seed": 3}):
        answers = [own[0] for own in generate(speller, prompts, maximum=6, minimum=6, **settings)]
        pairs = [(prompt, answer.text) for prompt, answer in zip(prompts, answers, strict=True)]
        for answer, found in zip(answers, score(speller, pairs), strict=True):
            assert found.tokens == len(answer.text) == 6
            assert found.total == pytest.approx(answer.score, abs=1e-3)
            assert found.greedy or settings
            drawn += not found.greedy
    assert drawn == 3


BAD = {
    "a long prompt": (
        lambda w, _: generate(w, ["x" * 90]),
        "prompt 1: 90 tokens, and 64 new ones; expected at most 96",
    ),
    "one text": (lambda w, _: generate(w, "abc"), "a list of texts"),
    "no token": (lambda w, _: generate_tokens(w, [[1], []]), "prompt 2: no token; expected at least one"),
    "too many tokens": (lambda w, _: generate_tokens(w, [[1] * 90]), "prompt 1: 90 tokens, and 64 new ones"),
    "an unknown setting": (lambda w, _: generate(w, ["a"], beam=3), "decoding with beam; expected some of maximum"),
    "sampled beams": (lambda w, _: generate(w, ["a"], beams=3, sample=True), "beams that are sampled"),
    "too many answers": (lambda w, _: generate(w, ["a"], answers=3), "3 answers of 1 beams"),
    "groups": (lambda w, _: generate(w, ["a"], beams=4, groups=3), "4 beams in 3 groups"),
    "phrases too long": (lambda w, _: generate(w, ["a"], maximum=3, phrases=["abcdef"]), "phrases of 7 tokens"),
    "what cannot be met": (
        lambda w, _: generate(w, ["a"], maximum=8, beams=2, phrases=["ab"], banned=["ab"]),
        "prompt 1: nothing can be written by these rules",
    ),
    "beams in a stream": (lambda w, _: list(stream(w, "a", beams=2)), "one answer"),
    "a model that fills": (lambda _, f: generate(f, ["w1"]), "was not trained to write"),
    "a language for a model without a decoder": (lambda w, _: generate(w, ["a"], first="de"), "a model with a decoder"),
    "an empty continuation": (lambda w, _: score(w, [("a", "")]), "nothing to score"),
    "pseudo-likelihoods of a GPT": (lambda w, _: pseudo(w, ["a"]), "fill blanks"),
    "no blank": (lambda _, f: mask_predict(f, ["w1"]), "text 1 has no blank"),
    "an empty stop": (lambda w, _: generate(w, ["a"], stop=""), "an empty text"),
    "a decoding that is none": (lambda w, _: generate(w, ["a"], {"maximum": 4}), "expected a Decoding, or its fields"),
    "prompts of numbers": (lambda w, _: generate(w, ["a", 3]), "prompt 2: int; expected a text"),
    "a stream of several": (lambda w, _: list(stream(w, ["a"])), "prompt 1: list; expected a text"),
    "prompts of texts as tokens": (
        lambda w, _: generate_tokens(w, ["abc"]),
        "prompt 1: abc; expected a list of",
    ),
    "tokens with a fraction": (lambda w, _: generate_tokens(w, [[1], [1.5]]), "prompt 2: [1.5]"),
    "one prompt of tokens": (lambda w, _: generate_tokens(w, [1, 2]), "prompt 1: 1; expected a list of tokens"),
    "a token beyond": (lambda w, _: generate_tokens(w, [[1, 257]]), "prompt 1: token 257; expected one of 0 to 256"),
    "a token below": (lambda w, _: generate_tokens(w, [[-5]]), "prompt 1: token -5"),
    "half a character": (lambda w, _: generate(w, ["a", "b\ud800"]), "prompt 2: half a character in"),
    "no batch": (lambda w, _: generate(w, ["a"], batch=0), "batch 0; expected at least 1"),
    "less than no batch": (lambda w, _: generate(w, ["a"], batch=-1), "batch -1"),
}


@pytest.mark.parametrize("name", BAD)
def test_one_clear_line(name: str, writer: Pretrained, filler: Pretrained) -> None:
    act, message = BAD[name]
    with pytest.raises(InputError) as found:
        act(writer, filler)
    assert message in str(found.value)
    assert "\n" not in str(found.value)


def test_the_command(writer: Pretrained, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    hub.export(writer, tmp_path / "m")
    (tmp_path / "a.txt").write_text("the cat\n\na\n")
    given = {"beams": 2, "answers": 2, "maximum": 6, "sample": False, "seed": 0}
    generate_files(str(tmp_path / "m"), [tmp_path / "a.txt"], tmp_path / "out.jsonl", given, "{no_repeat: 2}", False)
    rows = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert [row["prompt"] for row in rows] == ["the cat", "", "a"]
    expected = generate(writer, ["the cat", "", "a"], beams=2, answers=2, maximum=6, no_repeat=2)
    assert [[a["text"] for a in row["answers"]] for row in rows] == [[a.text for a in own] for own in expected]
    greedy = given | {"beams": 1, "answers": 1}
    generate_files(str(tmp_path / "m"), [tmp_path / "a.txt"], None, greedy, "", True)
    assert capsys.readouterr().out == "".join(
        f"{own[0].text}\n" for own in generate(writer, ["the cat", "", "a"], maximum=6)
    )
    for more, message in (
        ("{beams: 3}", "expected --beams"),
        ("[", "not YAML"),
        ("3", "found '3'"),
        ("{top_p: high}", "top_p 'high'"),
        ("{wide: 3}", "decoding with wide"),
        ("{stop: [1]}", "stop [1]"),
    ):
        with pytest.raises(InputError) as found:
            generate_files(str(tmp_path / "m"), [tmp_path / "a.txt"], None, given, more, False)
        assert message in str(found.value)


@pytest.mark.parametrize("streamed", [False, True])
def test_what_is_wrong_with_a_line_is_said_of_its_row(
    writer: Pretrained,
    streamed: bool,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Beyond the first chunk, in the second file; before anything is written, and nothing is left lying. From standard
    input, once the line has come.
    """
    monkeypatch.setattr("didact.runs.write._AT_ONCE", 2)
    hub.export(writer, tmp_path / "m")
    files = [tmp_path / "a.txt", tmp_path / "b.txt"]
    files[0].write_text("a\nb\n")
    files[1].write_text("a\nb\nc\n" + "x" * 90 + "\nd\n")
    given = {"beams": 1, "answers": 1, "maximum": 8, "sample": False, "seed": 0}
    out = None if streamed else tmp_path / "to" / "out.jsonl"
    said = "4: 90 tokens, and 8 new ones; expected at most 96 together"
    with pytest.raises(InputError) as found:
        generate_files(str(tmp_path / "m"), files, out, given, "", streamed)
    assert str(found.value) == f"{files[1]}:{said}"
    assert not capsys.readouterr().out
    assert out is None or not out.parent.exists()
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(files[1].read_bytes())))
    with pytest.raises(InputError) as found:
        generate_files(str(tmp_path / "m"), [], out, given, "", streamed)
    assert str(found.value) == f"standard input:{said}"
    assert bool(capsys.readouterr().out) is streamed
    assert out is None or list(out.parent.iterdir()) == []
    if not streamed:
        bound = given | {"beams": 2}
        with pytest.raises(InputError, match=r"a\.txt:1: nothing can be written by these rules; expected fewer rules"):
            generate_files(str(tmp_path / "m"), files[:1], out, bound, "{phrases: [ab], banned: [ab]}", False)


def test_every_line_has_a_draw_of_its_own(
    writer: Pretrained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whatever portions the lines come in, and line by line: as of all of them at once."""
    monkeypatch.setattr("didact.runs.write._AT_ONCE", 2)
    hub.export(writer, tmp_path / "m")
    (tmp_path / "a.txt").write_text("the cat\n" * 5)
    given = {"beams": 1, "answers": 1, "maximum": 8, "sample": True, "seed": 3}
    generate_files(str(tmp_path / "m"), [tmp_path / "a.txt"], tmp_path / "out.jsonl", given, "", False)
    rows = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    texts = [row["answers"][0]["text"] for row in rows]
    assert texts == [own[0].text for own in generate(writer, ["the cat"] * 5, maximum=8, sample=True, seed=3)]
    assert len(set(texts)) == 5
    generate_files(str(tmp_path / "m"), [tmp_path / "a.txt"], None, given, "", True)
    assert capsys.readouterr().out == "".join(f"{text}\n" for text in texts)


def test_a_bad_line_costs_none_before_it(
    writer: Pretrained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Where lines come from standard input, to standard output."""
    hub.export(writer, tmp_path / "m")
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"a\nb\n" + b"x" * 95 + b"\nc\n")))
    given = {"beams": 1, "answers": 1, "maximum": 4, "sample": False, "seed": 0}
    with pytest.raises(InputError, match="standard input:3: 95 tokens"):
        generate_files(str(tmp_path / "m"), [], None, given, "", False)
    assert [json.loads(line)["prompt"] for line in capsys.readouterr().out.splitlines()] == ["a", "b"]
