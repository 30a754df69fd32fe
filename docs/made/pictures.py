"""Draws who sees whom: a picture of each visibility pattern, from the rule itself (`Visibility.matrix`), as SVG.

Rows are queries, columns keys; a filled square is seen. Nothing is drawn by hand, and equal code gives equal bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from didact.packed import Packed
from didact.visibility import (
    EVERYBODY,
    NOBODY,
    Visibility,
    bidirectional,
    causal,
    prefix,
    ranked,
    right_to_left,
)

LENGTH = 6
ORDER = (2, 0, 4, 1, 5, 3)  # the place of each row in the factorization order
SEEN, UNSEEN, INK, SIDE, EDGE = "#2f6db5", "#e4e7ec", "#6b7280", 18, 44

Rule = Callable[[Packed], Visibility]
PLAIN: dict[str, Rule] = {
    "bidirectional": lambda _: bidirectional(),
    "causal": lambda _: causal(),
    "right to left": lambda packed: right_to_left(packed.positions),
    "prefix": lambda packed: prefix(packed.positions, 3),
}
"""rules of one run of rows, each seen by name"""


@dataclass(frozen=True)
class Picture:
    """rule: of rows at `positions`, whose names are `rows`; asks: which rows look, all unless said; borders: where
    sequences begin and end.
    """

    rule: Rule
    rows: Sequence[str] = tuple(str(i) for i in range(LENGTH))
    positions: Sequence[int] = tuple(range(LENGTH))
    asks: Sequence[int] | None = None
    borders: Sequence[int] = ()


def _two_streams(_packed: Packed) -> Visibility:
    """XLNet's: content rows, then query rows, which see only what comes before them and are seen by nobody."""
    order = torch.tensor(ORDER)
    return ranked(torch.cat((order, torch.full_like(order, NOBODY))), torch.cat((order, order - 1)))


def _memory(_packed: Packed) -> Visibility:
    """Transformer-XL's: rows kept from the segment before, which every row sees, then a causal segment."""
    position = torch.arange(LENGTH - 2)
    kept = torch.full((2,), EVERYBODY)
    return ranked(torch.cat((kept, position)), torch.cat((kept, position)))


PICTURES: dict[str, Picture] = {
    **{name: Picture(rule) for name, rule in PLAIN.items()},
    "window": Picture(lambda _: bidirectional().within(1)),
    "causal window": Picture(lambda _: causal().within(2)),
    "permutation": Picture(
        _two_streams,
        [*(str(i) for i in range(LENGTH)), *(f"{i}?" for i in range(LENGTH))],
        [*range(LENGTH), *range(LENGTH)],
    ),
    "memory": Picture(
        _memory, ["m0", "m1", *(str(i) for i in range(LENGTH - 2))], [-2, -1, *range(LENGTH - 2)], range(2, LENGTH)
    ),
    "separate sequences": Picture(
        lambda _: bidirectional(), ["0", "1", "0", "1", "2", "3"], [0, 1, 0, 1, 2, 3], borders=(0, 2, 6)
    ),
}


def matrix(picture: Picture) -> list[list[bool]]:
    """The rule of a picture written out, a list of keys for each row that looks."""
    positions = torch.tensor(list(picture.positions))
    n = len(positions)
    borders = torch.tensor(picture.borders or (0, n), dtype=torch.int32)
    packed = Packed(torch.zeros(n, dtype=torch.int64), positions, borders, n)
    seen = picture.rule(packed).matrix(packed).tolist()
    return [seen[row] for row in (picture.asks or range(n))]


def picture(name: str) -> str:
    """The SVG of one of `PICTURES`."""
    drawn = PICTURES[name]
    seen = matrix(drawn)
    asks = [drawn.rows[row] for row in (drawn.asks or range(len(drawn.rows)))]
    width, height = EDGE + SIDE * len(drawn.rows) + 4, EDGE + SIDE * len(asks) + 4
    text = f'font-family="monospace" font-size="11" fill="{INK}"'
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" role="img" aria-label="{name}">',
        f"<title>{name}: rows are queries, columns keys</title>",
        f'<text x="{EDGE}" y="12" {text}>{name}</text>',
    ]
    for k, key in enumerate(drawn.rows):
        x = EDGE + SIDE * k + SIDE // 2
        lines.append(f'<text x="{x}" y="{EDGE - 6}" {text} text-anchor="middle">{key}</text>')
    for q, query in enumerate(asks):
        y = EDGE + SIDE * q
        lines.append(f'<text x="{EDGE - 8}" y="{y + 13}" {text} text-anchor="end">{query}</text>')
        for k, sees in enumerate(seen[q]):
            x = EDGE + SIDE * k
            lines.append(
                f'<rect x="{x + 1}" y="{y + 1}" width="{SIDE - 2}" height="{SIDE - 2}" rx="2" '
                f'fill="{SEEN if sees else UNSEEN}"/>'
            )
    return "\n".join([*lines, "</svg>"]) + "\n"
