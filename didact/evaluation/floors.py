"""Trivial baselines that stand beside every result: what a task yields without a model that reads.

    Majority       the training file's most frequent answer (of a number, the mean; of tags, the most frequent tag)
    Linear         TF-IDF of words, or of characters where there are none, and a linear model (scikit-learn)
    FrequentTag    the tag that each word had most often; of unknown words, the commonest tag of words seen once
    Overlap        pairs: how much the two texts share, and a linear model of that (scikit-learn)
    Nearest        answers: the sentence that shares most with the question, less the question's own words
    SharedWords    choices: the one that shares most with context and question
    Copied         texts for texts: the source as it is
    Cosine         vectors of texts: the cosine of their words' counts, each times its inverse document frequency

All fit on training items and predict test items in the task's own form, so the same `task.score` scores them.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, ClassVar

import numpy as np

from didact.evaluation.floor import UNSPACED, Floor, Predict, plain, rarity, tokens
from didact.evaluation.nearest import Nearest, SharedWords
from didact.tasks import Answer, Classify, Embed, Item, Prediction, Tag, Task, Translate


@dataclass(frozen=True)
class Majority(Floor):
    name: ClassVar[str] = "majority"

    def suits(self, task: Task) -> bool:
        return not isinstance(task, Answer | Translate | Embed) or (isinstance(task, Answer) and bool(task.nullable))

    def fit(self, task: Task, train: Sequence[Item]) -> Predict:
        task = plain(task)
        if isinstance(task, Tag):
            common = _commonest(task, train)
            return lambda items: [{"id": i.id, "tags": [common] * len(i.fields["words"])} for i in items]
        if isinstance(task, Answer):
            return lambda items: [{"id": i.id, "answer": ""} for i in items]
        label: Any
        if isinstance(task, Classify) and task.problem == "regression":
            label = float(np.mean([item.gold for item in train]))
        elif isinstance(task, Classify) and task.problem == "multiple":
            seen = Counter(name for item in train for name in item.gold)
            label = [name for name in task.known if 2 * seen[name] >= len(train)]
        else:
            label = Counter(item.gold for item in train).most_common(1)[0][0]
        return lambda items: [{"id": i.id, "label": label} for i in items]


def _commonest(task: Tag, train: Sequence[Item]) -> str:
    """The most frequent of the tags that count; the first of them where none was seen."""
    seen = Counter(tag for item in train for tag in item.gold)
    return max((tag for tag in task.known if tag not in task.ignore), key=lambda tag: seen[tag])


@dataclass(frozen=True)
class Linear(Floor):
    """n-grams of 1 or 2 words (1 to 3 characters where most letters are of scripts without spaces, or no word is in two
    texts), in at least `least` texts, weighted 1 + log(count) · idf; logistic or ridge regression of strength 1. Of a
    pair, both sides. The majority's answer where there is nothing to count. Once fitted, its name says what it counts.
    """

    least: int = 2
    _counted: set[str] = field(default_factory=set, repr=False, compare=False)

    @property
    def name(self) -> str:  # type: ignore[override]
        return f"TF-IDF{' of characters' if 'char' in self._counted else ''} + linear"

    def suits(self, task: Task) -> bool:
        return isinstance(plain(task), Classify)

    def fit(self, task: Task, train: Sequence[Item]) -> Predict:
        from scipy.sparse import hstack

        task = plain(task)
        assert isinstance(task, Classify)
        self._counted.clear()
        found: dict[str, tuple[Any, Any]] = {}  # side of a pair: what counts it, and its table
        for side in ("text", "text_b"):
            if train and side in train[0].fields and (own := self._count([i.fields[side] for i in train])) is not None:
                found[side] = own
        if not found:
            return Majority().fit(task, train)
        answer = _linear(task, hstack([table for _, table in found.values()]).tocsr(), [item.gold for item in train])

        def predict(items: Sequence[Item]) -> list[Prediction]:
            tables = [vectors.transform([i.fields[side] for i in items]) for side, (vectors, _) in found.items()]
            return [
                {"id": i.id, "label": label} for i, label in zip(items, answer(hstack(tables).tocsr()), strict=True)
            ]

        return predict

    def _count(self, texts: Sequence[str]) -> tuple[Any, Any] | None:
        """What counts words, or else characters, and their table (texts, n-grams). None where there are none."""
        from sklearn.feature_extraction.text import TfidfVectorizer

        sample = "".join(texts[:1000])
        unspaced = 2 * len(UNSPACED.findall(sample)) > sum(c.isalpha() for c in sample)
        for analyzer, longest in [("char", 3)] if unspaced else [("word", 2), ("char", 3)]:
            vectors = TfidfVectorizer(
                analyzer=analyzer,
                token_pattern=r"\b\w+\b" if analyzer == "word" else None,  # type: ignore[arg-type]
                ngram_range=(1, longest),
                min_df=self.least if len(texts) >= 100 else 1,
                sublinear_tf=True,
            )
            try:
                table = vectors.fit_transform(texts)
            except ValueError:  # so scikit-learn says that nothing is there, or nothing in enough texts
                continue
            if analyzer == "char" or np.bincount(table.indices).max() > 1:  # a word of one text tells of no other
                self._counted.add(analyzer)
                return vectors, table
        return None


def _linear(task: Classify, table: Any, gold: Sequence[Any]) -> Callable[[Any], list[Any]]:
    """Features (n, f) and their answers -> a function from features to answers in the task's form."""
    from sklearn.linear_model import LogisticRegression, Ridge

    if task.problem == "regression":
        model = Ridge().fit(table, np.array(gold, np.float64))
        return lambda rows: [float(y) for y in model.predict(rows)]

    def one(y: Sequence[Any]) -> Callable[[Any], Any]:
        if len(set(y)) == 1:  # nothing to tell apart
            return lambda rows: np.array([y[0]] * rows.shape[0], object)
        return LogisticRegression(max_iter=2000).fit(table, np.array(y)).predict

    if task.problem == "single":
        model_of_all = one([str(g) for g in gold])
        return lambda rows: [str(y) for y in model_of_all(rows)]
    each = {name: one([int(name in g) for g in gold]) for name in task.known}

    def labels(rows: Any) -> list[Any]:
        held = {name: np.asarray(model(rows)).astype(int) for name, model in each.items()}
        return [[name for name in task.known if held[name][i]] for i in range(rows.shape[0])]

    return labels


