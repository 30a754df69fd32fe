"""Tokenizer: text -> tokens, where they lie in it, where its words begin and how many bytes each token stands for.

A thin layer over Hugging Face `tokenizers`, in whole arrays (no Python per token), that asks for the tokens of a word
once where words have tokens of their own (`didact.tokenization.remembered`). Text is text: "[MASK]" in a corpus
is five letters and two brackets, not the mask, unless `special=True` is asked for.

Shapes: L tokens of one text.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import tokenizers
from numpy.typing import NDArray

from didact.tokenization import whole_words
from didact.tokenization.encoded import Encoded, Flat, Laid
from didact.tokenization.folder import read_folder, write_folder
from didact.tokenization.frame import BARE, Template, bert_template, frame, read_template
from didact.tokenization.remembered import flatten, remembered
from didact.tokenization.specials import sentinel
from didact.tokenization.surfaces import fallback, surfaces

__all__ = ["Encoded", "Flat", "Tokenizer", "frame"]

Integers = NDArray[np.int64]

ROLES: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("pad", ("[PAD]", "<pad>")),
    ("unk", ("[UNK]", "<unk>")),
    ("cls", ("[CLS]", "<cls>", "<s>")),
    ("sep", ("[SEP]", "<sep>", "</s>")),
    ("mask", ("[MASK]", "<mask>")),
    ("bos", ("<s>", "<|endoftext|>")),
    ("eos", ("</s>", "<|endoftext|>")),
)
"""role -> the names tried, in order, where the tokenizer's own files do not say which token plays it"""


