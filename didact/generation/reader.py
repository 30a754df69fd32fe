"""A model as decoding sees it: it reads prompts, then one token of each hypothesis at a time, and says what comes next.

    next token    the row of a token is asked for the one after it                (GPT, GPT-2)
    blank         a mask token stands where the next one is to be                 (UniLM, Dong et al., 2019, §2.5)
    beside        a decoder writes, beside a source that the encoder has read     (BART, T5, Marian)

Shapes: B prompts, R hypotheses of each, V vocabulary, n rows, D width.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor

from didact.batch import Side
from didact.errors import InputError
from didact.heads import Vocabulary
from didact.heads.vocabulary import VocabularyLayers
from didact.model import Model
from didact.nn.cache import Cache
from didact.nn.incremental import Alone, Beside, for_steps
from didact.nn.product import Product
from didact.nn.transformer import Transformer
from didact.packed import Packed
from didact.visibility import bidirectional, prefix

Prompts = Sequence[Sequence[int]]


class Reader(ABC):
    """What a decoder needs of a model."""

    @abstractmethod
    def start(self, prompts: Prompts, hypotheses: int, room: int) -> Tensor:
        """Read B prompts, each of at least one token, of which R hypotheses of at most `room` new tokens are to come
        -> logits of the first new token (B, V).
        """

    @abstractmethod
    def before(self, prompts: Prompts) -> Prompts:
        """What stands before the first new token of each prompt's hypotheses, as rules see it."""

    @abstractmethod
    def read(self, tokens: Tensor) -> Tensor:
        """The newest token of every hypothesis (B, R) -> logits of the next one (B, R, V)."""

    @abstractmethod
    def move(self, parents: Tensor) -> None:
        """Hypothesis r of prompt b goes on where hypothesis parents[b, r] (B, R) stands."""

    @abstractmethod
    def keep(self, prompts: Tensor) -> None:
        """Only these prompts (n,) go on, in this order."""

    def again(self) -> Tensor:
        """(B, R): how much the row that the next token of each hypothesis is asked of looks at where the rows before it
        have looked. Raises InputError for a model that copies nothing.
        """
        raise InputError("coverage_penalty, and the model copies nothing", expected="one that was trained to (copy)")


class Scores:
    """Rows -> logits, by a model's vocabulary head: (n, D) -> (n, V), float32."""

    def __init__(self, model: Model) -> None:
        name = vocabulary_head(model)
        if name is None:
            raise InputError("this model has no vocabulary head", expected="a model trained to say what comes next")
        layers = model.heads[name]
        assert isinstance(layers, VocabularyLayers)
        matrix = layers.matrix(model.core.embedding.table)
        self._before = for_steps(layers)
        self._product = Product(matrix, layers.offset)

    def __call__(self, rows: Tensor) -> Tensor:
        return self._product(self._before.before(rows)).float()


def vocabulary_head(model: Model) -> str | None:
    """The name of the head that says which token stands or comes there; None where there is none."""
    heads = model.specs.items()
    return next((name for name, head in heads if isinstance(head, Vocabulary) and head.stream == "main"), None)


class Cached(Reader):
    """A stack whose keys and values are kept from step to step."""

    def __init__(self, model: Model) -> None:
        if not isinstance(model.core, Transformer):
            raise InputError(f"a {model.config.core} core", expected="a Transformer, whose keys and values can be kept")
        self.model = model
        self.core = for_steps(model.core)
        self.scores = Scores(model)
        self.cache: Cache

    def before(self, prompts: Prompts) -> Prompts:
        return prompts

    def move(self, parents: Tensor) -> None:
        self.cache.move(parents)

    def keep(self, prompts: Tensor) -> None:
        self.cache.keep(prompts)

    def _fill(
        self, prompts: Prompts, hypotheses: int, room: int, segment: int | None, whole: bool = False
    ) -> tuple[Side, Tensor]:
        """The prompts as they were read, and what the stack makes of them (T, D). whole: each row sees all of its own
        prompt, also where the model looks back.
        """
        segments = None if segment is None else [[segment] * len(prompt) for prompt in prompts]
        packed = Packed.of(prompts, segments)
        seen = prefix(packed.positions, packed.max_seqlen) if whole else bidirectional()
        side = Side(packed, seen).to(self.model.device)
        self.cache = Cache(Alone(self.core), hypotheses, room)
        return side, self.cache.fill(side)


class NextToken(Cached):
    """A model that looks back: the row of a token is asked for the one after it. whole: rows of the prompt see all of
    it, as `prefix_lm` trains them to.
    """

    def __init__(self, model: Model, whole: bool = False) -> None:
        super().__init__(model)
        self.whole = whole

    def start(self, prompts: Prompts, hypotheses: int, room: int) -> Tensor:
        side, rows = self._fill(prompts, hypotheses, room, None, self.whole)
        return self.scores(rows.index_select(0, side.packed.cu_seqlens[1:].long() - 1))

    def read(self, tokens: Tensor) -> Tensor:
        rows = self.cache.read(tokens[:, None])
        return self.scores(rows.flatten(0, 2)).view(*tokens.shape, -1)


class Blank(Cached):
    """A model that fills blanks and was trained to fill them from left to right after a text that it sees whole: after
    what there is it reads a mask token, which sees all of it, and forgets that row again. prompt, written: segments of
    the two.
    """

    def __init__(self, model: Model, mask: int, prompt: int, written: int) -> None:
        super().__init__(model)
        self.mask, self.prompt, self.written = mask, prompt, written

    def before(self, prompts: Prompts) -> Prompts:
        return [[] for _ in prompts]

    def start(self, prompts: Prompts, hypotheses: int, room: int) -> Tensor:
        self._fill(prompts, hypotheses, room, self.prompt)
        blanks = torch.full((len(prompts), 1, hypotheses), self.mask, device=self.model.device)
        rows = self.cache.read(blanks, kept=0, segment=self.written)
        return self.scores(rows[:, 0, 0])

    def read(self, tokens: Tensor) -> Tensor:
        both = torch.stack((tokens, torch.full_like(tokens, self.mask)), 1)
        rows = self.cache.read(both, kept=1, segment=self.written)[:, 1]
        return self.scores(rows.flatten(0, 1)).view(*tokens.shape, -1)


class Writing(Cached):
    """An encoder-decoder: the encoder reads the prompts, once; the decoder begins with `begin` and goes on with the
    newest token.
    """

    def __init__(self, model: Model, begin: int) -> None:
        super().__init__(model)
        assert model.decoder is not None
        self.decoder, self.begin = for_steps(model.decoder), begin

    def before(self, prompts: Prompts) -> Prompts:
        return [[self.begin] for _ in prompts]

    def start(self, prompts: Prompts, hypotheses: int, room: int) -> Tensor:
        source = Side(Packed.of(prompts)).to(self.model.device)
        encoded = self.model.hidden(source).main
        word = self.model.core.embedding.word
        # One row more than is written: the one that the decoder begins with.
        self.cache = Cache(Beside(self.decoder, word, encoded, source.packed), hypotheses, room + 1)
        self.cache.begin(torch.zeros(len(prompts), dtype=torch.int64, device=encoded.device))
        begun = torch.full((len(prompts), 1, hypotheses), self.begin, device=encoded.device)
        return self.scores(self.cache.read(begun)[:, 0, 0])

    def read(self, tokens: Tensor) -> Tensor:
        rows = self.cache.read(tokens[:, None])
        return self.scores(rows.flatten(0, 2)).view(*tokens.shape, -1)
