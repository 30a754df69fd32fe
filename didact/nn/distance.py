"""The distance rule: what the relation of two rows adds to an attention logit, for every member of the family.

logit[q, k] gains, per head,  by_distance[head, i] + by_query[q, head, i] + by_key[k, head, i],
i = index(row q, row k), a row having a position and a segment.

    T5's buckets, ALiBi         by_distance
    Transformer-XL, XLNet       by_query (of the distance; XLNet also of "same segment")
    DeBERTa                     by_query + by_key (with its logarithmic buckets)

The index is a table, not a function, so that every kernel (and compiled code) can read it: row `distance + reach` of
`index`, distance = position[k] - position[q] cut to [-reach, reach], reach = (rows of index - 1) / 2; and, where rows
have segments that count, column 1 where both rows' segments are the same and column 0 where they are not.

Shapes: T rows, N heads, I values of the index, R = 2 · reach + 1.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class DistanceTerms:
    """index (R,) or (R, 2) int64, R odd; by_distance (N, I); by_query and by_key (T, N, I); each of the three or None.

    Logits are those *after* division by sqrt(head width): the terms are added as they are.
    """

    index: Tensor
    by_distance: Tensor | None = None
    by_query: Tensor | None = None
    by_key: Tensor | None = None

    def relate(self, q_position: Tensor, k_position: Tensor, same_segment: Tensor | None) -> Tensor:
        """Positions and same_segment, any shapes that broadcast -> i, int64, of the broadcast shape."""
        return relate(self.index, q_position, k_position, same_segment)


def relate(index: Tensor, q_position: Tensor, k_position: Tensor, same_segment: Tensor | None) -> Tensor:
    """`DistanceTerms.relate` for a bare index table."""
    reach = (index.shape[0] - 1) // 2
    row = (k_position - q_position).clamp(-reach, reach) + reach
    if index.ndim == 1:
        return index[row]
    if same_segment is None:
        return index[:, 1][row]  # rows without segments are all of the same one
    return index[row, same_segment.long()]


def gather(by: Tensor, i: Tensor) -> Tensor:
    """by (…, L, I) per row, i (…, L, S) -> (…, L, S): each row's own term at each of its indices."""
    return torch.gather(by, -1, i.expand(*by.shape[:-1], i.shape[-1]))