class Tokenizer:
    """A `tokenizers.Tokenizer` and what its configuration says of special tokens. Not changed after it is made.

    pad, unk, cls, sep, mask, bos, eos: ids, or None where the tokenizer has no such token;
    special_ids: ids of all special tokens, in order; added: ids of the tokens that stand for text as it is written, the
    special ones and those added to a vocabulary afterwards; template: which of the special ones go around a text and a
    pair; sentinels: ids of the tokens that mark a hidden span, the first, the second … (T5's <extra_id_0>,
    <extra_id_1> …), as far as they go on; treatment: how text is treated before it is cut into pieces, and by what kind
    of model, as JSON; taken: the added tokens that are no special ones, which are taken out of a text before all that,
    and where they are looked for, as JSON. settings: the contents of tokenizer_config.json, carried along.
    """

    def __init__(self, backend: tokenizers.Tokenizer, settings: Mapping[str, Any] | None = None) -> None:
        described = {**json.loads(backend.to_str()), "padding": None, "truncation": None}
        self._backend = tokenizers.Tokenizer.from_str(json.dumps(described))
        # What encodes has no post-processor: templates are `frame`'s work, and a byte-level one moves offsets
        # differently at the start of a text.
        self._encoder_json = json.dumps({**described, "post_processor": None})
        self._encoder = tokenizers.Tokenizer.from_str(self._encoder_json)
        self._encoder.encode_special_tokens = True
        self._words = remembered(self._encoder, described)
        self.settings = dict(settings or {})
        ids: dict[str, int | None] = {role: self._role(role, names) for role, names in ROLES}
        self.pad, self.unk, self.cls = ids["pad"], ids["unk"], ids["cls"]
        self.sep, self.mask, self.bos, self.eos = ids["sep"], ids["mask"], ids["bos"], ids["eos"]
        added = self._backend.get_added_tokens_decoder()
        special = {i for i, token in added.items() if token.special} | {i for i in ids.values() if i is not None}
        self.sentinels: tuple[int, ...] = self._sentinels()
        special |= set(self.sentinels)
        self.added = frozenset(added)
        self._silent = frozenset(i for i, token in added.items() if token.special)
        plain = [token for token in described["added_tokens"] if not token["special"]]
        self.taken: dict[int, str] = {token["id"]: json.dumps(token, sort_keys=True) for token in plain}
        self._shown: frozenset[int] = frozenset()
        self.treatment = json.dumps([described["normalizer"], described["pre_tokenizer"], described["model"]["type"]])
        model = described["model"]
        affixes = (model.get("continuing_subword_prefix") or "", model.get("end_of_word_suffix") or "")
        self.spelling = json.dumps([described["pre_tokenizer"], model["type"], *affixes])  # of words as pieces
        self.special_ids: tuple[int, ...] = tuple(sorted(special))
        self.vocabulary: int = 1 + max(self._backend.get_vocab(with_added_tokens=True).values())
        self.kind: str = model["type"]
        self.continuation, self._ending = affixes
        self.template: Template = read_template(described["post_processor"]) or (
            bert_template(self.cls, self.sep) if self.cls is not None and self.sep is not None else BARE
        )

    def _role(self, role: str, names: tuple[str, ...]) -> int | None:
        said = self.settings.get(f"{role}_token")
        if isinstance(said, Mapping):  # an AddedToken written out
            said = said["content"]
        for name in names if said is None else (said,):
            if (found := self._backend.token_to_id(name)) is not None:
                return found
        return None

    def _sentinels(self) -> tuple[int, ...]:
        """T5 adds its sentinels; in mT5's own vocabulary they are pieces, which begin like words."""
        found: list[int] = []
        while True:
            names = (f"{begin}{sentinel(len(found))}" for begin in ("", "▁"))
            known = [i for name in names if (i := self._backend.token_to_id(name)) is not None]
            if not known:
                return tuple(found)
            found.append(known[0])

    @staticmethod
    def load(path: str | Path) -> Tokenizer:
        """From a folder (tokenizer.json or vocab.txt, with tokenizer_config.json where there is one) or such a file.

        Raises InputError where there is no tokenizer or it cannot be read.
        """
        return Tokenizer(*read_folder(Path(path)))

    def save(self, folder: str | Path, eos: int | None = None, longest: int | None = None) -> None:
        """Writes what `load` and `transformers.AutoTokenizer.from_pretrained` open with the same ids. eos: the token
        that ends texts, where the tokenizer does not say which; longest: tokens of the longest text that the model at
        its side can read, None = any.
        """
        roles = (("pad", self.pad), ("unk", self.unk), ("cls", self.cls), ("sep", self.sep), ("mask", self.mask))
        ends = eos if self.eos is None else self.eos
        names = {
            f"{role}_token": self.token(i) for role, i in (*roles, ("bos", self.bos), ("eos", ends)) if i is not None
        }
        settings = dict(self.settings)
        if longest is not None:
            settings["model_max_length"] = min(settings.get("model_max_length", longest), longest)
        write_folder(Path(folder), self._backend, settings, names)

    def __reduce__(self) -> tuple[Any, ...]:
        return (_restore, (self._backend.to_str(), self.settings))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Tokenizer) and self.fingerprint == other.fingerprint

    def __hash__(self) -> int:
        return hash(self.fingerprint)

    def __repr__(self) -> str:
        return f"Tokenizer({self.kind}, vocabulary {self.vocabulary}, {self.fingerprint[:12]})"

    @cached_property
    def fingerprint(self) -> str:
        """sha256 of the tokenizer's JSON in one canonical form: what a store remembers its tokens were made by."""
        canonical = json.dumps(json.loads(self._backend.to_str()), sort_keys=True, ensure_ascii=True)
        return hashlib.sha256(canonical.encode()).hexdigest()

    @cached_property
    def _recognising(self) -> tokenizers.Tokenizer:
        """The same tokenizer, for which "[MASK]" in a text is the mask."""
        return tokenizers.Tokenizer.from_str(self._encoder_json)

    def encode_flat(
        self, texts: Sequence[str], *, segmenter: whole_words.Segmenter | None = None, special: bool = False
    ) -> Flat:
        """Texts -> their tokens end to end.

        segmenter: words of scripts without spaces (None: each character is one); special: the names of special
        tokens in the text stand for these tokens.
        """
        laid = Laid.of(texts)
        if self._words is not None and self._words.useful and not special:
            tokens, given, lengths = self._words(laid)
        else:
            backend = self._recognising if special else self._encoder
            encodings = backend.encode_batch(list(texts), add_special_tokens=False)
            lengths = np.fromiter(map(len, encodings), np.int64, len(encodings))
            tokens, given = flatten(encodings, int(lengths.sum()))
            given += np.repeat(laid.bases, lengths)[:, None]
        return laid.measure(tokens, given, lengths, segmenter)

    def encode_many(
        self, texts: Sequence[str], *, segmenter: whole_words.Segmenter | None = None, special: bool = False
    ) -> list[Encoded]:
        """`encode_flat`, one Encoded per text."""
        return self.encode_flat(texts, segmenter=segmenter, special=special).split()

    def encode(self, text: str, *, segmenter: whole_words.Segmenter | None = None, special: bool = False) -> Encoded:
        """One text; see `encode_flat`."""
        return self.encode_many([text], segmenter=segmenter, special=special)[0]

    def named(self, texts: Sequence[str]) -> list[bool]:
        """For each text whether a special token's name is in it, so that `special` makes a difference."""
        pairs = zip(self.encode_many(texts), self.encode_many(texts, special=True), strict=True)
        return [not np.array_equal(plain.tokens, read.tokens) for plain, read in pairs]

    def decode(self, ids: Sequence[int] | Integers, *, special: bool = False) -> str:
        """ids (L,) -> text, as nearly as the tokenizer can say it; special: special tokens are shown too."""
        given = [int(i) for i in ids]
        if self._shown and not special:
            given = [i for i in given if i in self._shown or i not in self._silent]
        return self._backend.decode(given, skip_special_tokens=not (special or self._shown))

    @cached_property
    def showing(self) -> Tokenizer:
        """The same tokenizer, whose `decode` shows sentinels, which say where one answer ends and the next begins."""
        shown = Tokenizer(self._backend, self.settings)
        shown._shown = frozenset(self.sentinels)
        return shown

    @cached_property
    def surfaces(self) -> tuple[bytes, ...]:
        """What each token adds to a text in whose middle it stands; see `didact.tokenization.surfaces`."""
        pieces = self.tokens(range(self.vocabulary))
        found = surfaces(self._backend, pieces, self._ending)
        return tuple(pieces[i].encode() if i in self._shown else own for i, own in enumerate(found))

    @cached_property
    def fallback(self) -> frozenset[int]:
        """The tokens of single bytes that are decoded a whole run at a time, () of most tokenizers; see `surfaces`."""
        return fallback(json.loads(self._backend.to_str())["decoder"], self.tokens(range(self.vocabulary)))

    def as_read(self, text: str) -> str:
        """A text as it is before it is cut into pieces: without capitals and accents where the vocabulary has none.
        White space at its two ends, and between its words, is as it was. "" where nothing is left.
        """
        normalizer = self._backend.normalizer
        if normalizer is None:
            return text
        read = normalizer.normalize_str(text)
        if "▁" not in text:  # a space, where the normaliser writes one so (SentencePiece)
            read = read.replace("▁", " ")
        if "  " not in text:  # BERT's puts spaces around every Chinese character
            read = re.sub(" +", " ", read)
        bare, read = text.strip(), read.strip()
        return text.replace(bare, read) if bare and read else ""

    def token(self, index: int) -> str:
        """The piece with this id; ids without one (a vocabulary padded for the model) show as "<id 30523>"."""
        return self._backend.id_to_token(int(index)) or f"<id {int(index)}>"

    def tokens(self, ids: Sequence[int] | Integers) -> list[str]:
        """ids (L,) -> their pieces."""
        return [self.token(i) for i in ids]

    def written(self, piece: str, text: bool = False) -> list[int]:
        """The pieces of this tokenizer that write a piece of another one like it, [] where it cannot.

        text: the piece is plain text (see `added`) and not a part of a word in the model's own spelling ("##ing",
        "Ġthe").
        """
        if text:
            found = self.encode(piece).tokens.tolist()
        elif self.continuation and piece.startswith(self.continuation):
            found = self._continued(piece.removeprefix(self.continuation))
        else:
            found = [token.id for token in self._backend.model.tokenize(piece)]
        return [] if self.unk in found else found

    def _continued(self, rest: str) -> list[int]:
        """The inside of a word: always the longest piece that fits, which is WordPiece's rule."""
        found: list[int] = []
        while rest:
            sizes = range(len(rest), 0, -1)
            fits = ((n, i) for n in sizes if (i := self.id_of(self.continuation + rest[:n])) is not None)
            size, piece = next(fits, (0, -1))
            if not size:
                return []
            found.append(piece)
            rest = rest[size:]
        return found

    def id_of(self, token: str) -> int | None:
        """The id of a piece, or None."""
        return self._backend.token_to_id(token)


def _restore(text: str, settings: Mapping[str, Any]) -> Tokenizer:
    return Tokenizer(tokenizers.Tokenizer.from_str(text), settings)
