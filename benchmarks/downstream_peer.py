"""Fine-tuning as transformers' own examples do it (run_glue, run_ner, run_qa), without their Trainer: a plain loop.

Dynamic padding, fused AdamW with Trainer's two parameter groups, linear decay after the warm-up, gradient clipping;
predictions in the form that a didact task scores, so that one scorer judges both sides.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from didact.lab.bench import peer
from didact.tasks import Answer, Classify, Tag
from didact.tasks.base import Item, Task

Features = dict[str, Any]
Rows = list[dict[str, Any]]


@dataclass(frozen=True)
class Finetuned:
    """predictions, one an item; seconds of training (tokens at hand) and of predicting the test set (from texts); steps
    taken.
    """

    predictions: Rows
    train_seconds: float
    test_seconds: float
    steps: int


def finetune(
    task: Task,
    train: Sequence[Item],
    test: Sequence[Item],
    start: Path,
    recipe: peer.Recipe,
    epochs: float,
    batch: int,
    warmup: float,
    seed: int,
    dropout: tuple[float, float],
) -> Finetuned:
    """Train on `train` from the checkpoint folder `start`, predict `test`. dropout: of hidden states, of attention."""
    torch.manual_seed(seed)
    tokenizer = peer.open_tokenizer(start)
    side = _side(task)
    sizes = {"hidden_dropout_prob": dropout[0], "attention_probs_dropout_prob": dropout[1]}
    model = peer.open_model(side.model, start, **sizes, **side.labels(task))
    features = side.features(task, train, tokenizer, True)
    began = time.perf_counter()
    steps = _train(model, features, tokenizer, recipe, epochs, batch, warmup, seed)
    trained = time.perf_counter()
    predictions = side.predictions(task, test, tokenizer, model, recipe.precision)
    return Finetuned(predictions, trained - began, time.perf_counter() - trained, steps)


def _train(
    model: nn.Module,
    features: Sequence[Features],
    tokenizer: Any,
    recipe: peer.Recipe,
    epochs: float,
    batch: int,
    warmup: float,
    seed: int,
) -> int:
    """The loop. Returns the number of steps."""
    order = torch.Generator().manual_seed(seed)
    per_epoch = math.ceil(len(features) / batch)
    steps = math.ceil(per_epoch * epochs)
    optimizer = peer.optimizer(model, recipe)
    schedule = peer.transformers().get_linear_schedule_with_warmup(optimizer, int(warmup * steps), steps)
    model.train()
    done = 0
    while done < steps:
        shuffled = torch.randperm(len(features), generator=order).tolist()
        for some in _chunks(shuffled, batch):
            if done == steps:
                break
            padded = _pad([features[i] for i in some], tokenizer)
            with peer.autocast(recipe.precision):
                loss = model(**padded).loss
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), recipe.clip)
            optimizer.step()
            schedule.step()
            optimizer.zero_grad(set_to_none=True)
            done += 1
    return done


def _chunks(values: Sequence[int], size: int) -> Iterator[Sequence[int]]:
    for start in range(0, len(values), size):
        yield values[start : start + size]


def _pad(rows: Sequence[Features], tokenizer: Any) -> dict[str, Tensor]:
    """The model's inputs of several rows, padded to the longest; word labels with -100."""
    names = ("input_ids", "token_type_ids", "attention_mask")
    padded = tokenizer.pad([{k: r[k] for k in names} for r in rows], return_tensors="pt")
    out: dict[str, Tensor] = dict(padded)
    length = out["input_ids"].shape[1]
    if rows and isinstance(rows[0].get("labels"), list):
        out["labels"] = torch.tensor([r["labels"] + [-100] * (length - len(r["labels"])) for r in rows])
    elif rows and "labels" in rows[0]:
        out["labels"] = torch.tensor([r["labels"] for r in rows])
    for name in ("start_positions", "end_positions"):
        if rows and name in rows[0]:
            out[name] = torch.tensor([r[name] for r in rows])
    return out


def _answers(
    model: nn.Module, features: Sequence[Features], tokenizer: Any, precision: str, batch: int = 64
) -> list[tuple[Any, ...]]:
    """The logits of each row, in order, cut to its length; rows run sorted by length, which wastes least padding."""
    model.eval()
    order = sorted(range(len(features)), key=lambda i: len(features[i]["input_ids"]))
    found: list[tuple[Any, ...]] = [()] * len(features)
    with torch.no_grad():
        for some in _chunks(order, batch):
            rows = [{k: features[i][k] for k in ("input_ids", "token_type_ids", "attention_mask")} for i in some]
            with peer.autocast(precision):
                output = model(**_pad(rows, tokenizer))
            logits = [output.logits] if "logits" in output else [output.start_logits, output.end_logits]
            for place, i in enumerate(some):
                found[i] = tuple(part[place].float().numpy() for part in logits)
    return found


class _Side:
    """How transformers' examples do one kind of task."""

    model: str

    def labels(self, task: Any) -> Mapping[str, Any]:  # noqa: ARG002
        return {}

    def features(self, task: Any, items: Sequence[Item], tokenizer: Any, training: bool) -> list[Features]:
        raise NotImplementedError

    def predictions(self, task: Any, items: Sequence[Item], tokenizer: Any, model: nn.Module, precision: str) -> Rows:
        raise NotImplementedError


