"""The distance rule: what the relation of two rows adds to an attention logit, for every member of the family.

logit[q, k] gains, per head,  by_distance[head, i] + by_query[q, head, i] + by_key[k, head, i],
i = index(distance of the rows), and by_same[q, head] where the rows' segments are the same.

    T5's buckets, ALiBi         by_distance
    Transformer-XL, XLNet       by_query (XLNet also by_same)
    DeBERTa                     by_query + by_key (with its logarithmic buckets)

The index is a table, not a function, so that every kernel (and compiled code) can read it: row `distance + reach` of
`index`, distance = position[k] - position[q] cut to [-reach, reach], reach = (rows of index - 1) / 2.

XLNet has a number for keys of the query's segment and one for others. Only their difference counts, as a softmax does
not change when all its logits grow alike; and rows without segments, which are all of the same one, need neither.

Shapes: T rows, N heads, I values of the index, R = 2 · reach + 1.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class DistanceTerms:
    """index (R,) int64, R odd; by_distance (N, I); by_query and by_key (T, N, I); by_same (T, N); each of the four or
    None.

    Logits are those *after* division by sqrt(head width): the terms are added as they are.
    """

    index: Tensor
    by_distance: Tensor | None = None
    by_query: Tensor | None = None
    by_key: Tensor | None = None
    by_same: Tensor | None = None

    def relate(self, q_position: Tensor, k_position: Tensor) -> Tensor:
        """Positions, any shapes that broadcast -> i, int64, of the broadcast shape."""
        return relate(self.index, q_position, k_position)


def relate(index: Tensor, q_position: Tensor, k_position: Tensor) -> Tensor:
    """`DistanceTerms.relate` for a bare index table."""
    reach = (index.shape[0] - 1) // 2
    return index[(k_position - q_position).clamp(-reach, reach) + reach]


def gather(by: Tensor, i: Tensor) -> Tensor:
    """by (…, L, I) per row, i (…, L, S) -> (…, L, S): each row's own term at each of its indices."""
    return torch.gather(by, -1, i.expand(*by.shape[:-1], i.shape[-1]))
