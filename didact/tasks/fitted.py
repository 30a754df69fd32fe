"""Sources and targets as tokens in the room that a task gives them: what is longer is cut at its end and counted, or
refused by name.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from didact.tasks.base import Array, Counts, Dataset, Item, encode_all
from didact.tasks.layout import Layout
from didact.tokenization.encoded import Encoded
from didact.tokenization.tokenizer import Tokenizer

if TYPE_CHECKING:
    from didact.tasks.translate import Translate


def fitted(task: Translate, items: Sequence[Item], tokenizer: Tokenizer) -> Dataset:
    """An example an item. Raises InputError where a text may not be cut, or cannot be."""
    counts: Counts = Counts()
    prompts = [(task.before + item.fields["source"] + task.after) for item in items]
    if task.special:
        _check_names(items, tokenizer)
    sources = encode_all(tokenizer, prompts, special=task.special)
    targets = iter(encode_all(tokenizer, [item.gold[0] for item in items if item.gold is not None]))
    layout = Layout.of(tokenizer, task.form or "prefix", task.segment, task.border)
    examples = []
    for item, whole, encoded in zip(items, prompts, sources, strict=True):
        prompt, source = _source(task, whole, encoded, item, layout, tokenizer, counts)
        target = np.zeros(0, np.int64)
        if item.gold is not None:
            target = _target(task, next(targets), item, layout, counts)
        examples.append(layout.example(source.tokens, target, prompt))
    return Dataset(tuple(items), tuple(examples), np.arange(len(items)), +counts)


def _check_names(items: Sequence[Item], tokenizer: Tokenizer) -> None:
    """What the task says around a source is meant, what a source says is text: in one text the two are not told
    apart.
    """
    for item, named in zip(items, tokenizer.named([item.fields["source"] for item in items]), strict=True):
        if named:
            raise item.wrong(
                "a source with the name of a special token, and before or after name some, too",
                "sources without, or before and after without",
            )


def _source(
    task: Translate, prompt: str, encoded: Encoded, item: Item, layout: Layout, tokenizer: Tokenizer, counts: Counts
) -> tuple[str, Encoded]:
    """A prompt whose source was cut at its end until it fits, and its tokens: as they will be when it is read to be
    gone on with.
    """
    room = task.length - len(layout.head) - len(layout.middle)
    if len(encoded) <= room:
        return prompt, encoded
    if task.too_long == "refuse":
        found = len(encoded) + task.length - room
        raise item.wrong(f"a source of {found} tokens", f"at most {task.length} (length)")
    counts["sources cut to the length"] += 1
    counts["tokens cut off sources"] += len(encoded) - room
    source = item.fields["source"]
    while (over := len(encoded) - room) > 0:
        assert encoded.offsets is not None  # of a text that was just encoded
        begins = encoded.offsets[:, 0]
        start, stop = (int((begins < place).sum()) for place in (len(task.before), len(task.before) + len(source)))
        if stop - start <= over:
            raise item.wrong("texts around the source that leave it no room", f"less than {task.length} tokens")
        source = source[: int(begins[stop - over]) - len(task.before)].rstrip()
        prompt = task.before + source + task.after
        encoded = tokenizer.encode(prompt, special=task.special)
    return prompt, encoded


def _target(task: Translate, target: Encoded, item: Item, layout: Layout, counts: Counts) -> Array:
    whole = np.concatenate([layout.first, target.tokens, layout.end]).astype(np.int64)
    if len(whole) <= task.room:
        return whole
    if task.too_long == "refuse":
        raise item.wrong(f"a target of {len(whole)} tokens", f"at most {task.room} (target_length)")
    counts["targets cut to the length"] += 1
    counts["tokens cut off targets"] += len(whole) - task.room
    return whole[: task.room]