@dataclass(frozen=True)
class FrequentTag(Floor):
    name: ClassVar[str] = "most frequent tag of the word"

    def suits(self, task: Task) -> bool:
        return isinstance(task, Tag)

    def fit(self, task: Task, train: Sequence[Item]) -> Predict:
        assert isinstance(task, Tag)
        of_word: dict[str, Counter[str]] = {}
        for item in train:
            for word, tag in zip(item.fields["words"], item.gold, strict=True):
                if tag not in task.ignore:
                    of_word.setdefault(word, Counter())[tag] += 1
        tag_of = {word: counts.most_common(1)[0][0] for word, counts in of_word.items()}
        once = Counter(tag_of[word] for word, counts in of_word.items() if counts.total() == 1)
        known = once or Counter(tag_of.values())
        unknown = known.most_common(1)[0][0] if known else _commonest(task, train)
        return lambda items: [
            {"id": i.id, "tags": [tag_of.get(word, unknown) for word in i.fields["words"]]} for i in items
        ]


@dataclass(frozen=True)
class Overlap(Floor):
    """Of two texts: shared words over all words, over each side's, shared pairs of words, the difference in length."""

    name: ClassVar[str] = "word overlap"

    def suits(self, task: Task) -> bool:
        task = plain(task)
        return isinstance(task, Classify) and "text_b" in task.columns

    def fit(self, task: Task, train: Sequence[Item]) -> Predict:
        task = plain(task)
        assert isinstance(task, Classify)
        answer = _linear(task, self._features(train), [item.gold for item in train])
        return lambda items: [
            {"id": i.id, "label": label} for i, label in zip(items, answer(self._features(items)), strict=True)
        ]

    def _features(self, items: Sequence[Item]) -> np.ndarray[Any, Any]:
        rows = []
        for item in items:
            a, b = tokens(item.fields["text"]), tokens(item.fields["text_b"])
            words, twos = (set(a), set(b)), (set(pairwise(a)), set(pairwise(b)))
            common = len(words[0] & words[1])
            rows.append(
                [
                    common / max(1, len(words[0] | words[1])),
                    common / max(1, len(words[0])),
                    common / max(1, len(words[1])),
                    len(twos[0] & twos[1]) / max(1, len(twos[0] | twos[1])),
                    math.log1p(len(a)) - math.log1p(len(b)),
                ]
            )
        return np.array(rows, np.float64).reshape(-1, 5)


@dataclass(frozen=True)
class Copied(Floor):
    name: ClassVar[str] = "the source itself"

    def suits(self, task: Task) -> bool:
        return isinstance(task, Translate)

    def fit(self, task: Task, train: Sequence[Item]) -> Predict:  # noqa: ARG002
        return lambda items: [{"id": i.id, "target": i.fields["source"]} for i in items]


@dataclass(frozen=True)
class Cosine(Floor):
    """How rare a word is, is learned of the texts that are judged: they need no answers for it."""

    name: ClassVar[str] = "TF-IDF cosine"

    def suits(self, task: Task) -> bool:
        return isinstance(task, Embed)

    def fit(self, task: Task, train: Sequence[Item]) -> Predict:  # noqa: ARG002
        def predict(items: Sequence[Item]) -> list[Prediction]:
            pairs = [(i.fields["text"], i.fields["text_b"]) for i in items]
            rare = rarity(text for pair in pairs for text in pair)
            return [{"id": i.id, "score": _cosine(*pair, rare)} for i, pair in zip(items, pairs, strict=True)]

        return predict


def _cosine(a: str, b: str, rare: Callable[[str], float]) -> float:
    left, right = ({w: n * rare(w) for w, n in Counter(tokens(text)).items()} for text in (a, b))
    size = math.hypot(*left.values()) * math.hypot(*right.values())
    return sum(value * right.get(w, 0.0) for w, value in left.items()) / size if size else 0.0


FLOORS: tuple[type[Floor], ...] = (Majority, Linear, FrequentTag, Overlap, Nearest, SharedWords, Copied, Cosine)


def floors_of(task: Task) -> list[Floor]:
    """The floors that suit a task."""
    return [floor() for floor in FLOORS if floor().suits(task)]
