"""Every task that is answered from rows, of every family with a decoder: both sides read the text, each sequence is
answered as it would be alone, gradients reach all that answers, and what is taught is what is read off.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from task_tools import CASES, tokenizer

from didact.exchange import keys
from didact.families import FAMILIES, Family
from didact.model import Model
from didact.tasks import Dataset, Embed, Task
from didact.tasks.answering import answer

WRITING = [family for family in FAMILIES if family.base.decoder is not None]
READ = [name for name, (task, _) in CASES.items() if not task.written and not isinstance(task, Embed)]
EVERY = [pytest.param(family, name, id=f"{family.name}-{name}") for family in WRITING for name in READ]
BY_HEART = ("classify", "mean", "tag", "answer", "choose")  # one of each kind of question
ASKED = pytest.mark.parametrize(("family", "name"), EVERY)


def made(family: Family, name: str, width: int = 16, std: float | None = None) -> tuple[Task, Dataset, Model]:
    """A case as a small model of the family is asked it, its sequences, and the model, drawn anew."""
    words = tokenizer("wordpiece")
    sizes = {"width": width, "layers": 1, "heads": 2, "feedforward": 2 * width, "dropout": 0.0}
    sizes |= {} if family.base.head_width is None else {"head_width": width // 2}
    config = keys.changed(family.base_for(words), sizes)
    task, records = CASES[name]
    task = task.suited(config, words, family.encoder)
    items = task.items(records)
    task = task.learn(items)
    heads = task.heads()
    config = keys.changed(config, {"pooler": any(head.pools(config) for head in heads.values())})
    model = Model(config, heads, torch.Generator().manual_seed(1))
    if std is not None:
        for p in model.parameters():
            torch.nn.init.normal_(p, std=std, generator=torch.Generator().manual_seed(p.numel()))
    return task, task.dataset(items, words), model


@ASKED
def test_each_sequence_is_answered_as_it_would_be_alone(family: Family, name: str) -> None:
    task, dataset, model = made(family, name, std=0.3)
    together = answer(model, task, dataset, batch_tokens=10_000)
    for a, b in zip(together, answer(model, task, dataset, batch_tokens=1), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5)
    assert task.objective().decoder == (task.side == "outputs")


@ASKED
def test_the_decoder_reads_the_text_again(family: Family, name: str) -> None:
    """Part by part: the start, then all of it but its last token. Asked are the rows of the text itself."""
    task, dataset, _ = made(family, name)
    for example in dataset:
        posed = task.posed(example)
        (asked,) = posed.labels
        np.testing.assert_array_equal(asked.rows, task.ask(example).rows)
        if task.side == "inputs":
            assert posed.outputs is None
            continue
        assert posed.outputs is not None
        assert asked.side == "outputs"
        cuts = [0] if example.parts is None else example.parts.tolist()
        given, read = (np.split(side.tokens, cuts[1:]) for side in (example, posed.outputs))
        for mine, text in zip(read, given, strict=True):
            assert mine.tolist() == [task.start, *text[:-1].tolist()]


@ASKED
def test_the_answer_depends_on_the_whole_text(family: Family, name: str) -> None:
    """Also on what the decoder's row has not read yet: through the encoder."""
    task, dataset, model = made(family, name, std=0.3)
    example = dataset[0]
    (before,) = answer(model, task, replace(dataset, examples=(example,), owners=np.zeros(1, np.int64)))
    for row in np.flatnonzero(~example.special):
        tokens = example.tokens.copy()
        tokens[row] = 7 if tokens[row] != 7 else 8
        other = replace(dataset, examples=(replace(example, tokens=tokens),), owners=np.zeros(1, np.int64))
        (after,) = answer(model, task, other)
        assert not np.array_equal(before, after), row


@pytest.mark.parametrize("name", BY_HEART)
@pytest.mark.parametrize("family", WRITING, ids=lambda family: family.name)
def test_it_is_learned_by_heart(family: Family, name: str) -> None:
    """A few records; and every parameter that is not of an unasked stack gets a gradient."""
    task, dataset, model = made(family, name, width=32)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3, weight_decay=0.0)
    objective = task.objective()
    batch = objective(dataset.examples, np.zeros(len(dataset), np.uint64)).batch(np.arange(len(dataset)))
    for step in range(400):
        loss = objective.loss({"main": model}, batch).scaled(batch.counts)
        if loss.item() < 0.02:
            break
        optimizer.zero_grad()
        loss.backward()
        if step == 0:
            unmoved = {n for n, p in model.named_parameters() if p.grad is None}
            assert all(n.startswith("decoder.") and task.side == "inputs" for n in unmoved), unmoved
        optimizer.step()
    found = task.score(task.decode(dataset, answer(model, task, dataset)), dataset.items)
    assert found[task.main] > 0.98, found
