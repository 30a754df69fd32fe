"""A deterministic sample of any corpus in one pass: the texts with the smallest hashes, up to a number of bytes.

Every text has the same chance, and the sample depends on the texts alone, not on their order (bottom-k sampling;
Cohen & Kaplan, 2007).
"""

from __future__ import annotations

import hashlib
import heapq
from collections.abc import Iterable
from dataclasses import dataclass

DEFAULT_BYTES = 200_000_000
LONGEST_RUN = 256
"""characters; longer runs without white space are cut for training, or counting pairs in them takes all memory"""


@dataclass(frozen=True)
class Sample:
    """texts: in the order of their hashes, so that its first part is a sample too; size: their bytes;
    seen, seen_size: texts and bytes of the whole corpus.
    """

    texts: list[str]
    size: int
    seen: int
    seen_size: int


def sample(texts: Iterable[str], size: int = DEFAULT_BYTES) -> Sample:
    """At most `size` bytes of the texts (one text at least, if there is any that is not empty)."""
    kept: list[tuple[int, int, int, str]] = []  # a heap with the largest hash on top
    total = seen = seen_size = 0
    limit = 1 << 64
    for index, text in enumerate(texts):
        data = text.encode()
        seen, seen_size = seen + 1, seen_size + len(data)
        hashed = int.from_bytes(hashlib.blake2b(data, digest_size=8).digest(), "little")
        if hashed >= limit or not data:
            continue
        heapq.heappush(kept, (-hashed, -index, len(data), text))
        total += len(data)
        while total > size and len(kept) > 1:
            largest, _, n, _ = heapq.heappop(kept)
            total -= n
            limit = min(limit, -largest)
    kept.sort(reverse=True)
    return Sample([text for *_, text in kept], total, seen, seen_size)


def cut_runs(text: str, longest: int = LONGEST_RUN) -> str:
    """A space after every `longest` characters of a run without white space."""
    if len(text) <= longest or all(len(run) <= longest for run in text.split()):
        return text
    pieces: list[str] = []
    at = 0
    for run in text.split():
        begin = text.index(run, at)
        pieces.append(text[at:begin])
        pieces.append(" ".join(run[i : i + longest] for i in range(0, len(run), longest)))
        at = begin + len(run)
    pieces.append(text[at:])
    return "".join(pieces)
