"""Denoising: a corrupted text is read, the whole of it is written again (BART: Lewis et al., 2020, §2)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from didact.data.flat import Flat
from didact.objectives.base import Keys
from didact.objectives.corruption import Corruption, Pieces
from didact.objectives.infill import Infill
from didact.objectives.reorder import PermuteSentences
from didact.objectives.writing import Writing
from didact.objectives.written import Target, written
from didact.randomness import words
from didact.tokenization.tokenizer import Tokenizer


@dataclass(frozen=True)
class Denoised(Writing):
    """Hidden: from a decoder's row, the token that it is asked for and all later ones; from the encoder, what the
    corruptions took out. Asked: of the decoder, every token of the text as it was, special ones too, each of a row that
    has read the ones before it.

    Used by BART: sentences permuted, then spans infilled, in that order (§5.1; fairseq's denoising_dataset.py). With
    `mask` alone it is T5's BERT-style objective, with `shuffle` alone its deshuffling (Raffel et al., 2020, table 3);
    with `delete` of a `suffix` the prefix is read and the whole is written. With no corruption it is an autoencoder.

    mask_id, vocabulary (its size), specials, sentinels: token ids, known when the objective is built for a tokenizer;
    start: the token that the decoder's first row reads, the model's; corruptions: of what the encoder reads, in this
    order; smoothing: share of each answer that is spread evenly over the vocabulary; name: of its figures.
    """

    kind: ClassVar[str] = "denoised"
    mask_id: int | None
    vocabulary: int
    specials: tuple[int, ...]
    start: int
    sentinels: tuple[int, ...] = ()
    corruptions: tuple[Corruption, ...] = (PermuteSentences(), Infill())
    smoothing: float = 0.0
    name: str = "denoised"

    def check(self, tokenizer: Tokenizer) -> None:
        for corruption in self.corruptions:
            corruption.check(tokenizer)

    def rows_of(self, length: int) -> int:
        most = now = length
        for corruption in self.corruptions:
            now = corruption.rows(now, self._pieces)
            most = max(most, now)
        return most

    def ask(self, flat: Flat, keys: Keys) -> Flat:
        read = flat
        for number, corruption in enumerate(self.corruptions):
            read = corruption(read, self._pieces, words(keys, number))
        return written(read, Target.of(flat), self.start, self.name)

    @property
    def _pieces(self) -> Pieces:
        return Pieces(self.mask_id, self.vocabulary, self.specials, self.sentinels)
