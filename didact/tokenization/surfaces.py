"""What each token adds to a text in whose middle it stands, in bytes: the space of a word's first piece is a part of
it, half a character is half a character, special tokens add nothing. What a text has of it so is the tokens' surfaces
put together, but for white space at its two ends.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

import tokenizers

_TORN = "�"  # what a decoder writes for bytes that are no character
_BYTE = re.compile(r"<0x([0-9A-Fa-f]{2})>")


def surfaces(backend: tokenizers.Tokenizer, pieces: Sequence[str], ending: str) -> tuple[bytes, ...]:
    """Of each token; pieces: their names; ending: what ends a word's last piece ("</w>"), "" where nothing does."""
    every = range(len(pieces))
    if ending:
        special = {i for i, token in backend.get_added_tokens_decoder().items() if token.special}
        return tuple(b"" if i in special else pieces[i].replace(ending, " ").encode() for i in every)
    alone = backend.decode_batch([[i] for i in every])
    before = next((i for i in every if alone[i].strip() and alone[i].isascii()), 0)
    # Behind itself a token is written as in the middle of a text; what is before it is known.
    begin = alone[before]
    behind = backend.decode_batch([[before, i] for i in every])
    return tuple(
        _torn(piece, text) if _TORN in text else text.encode()
        for piece, text in zip(pieces, (whole.removeprefix(begin) for whole in behind), strict=True)
    )


def tail(surfaces: Sequence[bytes], tokens: Sequence[int], size: int) -> bytes:
    """The last bytes of a text, `size` at least where there are as many, begun with a whole token. What is no token
    adds nothing.
    """
    parts: list[bytes] = []
    for token in reversed(tokens):
        if size <= 0:
            break
        if 0 <= token < len(surfaces):
            parts.append(surfaces[token])
            size -= len(parts[-1])
    return b"".join(reversed(parts))


def fallback(decoder: Mapping[str, Any] | None, pieces: Sequence[str]) -> frozenset[int]:
    """Tokens that are one byte each where the decoder (as tokenizer.json has it) falls back on bytes: it turns a whole
    run of them into text together, into characters where all of it are some, else into one U+FFFD a byte.
    """
    if not _falls_back(decoder):
        return frozenset()
    return frozenset(i for i, piece in enumerate(pieces) if _BYTE.fullmatch(piece))


def _falls_back(decoder: Mapping[str, Any] | None) -> bool:
    if decoder is None:
        return False
    return decoder["type"] == "ByteFallback" or any(map(_falls_back, decoder.get("decoders", ())))


def _torn(piece: str, text: str) -> bytes:
    """A piece that is not made of whole characters: one byte by its number, or bytes as byte-level BPE writes them."""
    if found := _BYTE.fullmatch(piece):
        return bytes([int(found[1], 16)])
    alphabet = _alphabet()
    return bytes(alphabet[c] for c in piece) if all(c in alphabet for c in piece) else text.encode()


@cache
def _alphabet() -> dict[str, int]:
    """The character that stands for each byte (Radford et al., 2019): itself where it can be seen, else the next one
    from 256 on.
    """
    seen = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    hidden = [byte for byte in range(256) if byte not in set(seen)]
    return {chr(byte): byte for byte in seen} | {chr(256 + i): byte for i, byte in enumerate(hidden)}