class _Classifying(_Side):
    model = "AutoModelForSequenceClassification"

    def labels(self, task: Classify) -> Mapping[str, Any]:
        return {"num_labels": len(task.known)}

    def features(self, task: Classify, items: Sequence[Item], tokenizer: Any, training: bool) -> list[Features]:
        pair = [i.fields["text_b"] for i in items] if items and "text_b" in items[0].fields else None
        texts = [i.fields["text"] for i in items]
        coded = tokenizer(texts, pair, truncation=True, max_length=task.length, return_token_type_ids=True)
        rows = [{k: coded[k][i] for k in coded} for i in range(len(items))]
        for row, item in zip(rows, items, strict=True):
            if training:
                row["labels"] = task.known.index(item.gold)
        return rows

    def predictions(
        self, task: Classify, items: Sequence[Item], tokenizer: Any, model: nn.Module, precision: str
    ) -> Rows:
        found = _answers(model, self.features(task, items, tokenizer, False), tokenizer, precision)
        return [{"label": task.known[int(logits.argmax())]} for (logits,) in found]


class _Tagging(_Side):
    model = "AutoModelForTokenClassification"

    def labels(self, task: Tag) -> Mapping[str, Any]:
        return {"num_labels": len(task.known)}

    def features(self, task: Tag, items: Sequence[Item], tokenizer: Any, training: bool) -> list[Features]:
        words = [list(i.fields["words"]) for i in items]
        coded = tokenizer(
            words, is_split_into_words=True, truncation=True, max_length=task.length, return_token_type_ids=True
        )
        rows = []
        for i, item in enumerate(items):
            places = coded.word_ids(i)
            first = [p if p is not None and p != (places[j - 1] if j else None) else None for j, p in enumerate(places)]
            row = {k: coded[k][i] for k in coded} | {"first": first}
            if training:
                row["labels"] = [-100 if p is None else task.known.index(item.gold[p]) for p in first]
            rows.append(row)
        return rows

    def predictions(self, task: Tag, items: Sequence[Item], tokenizer: Any, model: nn.Module, precision: str) -> Rows:
        features = self.features(task, items, tokenizer, False)
        rows: Rows = []
        for item, feature, (logits,) in zip(
            items, features, _answers(model, features, tokenizer, precision), strict=True
        ):
            tags = [task.default] * len(item.fields["words"])  # a word cut off gets the commonest tag, as on our side
            best = logits.argmax(-1)
            for place, word in enumerate(feature["first"]):
                if word is not None:
                    tags[word] = task.known[int(best[place])]
            rows.append({"tags": tags})
        return rows


class _Answering(_Side):
    model = "AutoModelForQuestionAnswering"

    def features(self, task: Answer, items: Sequence[Item], tokenizer: Any, training: bool) -> list[Features]:
        coded = tokenizer(
            [i.fields["question"] for i in items],
            [i.fields["context"] for i in items],
            truncation="only_second",
            max_length=task.length,
            stride=task.length // 4,
            return_overflowing_tokens=True,
            return_offsets_mapping=True,
            return_token_type_ids=True,
        )
        rows = []
        for i, owner in enumerate(coded["overflow_to_sample_mapping"]):
            parts = coded.sequence_ids(i)
            offsets = [o if part == 1 else None for o, part in zip(coded["offset_mapping"][i], parts, strict=True)]
            row = {k: coded[k][i] for k in ("input_ids", "token_type_ids", "attention_mask")}
            row |= {"owner": owner, "offsets": offsets}
            if training:
                row["start_positions"], row["end_positions"] = _place(items[owner].gold, offsets)
            rows.append(row)
        return rows

    def predictions(
        self, task: Answer, items: Sequence[Item], tokenizer: Any, model: nn.Module, precision: str
    ) -> Rows:
        features = self.features(task, items, tokenizer, False)
        best: list[tuple[float, str]] = [(-math.inf, "")] * len(items)
        for feature, (start, end) in zip(features, _answers(model, features, tokenizer, precision), strict=True):
            context = items[feature["owner"]].fields["context"]
            for score, a, b in _spans(start, end, feature["offsets"], task.longest):
                if score > best[feature["owner"]][0]:
                    best[feature["owner"]] = (score, context[a:b])
        return [{"answer": text} for _, text in best]


def _place(gold: Any, offsets: Sequence[tuple[int, int] | None]) -> tuple[int, int]:
    """First and last token of the answer; [CLS] twice where the window does not hold it whole (run_qa)."""
    inside = [j for j, o in enumerate(offsets) if o is not None]
    if not gold.texts or not inside:
        return 0, 0
    begin, end = offsets[inside[0]], offsets[inside[-1]]
    assert begin is not None
    assert end is not None
    if begin[0] > gold.start or end[1] < gold.end:
        return 0, 0
    covering = [j for j in inside if (o := offsets[j]) is not None and o[1] > gold.start and o[0] < gold.end]
    return (covering[0], covering[-1]) if covering else (0, 0)


def _spans(
    start: Any, end: Any, offsets: Sequence[tuple[int, int] | None], longest: int, best: int = 20
) -> Iterator[tuple[float, int, int]]:
    """(score, first character, past the last) of the pairs of the 20 best starts and ends (run_qa's utils_qa)."""
    starts, ends = np.argsort(-start)[:best].tolist(), np.argsort(-end)[:best].tolist()
    for a in starts:
        for b in ends:
            first, last = (offsets[j] if j < len(offsets) else None for j in (a, b))
            if first is not None and last is not None and a <= b < a + longest:
                yield float(start[a] + end[b]), first[0], last[1]


def _side(task: Task) -> _Side:
    sides: tuple[tuple[type[Task], _Side], ...] = (
        (Classify, _Classifying()),
        (Tag, _Tagging()),
        (Answer, _Answering()),
    )
    return next(side for kind, side in sides if isinstance(task, kind))
