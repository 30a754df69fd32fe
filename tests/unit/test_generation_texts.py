"""didact.generation.texts: of every kind of tokenizer, pieces add up to the text, and its stop texts are seen."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import tokenizers
from fewshot_tools import sentinels
from tokenizers import decoders, models

from didact.generation.texts import Following, Pieces, Stopping
from didact.tokenization.pipelines import KINDS
from didact.tokenization.tokenizer import Tokenizer
from didact.tokenization.train import train

CORPUS = ["the cat sat on the mat, and the cats were not concatenated. 我爱北京。 naïve façade 🙂 don't. " * 5]
BYTES = [f"<0x{byte:02X}>" for byte in range(256)]
LLAMA = decoders.Sequence(
    [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
)
GEMMA = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])


def by_hand(pieces: list[str], decoder: decoders.Decoder, **more: object) -> Tokenizer:
    """Of these pieces, without merges."""
    names = ["<unk>", "<s>", *pieces]
    model = models.BPE({piece: i for i, piece in enumerate(names)}, [], unk_token="<unk>", **more)
    backend = tokenizers.Tokenizer(model)
    backend.decoder = decoder
    backend.add_special_tokens(["<unk>", "<s>"])
    return Tokenizer(backend)


MADE: dict[str, Callable[[], Tokenizer]] = {
    **{kind: (lambda kind=kind: train(CORPUS, kind, 330 if kind in ("gpt2", "bpe") else 70)[0]) for kind in KINDS},
    "fallback": lambda: by_hand(["▁a", "▁b", "c", "我", *BYTES], LLAMA, byte_fallback=True),
    "fallback, spaces kept": lambda: by_hand([*BYTES, "▁a", "b", "▁"], GEMMA, byte_fallback=True),
    "pieces named like bytes": lambda: by_hand(["<0x41>", "▁a", "b"], decoders.Metaspace()),
    "metaspace": lambda: by_hand(["▁the", "▁cat", "s", "▁"], decoders.Metaspace()),
    "sentinels shown": lambda: sentinels().showing,
    "ends of words": lambda: by_hand(["the</w>", "c", "at</w>"], decoders.BPEDecoder(), end_of_word_suffix="</w>"),
}


@pytest.fixture(scope="module", params=MADE)
def tokenizer(request: pytest.FixtureRequest) -> Tokenizer:
    return MADE[request.param]()


def spelled(tokenizer: Tokenizer, text: str | bytes) -> list[int]:
    """In single bytes."""
    every = text.encode() if isinstance(text, str) else text
    return [i for byte in every if (i := tokenizer.id_of(f"<0x{byte:02X}>")) is not None]


def texts_of(tokenizer: Tokenizer, seed: int) -> tuple[list[int], list[int]]:
    """A prompt and what follows it: now a part of a real text, now any tokens."""
    rng = np.random.default_rng(seed)
    real = tokenizer.encode(CORPUS[0]).tokens.tolist()
    if tokenizer.fallback:  # characters in bytes, between words
        word = min(set(range(2, tokenizer.vocabulary)) - tokenizer.fallback)
        real = [i for c in CORPUS[0] for i in ([word] if c.isascii() else spelled(tokenizer, c))]

    def some(most: int) -> list[int]:
        found: list[int] = []
        while len(found) < most:
            first, size = int(rng.integers(len(real))), int(rng.integers(1, 9))
            found += real[first : first + size]
            found += rng.integers(tokenizer.vocabulary, size=int(rng.integers(3))).tolist()
        return found[:most]

    return some(int(rng.integers(4))), some(16)


@pytest.mark.parametrize("continues", [False, True])
def test_pieces_are_the_text(tokenizer: Tokenizer, continues: bool) -> None:
    early = 0
    for seed in range(40):
        prompt, tokens = texts_of(tokenizer, seed)
        following = Following(tokenizer, tuple(prompt) if continues else ())
        pieces = Pieces(following)
        given = [pieces.add(token) for token in tokens]
        early += any(given)
        assert "".join([*given, pieces.end()]) == following(tokens)
    assert early > 10


@pytest.mark.parametrize("continues", [False, True])
def test_a_stop_text_is_seen_with_the_token_that_completes_it(tokenizer: Tokenizer, continues: bool) -> None:
    """As soon as the text has it, not before; and what is streamed is the text before it."""
    rng = np.random.default_rng(0)
    tried = 0
    for seed in range(40):
        prompt, tokens = texts_of(tokenizer, seed)
        following = Following(tokenizer, tuple(prompt) if continues else ())
        text = following(tokens)
        for size in (1, 2, 5):
            first = 0 if size == 2 else int(rng.integers(max(1, len(text) - size)))
            stop = text[first : first + size]
            if not stop or "�" in stop:
                continue
            tried += 1
            stopping = Stopping(following, (stop, "never there"))
            had = [stop in following(tokens[:n]) for n in range(1, len(tokens) + 1)]
            at = had.index(True) + 1
            assert [stopping(tokens[:n]) for n in range(1, at + 1)] == had[:at]
            pieces = Pieces(following, stopping)
            given = [pieces.add(token) for token in tokens[:at]]
            assert "".join([*given, pieces.end()]) == stopping.cut(following(tokens[:at]))
    assert tried > 20


def test_a_bad_byte_loses_nothing() -> None:
    """One that makes no character rewrites the whole run of bytes that it stands in."""
    tokenizer = MADE["fallback"]()
    pieces = Pieces(Following(tokenizer))  # ▁a is 2, ▁b 3, c 4
    given = [pieces.add(token) for token in (2, *spelled(tokenizer, b"\xc3\xa9\xff"), 3, 4, 4, 3)]
    assert given == ["a", "", "", "", "��� b", "c", "c", " b"]
    assert pieces.end() == ""


def test_a_stop_text_of_several_bytes_amid_others() -> None:
    tokenizer = MADE["fallback"]()
    tokens = spelled(tokenizer, "我爱北京天安门。")
    stopping = Stopping(Following(tokenizer), ("。",))
    found = [stopping(tokens[:n]) for n in range(1, len(tokens) + 1)]
    assert found == [False] * (len(tokens) - 1) + [True]


def test_a_decoder_that_rewrites_what_was_given() -> None:
    """None of ours does: what it wrote is said again rather than lost."""
    tokenizer = by_hand(["a", "b", "c"], decoders.Sequence([decoders.Fuse(), decoders.Replace("ab", "X")]))
    pieces = Pieces(Following(tokenizer))
    assert [pieces.add(token) for token in (4, 2, 3, 4, 4)] == ["c", "a", "X", "c", "c"]
    assert pieces.end() == ""


def test_a_sentinel_ends_a_text_however_far_it_stands() -> None:
    """What it adds to a text is its name: a stop text as any other (docs/generation.md)."""
    shown = sentinels().showing
    first, second = shown.sentinels[:2]
    stopping = Stopping(Following(shown), (shown.token(second),))
    for count in (1, 4, 40):
        tokens = [first, *spelled(shown, "the cat sat on the mat ")[:1] * count]
        assert not stopping(tokens)
        assert stopping([*tokens, second])
