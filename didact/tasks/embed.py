"""One vector a text, learned by contrast and judged by how people judge pairs of texts (SimCSE: Gao et al., 2021;
semantic textual similarity: Cer et al., 2017).

What is learned from (texts, pairs, triples) and what is judged (pairs with a number) are files of different columns.

Shapes: D width.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Self

import numpy as np

from didact.batch import Example, Labels
from didact.config import ModelConfig
from didact.data.parts import side_by_side
from didact.errors import InputError
from didact.heads import Head
from didact.heads.embedding import Pooling
from didact.objectives.base import Objective
from didact.objectives.contrastive import Contrastive
from didact.tasks.base import Array, Counts, Dataset, Item, Prediction, Task, encode_all
from didact.tasks.columns import Columns, Row, Source, rows
from didact.tasks.metrics import PEARSON, SPEARMAN, Metric
from didact.tokenization.frame import frame
from didact.tokenization.tokenizer import Tokenizer

DEFAULT_COLUMNS: Columns = {name: name for name in ("text", "positive", "negative", "text_b", "score", "id")}
LEARNED, JUDGED = ("text", "positive", "negative"), ("text", "text_b")


@dataclass(frozen=True)
class Embed(Task):
    """Training files: texts alone (`text`: each is its own other half, read with other dropout), pairs (`positive`: its
    other half) or triples (`negative`: a text that is not, a hard negative). Files to judge by: `text`, `text_b` and
    `score`, how alike the two are; predicted is their cosine.

    columns: of these fields and id; length: of each text in tokens; temperature: cosines are divided by it; group: so
    many texts of a step compete with each other, a step being a multiple of them; pooling: of a text's rows into its
    vector; projection: whether a dense layer stands behind it while training (SimCSE's "MLP").
    """

    kind: ClassVar[str] = "embed"
    named: ClassVar[tuple[str, ...]] = ("text", "positive", "negative", "text_b", "score")
    answer: ClassVar[str] = "score"

    columns: Columns = field(default_factory=dict)
    format: str | None = None
    header: bool | None = None
    length: int = 64
    temperature: float = 0.05
    group: int = 64
    pooling: Pooling = "cls"
    projection: bool = True

    def __post_init__(self) -> None:
        self.objective()  # which checks its own

    def rows(self, source: Source, labelled: bool = True) -> Iterator[Row]:
        return rows(source, {**DEFAULT_COLUMNS, **self.columns}, self.format, self.header, not labelled, JUDGED)

    def heads(self) -> Mapping[str, Head]:
        return self.objective().heads

    def objective(self) -> Objective:
        return Contrastive(self.temperature, self.group, self.pooling, self.projection)

    def suited(self, config: ModelConfig, tokenizer: Tokenizer, encoder: Collection[str] = ()) -> Self:  # noqa: ARG002
        if config.visibility == "causal" and self.pooling == "cls":
            raise InputError(
                "task.embed.pooling: cls, and a causal model's first row sees only itself", expected="last"
            )
        return self

    def item(self, row: Row, labelled: bool, counts: Counts) -> tuple[Mapping[str, Any], Any] | None:  # noqa: ARG002
        judged = row.has("text_b") or row.has("score")
        names = JUDGED if judged else [n for n in LEARNED if n == "text" or row.has(n) or n in self.columns]
        if "negative" in names and "positive" not in names:
            raise row.wrong("a negative without a positive", "the text's other half, too")
        fields = {name: row.text(name) for name in names}
        if empty := [name for name, text in fields.items() if not text.strip()]:
            raise row.wrong(f"an empty {empty[0]}", "text")
        return fields, row.number_of("score") if judged and labelled else None

    def learn(self, items: Sequence[Item]) -> Self:
        """Nothing; but pairs with a score are not what is learned from."""
        for item in items:
            if "text_b" in item.fields and item.gold is not None:
                raise item.wrong("a pair with a score to learn from", "texts, or columns `positive` and `negative`")
        return self

    def dataset(self, items: Sequence[Item], tokenizer: Tokenizer) -> Dataset:
        counts: Counts = Counts()
        encoded = iter(encode_all(tokenizer, [text for item in items for text in item.fields.values()]))
        room = self.length - tokenizer.template.overhead(False)
        examples = []
        for item in items:
            if list(item.fields) != list(items[0].fields):
                raise item.wrong(f"only {', '.join(item.fields)}", f"{', '.join(items[0].fields)} throughout")
            parts = []
            for _ in item.fields:
                text = next(encoded)
                counts["texts cut to the length"] += len(text) > room
                parts.append(frame(tokenizer, text, max_length=self.length))
            examples.append(side_by_side(parts, {"score": item.gold}))
        return Dataset(tuple(items), tuple(examples), np.arange(len(items)), +counts)

    def ask(self, example: Example) -> Labels:
        """Of each text, its vector."""
        assert example.parts is not None
        borders = np.append(example.parts, len(example))
        unknown = np.zeros((len(example.parts), 0), np.float32)
        return Labels("embedding", np.arange(len(example)), unknown, groups=borders)

    def decode(self, dataset: Dataset, answers: Sequence[Array]) -> list[Prediction]:
        found: list[Prediction] = []
        for item, answer in zip(dataset.items, answers, strict=True):
            if len(answer) != 2:
                raise item.wrong(f"{len(answer)} texts", "two to compare: text and text_b")
            a, b = np.asarray(answer, np.float64)
            found.append({"id": item.id, "score": float(a @ b / max(np.linalg.norm(a) * np.linalg.norm(b), 1e-12))})
        return found

    def metrics(self) -> tuple[Metric, ...]:
        return (SPEARMAN, PEARSON)
