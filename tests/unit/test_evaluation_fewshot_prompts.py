"""In-context learning: what is drawn, what is written, what gives way."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from fewshot_tools import RECORDS, TASK, bert, gpt, made

from didact.errors import InputError
from didact.evaluation.fewshot import Pool, Template, draw, reader_of
from didact.evaluation.fewshot.prompts import fitted, written
from didact.evaluation.fewshot.task import Case
from didact.randomness import Permutation, key


def test_a_template_says_what_it_reads() -> None:
    template = Template.parse("{{Q}} {question} of {text}: {answer}, {question}!")
    assert template.fields == ("question", "text")
    assert template.sides({"question": "who", "text": "{x}"}) == ("{Q} who of {x}: ", ", who!")
    assert template.domain == (": ", ",")
    assert Template.parse("Review: {text}\nSentiment: {answer}").domain == ("Sentiment: ", "")


@pytest.mark.parametrize(
    "text",
    ["{text}", "{answer} {answer}", "{text.x} {answer}", "{text:>3} {answer}", "{ {answer}", "{} {answer}"],
)
def test_a_template_that_is_none(text: str) -> None:
    with pytest.raises(InputError, match="template"):
        Template.parse(text)


def test_what_is_written() -> None:
    first, second, third, *_ = made()
    prompt = written(TASK, TASK.templates[0], [first, second], third.fields, ("good", "bad"))
    assert prompt.before == (
        "Say what the review thinks.\n\nReview: a fine film\nSentiment: good\n\nReview: a dull film\nSentiment: bad"
        "\n\nReview: the cat sat\nSentiment: "
    )
    assert prompt.after == ""
    bare = written(replace(TASK, description=""), TASK.templates[0], [], third.fields, ("good",))
    assert bare.before == "Review: the cat sat\nSentiment: "


def test_draws() -> None:
    """By seed and question, never the question, the first of more are those of fewer."""
    own = made()
    pool = Pool(TASK, own)
    drawn = {(i, seed): pool.draw(own[i], i, 5, seed) for i in range(8) for seed in range(40)}
    for (i, seed), found in drawn.items():
        assert i not in found
        assert len(set(found)) == 5
        assert pool.draw(own[i], i, 3, seed) == found[:3]
    assert len({tuple(found) for found in drawn.values()}) > 300
    first = Counter(found[0] for (i, _), found in drawn.items() if i != 0)
    assert min(first[i] for i in range(8)) > 15, "every example comes first about as often"
    many = made(records=[{"text": f"x{i}", "label": 0} for i in range(9)])
    same = Pool(replace(TASK, draw="seed"), many)
    orders = [same.draw(case, i, 8, 1) for i, case in enumerate(many)]
    for i, order in enumerate(orders):
        assert [d for d in order if d != 0] == [d for d in orders[0] if d != i]


def test_a_question_that_stands_twice_is_not_shown_either() -> None:
    own = made(records=[*RECORDS, RECORDS[0]])
    assert 8 not in Pool(TASK, own).draw(own[0], 0, 7, 0)
    assert 8 in Pool(replace(TASK, repeats=True), own).draw(own[0], 0, 8, 0)
    with pytest.raises(InputError, match=r"file:1: 7 examples to show before question 0; expected 8"):
        Pool(TASK, own).draw(own[0], 0, 8, 0)


def test_balanced_and_within() -> None:
    task = replace(TASK, balance="label", repeats=True)
    own = made(task)
    for seed in range(20):
        found = Pool(task, own).draw(own[1], 1, 4, seed)
        assert Counter(own[i].balance for i in found) == {"0": 2, "1": 2}
        assert 1 not in found
    task = replace(TASK, within="kind")
    own = made(task)
    for i, case in enumerate(own):
        found = Pool(task, own).draw(case, i, 3, 0)
        assert {own[j].within for j in found} == {case.within}
    with pytest.raises(InputError, match="3 examples with kind 'a' to show before question 0; expected 4"):
        Pool(task, own).draw(own[0], 0, 4, 0)


def drawn_by_hand(pool: Pool, question: Case, number: int, seed: int) -> list[int]:
    """The whole order, by the definition: round r holds the r-th of each value, in the order in which they come."""
    own = pool.cases
    order = [i for i, case in enumerate(own) if case.within == question.within]
    order = [order[int(place)] for place in Permutation(len(order), key(seed, number))(np.arange(len(order)))]
    kept = [i for i in order if own[i] is not question and (pool.task.repeats or own[i].fields != question.fields)]
    rounds = [sum(own[j].balance == own[i].balance for j in kept[:place]) for place, i in enumerate(kept)]
    return [kept[place] for place in np.argsort(rounds, kind="stable")]


@pytest.mark.parametrize("repeats", [True, False])
def test_balanced_is_its_definition(repeats: bool) -> None:
    rng = np.random.default_rng(0)
    task = replace(TASK, balance="kind", within="group", repeats=repeats)
    for seed in range(20):
        records = [
            {"text": f"t{rng.integers(12)}", "label": 1, "kind": str(rng.integers(3)), "group": str(rng.integers(2))}
            for _ in range(30)
        ]
        own = made(task, records)
        pool = Pool(task, own)
        for number, question in enumerate(own):
            wanted = drawn_by_hand(pool, question, number, seed)
            assert pool.draw(question, number, len(wanted), seed) == wanted
            assert pool.draw(question, number, 3, seed) == wanted[:3]


def test_a_large_pool_is_not_read_for_every_question(monkeypatch: pytest.MonkeyPatch) -> None:
    task = replace(TASK, balance="label")
    own = made(task, [{"text": f"x{i}", "label": i % 3 == 0} for i in range(5000)])
    read: list[int] = []

    class Counted(Permutation):
        def __call__(self, index: Any) -> Any:
            read.append(len(index))
            return super().__call__(index)

    monkeypatch.setattr(draw, "Permutation", Counted)
    assert len(Pool(task, own).draw(own[7], 7, 5, 0)) == 5
    assert sum(read) <= 128


def test_what_does_not_fit_gives_way_from_the_front() -> None:
    own = made()
    for model in (gpt(80), bert(80)):
        reader = reader_of(model, TASK)
        words = [["good", "bad", "very bad"]]
        (prompt,) = fitted(reader, TASK, TASK.templates[0], [own[:7]], [own[7].fields], words)
        assert 0 < prompt.dropped < 7
        whole = [written(TASK, TASK.templates[0], own[n:7], own[7].fields, words[0]) for n in range(8)]
        assert prompt.before == whole[prompt.dropped].before
        longest = [
            len(model.tokenizer.encode(p.before + "very bad" + p.after)) + len(model.tokenizer.template.single) - 1
            for p in whole
        ]
        bound = 81 if model.family == "gpt2" else 80  # nobody reads the last token of a continuation
        assert longest[prompt.dropped] <= bound < longest[prompt.dropped - 1]
    long = [{"text": "a fine film " * 30}]
    (prompt,) = fitted(reader_of(gpt(40), TASK), TASK, TASK.templates[0], [own[:2]], long, [["good"]])
    assert prompt.dropped == 2
    assert reader_of(gpt(40), TASK).scores([prompt])[0][0].cut > 0
