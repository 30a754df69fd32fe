"""In-context learning: how answers are compared, and what no score can tell."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from fewshot_tools import RECORDS, TASK, bart, bart_of_bytes, bert, gpt, made, t5

from didact.errors import InputError
from didact.evaluation.fewshot import SCORINGS, Asking, Fewshot, Pool, Template, cases, floors, reader_of, summary
from didact.evaluation.fewshot.calibrate import calibrated, calibration_error, over_words
from didact.evaluation.fewshot.prompts import fitted
from didact.evaluation.fewshot.readers import BlankReader, ConditionalReader
from didact.generation.borders import Pieces as PiecesOf
from didact.generation.cloze import fill_spans
from didact.generation.masked import Blank, fill_in
from didact.generation.score import score, score_pieces
from didact.model import Pretrained
from didact.tasks import Translate


def by_hand(model: Pretrained, before: str, words: list[str]) -> np.ndarray[Any, Any]:
    """The log-probability of each word."""
    if model.family == "gpt2":
        return np.array([own.total for own in score(model, [(before, word) for word in words])])
    return np.array([own.total for own in fill_in(model, [Blank(before, word) for word in words])])


@pytest.mark.parametrize("model", [gpt(), bert()], ids=["gpt2", "bert"])
def test_scores_are_those_of_prompts_written_by_hand(model: Pretrained) -> None:
    own = made()
    asking = Asking(TASK, reader_of(model, TASK), own[:3], Pool(TASK, own), SCORINGS)
    trial = asking.trial(2, 1, 0)
    counts = {word: len(model.tokenizer.encode(" " + word)) for word in ("good", "bad", "very bad")}
    for i, case in enumerate(own[:3]):
        shown = [own[d] for d in Pool(TASK, own).draw(case, i, 2, 1)]
        head = "Say what the review thinks.\n\n"
        head += "".join(f"Review: {d.fields['text']}\nSentiment: {'good' if d.gold == 0 else 'bad'}\n\n" for d in shown)
        good, bad, very = by_hand(model, f"{head}Review: {case.fields['text']}\nSentiment: ", list(counts))
        sums = np.log([np.exp(good), (np.exp(bad) + np.exp(very)) / 2])
        np.testing.assert_allclose(trial.scores["sum"][i], sums, atol=1e-4)
        each = [value / counts[word] for value, word in zip((good, bad, very), counts, strict=True)]
        np.testing.assert_allclose(
            trial.scores["tokens"][i], [each[0], np.log(np.mean(np.exp(each[1:])))], rtol=1e-4, atol=1e-4
        )
        lengths = [good / 4, bad / 3, very / 8]
        np.testing.assert_allclose(
            trial.scores["characters"][i], [lengths[0], np.log(np.mean(np.exp(lengths[1:])))], atol=1e-4
        )
        gain = np.array([good, bad, very]) - by_hand(model, "Sentiment: ", list(counts))
        np.testing.assert_allclose(
            trial.scores["pmi"][i], [gain[0], np.log(np.mean(np.exp(gain[1:])))], rtol=1e-4, atol=1e-4
        )
        nothing = []
        for empty in ("N/A", "", "[MASK]"):
            g, b, v = np.exp(by_hand(model, f"{head}Review: {empty}\nSentiment: ", list(counts)))
            nothing.append(np.array([g, (b + v) / 2]) / (g + (b + v) / 2))
        w = np.exp(sums) / np.mean(nothing, axis=0)
        found = np.exp(trial.scores["calibrated"][i])
        np.testing.assert_allclose(found / found.sum(), w / w.sum(), atol=1e-4)


def test_choices_of_each_record() -> None:
    task = Fewshot("choose", (Template.parse("{text}: {answer}."),), choices="choices", answer="right")
    records = [
        {"text": "the cat", "choices": ["sat", "a fine film"], "right": 1},
        {"text": "a dull", "choices": ["cat", "film", "mat"], "right": "mat"},
    ]
    own = cases(task, enumerate(records, 1), None)
    assert [case.gold for case in own] == [1, 2]
    assert own[1].answer == "mat"
    trial = Asking(task, reader_of(bert(), task), own, Pool(task, own), ("sum",)).trial(1, 0, 0)
    before = "a dull: mat.\n\nthe cat: "
    expected = [s.total for s in fill_in(bert(), [Blank(before, word, ".") for word in ("sat", "a fine film")])]
    np.testing.assert_allclose(trial.scores["sum"][0], expected, atol=1e-5)
    assert floors(own)["chance"] == pytest.approx((1 / 2 + 1 / 3) / 2)
    with pytest.raises(InputError, match="expected one of the choices, or 0 to 1"):
        cases(task, [(1, records[0] | {"right": 2})], "f")


LAST = Fewshot(
    "last",
    (Template.parse("{answer} is what one says of: {text} (review)"),),
    {"1": ("good",), "0": ("bad", "very bad")},
)


def test_what_follows_the_answer_is_asked_of_a_causal_model() -> None:
    """By the chain rule over whole texts, written out; the rules take the answer's own share alone."""
    own, model = made(LAST), gpt(512)
    asking = Asking(LAST, reader_of(model, LAST), own[:4], Pool(LAST, own), SCORINGS)
    for shots in (0, 2):
        trial = asking.trial(shots, 1, 0)
        for i, case in enumerate(own[:4]):
            shown = [own[d] for d in Pool(LAST, own).draw(case, i, shots, 1)]
            says = "{} is what one says of: {} (review)"
            head = "".join(says.format(d.answer, d.fields["text"]) + "\n\n" for d in shown)
            words = ["good", "bad", "very bad"]
            before, answered, whole = (
                [likelihood(model, text, bool(shots)) for text in some]
                for some in (
                    [head.rstrip()] * 3,
                    [head + word for word in words],
                    [head + says.format(word, case.fields["text"]) for word in words],
                )
            )
            answer, rest = np.subtract(answered, before), np.subtract(whole, answered)
            np.testing.assert_allclose(trial.scores["sum"][i], joined(answer + rest), atol=1e-4)
            lengths = [
                len(model.tokenizer.encode(head + w)) - len(model.tokenizer.encode(head.rstrip())) for w in words
            ]
            np.testing.assert_allclose(trial.scores["tokens"][i], joined(answer / lengths + rest), atol=1e-4)
            domain = by_hand(model, "", words)
            np.testing.assert_allclose(trial.scores["pmi"][i], joined(answer + rest - domain), atol=1e-4)
    assert len({tuple(own) for own in trial.scores["sum"]}) == 4, "questions differ"


def likelihood(model: Pretrained, text: str, begun: bool) -> float:
    """Of all tokens; but where the text is begun, of all after the first."""
    tokens = model.tokenizer.encode(text).tokens
    if len(tokens) == begun:
        return 0.0
    return score_pieces(model, [PiecesOf(tokens[:begun], tokens[begun:])])[0].total


def joined(values: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Of "good", "bad" and "very bad", where the two last mean the same."""
    return np.array([values[0], np.logaddexp(values[1], values[2]) - np.log(2)])


def test_what_follows_gives_way_after_all_before() -> None:
    """Demonstrations first; then the end of what follows, as much after each answer, and none of the answer."""
    own, model = made(LAST), gpt(120)
    reader, words = reader_of(model, LAST), [["good", "very bad"]]
    (prompt,) = fitted(reader, LAST, LAST.templates[0], [own[:5]], [own[1].fields], words)
    assert 0 < prompt.dropped < 5
    assert [found.cut for found in reader.scores([prompt])[0]] == [0, 0]
    (prompt,) = fitted(reader, LAST, LAST.templates[0], [own[:5]], [{"text": "a fine film " * 60}], words)
    assert prompt.dropped == 5
    good, bad = (model.tokenizer.encode(word).tokens for word in words[0])
    rest = model.tokenizer.encode(prompt.after).tokens
    kept = 120 - max(len(good), len(bad))
    for answer, found in zip((good, bad), reader.scores([prompt])[0], strict=True):
        given = score_pieces(model, [PiecesOf(np.zeros(0, np.int64), np.concatenate([answer, rest[:kept]]))])[0]
        assert found.total == pytest.approx(given.total, abs=1e-4)
        assert (found.tokens, found.cut) == (len(answer), len(rest) - kept)


def test_what_follows_the_answer_and_is_not_read() -> None:
    """The same of every question: not asked. A field that a decoder is not told: refused."""
    task = replace(TASK, templates=(Template.parse("Review: {text}\nSentiment: {answer} (review)"),))
    own = made(task)
    plain, more = (
        Asking(each, reader_of(gpt(), each), own, Pool(each, own), ("sum",)).trial(0, 0, 0).scores["sum"]
        for each in (TASK, task)
    )
    np.testing.assert_array_equal(np.stack(plain), np.stack(more))
    with pytest.raises(InputError, match=r"template 0: \{text\} follows the answer, and an encoder-decoder"):
        reader_of(bart(), LAST)


@pytest.mark.parametrize(
    ("model", "objective", "writes"),
    [
        (t5(), {"kind": "mixed", "parts": [{"kind": "span_corruption"}, {"kind": "span_corruption"}]}, "span"),
        (t5(), {"kind": "span_corruption", "sentinels_shown": False}, None),
        (t5(), None, None),
        (bart(), {"kind": "denoised", "corruptions": [{"kind": "permute_sentences"}, {"kind": "infill"}]}, "whole"),
        (bart(), {"kind": "denoised", "corruptions": [{"kind": "shuffle"}]}, None),
        (bart(), {"kind": "forced"}, None),
    ],
)
def test_an_encoder_decoder_is_asked_as_it_was_trained(model: Pretrained, objective: Any, writes: Any) -> None:
    """And one that was fine-tuned as its task was; what the file says comes first."""
    model = replace(model, objective=objective)
    found = reader_of(model, TASK)
    assert (found.form if isinstance(found, BlankReader) else None) == writes
    assert isinstance(reader_of(replace(model, task=Translate()), TASK), ConditionalReader)
    assert isinstance(reader_of(model, replace(TASK, decoder="text")), ConditionalReader)
    named = reader_of(model, replace(TASK, decoder="span" if model.tokenizer.sentinels else "whole"))
    assert isinstance(named, BlankReader)


def test_a_blank_that_a_decoder_writes() -> None:
    """What follows is read, demonstrations give way, and ways whose token the tokenizer does not have are refused."""
    for model, decoder in ((t5(), "span"), (bart_of_bytes(512), "whole")):
        task = replace(LAST, decoder=decoder)
        own = made(task)
        trial = Asking(task, reader_of(model, task), own[:3], Pool(task, own), ("sum",)).trial(2, 0, 0)
        for prompt, found in zip(trial.prompts, trial.scores["sum"], strict=True):
            blanks = [Blank(prompt.before, word, prompt.after) for word in ("good", "bad", "very bad")]
            expected = [scored.total for scored in fill_spans(model, blanks, decoder)]
            np.testing.assert_allclose(found, joined(np.array(expected)), atol=1e-4)
        assert len({tuple(found) for found in trial.scores["sum"]}) == 3
    reader, words = reader_of(bart_of_bytes(100), task), [["good", "very bad"]]
    (prompt,) = fitted(reader, task, task.templates[0], [own[:5]], [own[1].fields], words)
    assert 0 < prompt.dropped < 5
    assert [found.cut for found in reader.scores([prompt])[0]] == [0, 0]
    for model, decoder, said in ((t5(), "whole", "no mask token"), (bart(), "span", "no sentinels")):
        with pytest.raises(InputError, match=f"the tokenizer has {said}"):
            reader_of(model, replace(TASK, decoder=decoder))


def test_special_tokens_that_the_task_names() -> None:
    """The task's own are meant; a record's are text, and where the two would stand in one text, refused."""
    named = Fewshot("named", (Template.parse("{text} [SEP] it was {answer}."),), TASK.labels)
    plain = replace(named, templates=(Template.parse("{text} so it was {answer}."),))
    odd = [*RECORDS, {"text": "a [SEP] film", "label": 0, "kind": "a"}]
    own, model = made(named), bert()
    trial = Asking(named, reader_of(model, named), own[:2], Pool(named, own), ("sum",)).trial(0, 0, 0)
    for case, found in zip(own, trial.scores["sum"], strict=False):
        blanks = [Blank(case.fields["text"] + " [SEP] it was ", word, ".") for word in ("good", "bad", "very bad")]
        expected = [scored.total for scored in fill_in(model, blanks, special=True)]
        np.testing.assert_allclose(found, joined(np.array(expected)), atol=1e-5)
        assert abs(found[0] - fill_in(model, blanks)[0].total) > 1e-3
    own = made(plain, odd)
    trial = Asking(plain, reader_of(model, plain), own[-1:], Pool(plain, own), ("sum",)).trial(0, 0, 0)
    assert trial.scores["sum"][0][0] == pytest.approx(
        fill_in(model, [Blank("a [SEP] film so it was ", "good", ".")])[0].total
    )
    own = made(named, odd)
    for questions, pool in ((own, []), (own[:1], own)):
        with pytest.raises(InputError, match=r"file:9: the name of a special token in 'a \[SEP\] film'"):
            Asking(named, reader_of(model, named), questions, Pool(named, pool))


@pytest.mark.parametrize(
    ("choices", "right", "gold"),
    [
        (["2", "0", "1"], 0, 0),
        (["2", "0", "1"], 2, 2),
        (["1", "2", "3"], "3", 2),  # no number of a choice
        (["0", "2", "1"], "0", 0),  # both say the same
        (["a", "b"], "1", 1),  # tables hold texts alone
        (["True", "False"], True, 0),
        (["2", "0", "1"], "0", "f:4: right '0' is choice 1, and the number of another; expected a text that"),
        (["2", "0", "1"], 3, "right '3'; expected one of the choices, or 0 to 2"),
        (["2", "3", "1"], 3, "right '3'; expected one of the choices, or 0 to 2"),
        (["2", "3", "-1"], -1, "right '-1'; expected one of the choices, or 0 to 2"),
        (["2", "3"], "²", "right '²'; expected one of the choices, or 0 to 1"),
        (["2", "3"], None, "right is None; expected text"),
    ],
)
def test_which_choice_is_right(choices: list[str], right: Any, gold: int | str) -> None:
    """A number says which, a text is one of them; what could be both is refused."""
    task = Fewshot("choose", (Template.parse("{text} {answer}"),), choices="choices", answer="right")
    record = {"text": "one and one", "choices": choices, "right": right}
    if isinstance(gold, str):
        with pytest.raises(InputError, match=gold):
            cases(task, [(4, record)], "f")
    else:
        assert cases(task, [(4, record)], "f")[0].gold == gold


def refused(model: Pretrained, labels: dict[str, tuple[str, ...]]) -> str:
    task = replace(TASK, labels=labels)
    own = made(task)
    with pytest.raises(InputError) as problem:
        Asking(task, reader_of(model, task), own, Pool(task, own))
    assert "\n" not in str(problem.value)
    return str(problem.value)


def test_answers_that_no_score_can_tell() -> None:
    """What the tokenizer cannot write, and what comes to the same tokens, as each kind of model is asked."""
    odd = {"1": ("good",), "0": ("bad", "好")}
    assert "label '0': the tokenizer cannot write '好'; expected an answer made of its pieces" in refused(bert(), odd)
    made_of_bytes = replace(TASK, labels=odd)
    own = made(made_of_bytes)
    assert Asking(made_of_bytes, reader_of(gpt(), made_of_bytes), own, Pool(TASK, own)), "bytes write everything"
    for model, words in ((bert(), ("good", "good ")), (bart(), (" good", "good"))):
        said = refused(model, {"1": words[:1], "0": words[1:]})
        assert f"label '0': {words[1]!r} has the same tokens as an answer of '1'" in said
    both = {"1": ("好",), "0": ("坏",)}
    assert "label '1': the tokenizer cannot write '好'" in refused(bert(), both)


@pytest.mark.parametrize("model", [gpt(40), bert(40), bart(40)], ids=["gpt2", "bert", "bart"])
def test_an_answer_longer_than_the_model_reads_is_said_of_its_record(model: Pretrained) -> None:
    task = Fewshot("choose", (Template.parse("{text} {answer}"),), choices="options", answer="gold")
    fields = {"text": "the cat", "options": ["sat", "a fine film " * 30], "gold": 0}
    own = cases(task, [(7, fields)], "records.jsonl")
    with pytest.raises(
        InputError, match=r"records\.jsonl:7: options .*: an answer of \d+ tokens; expected fewer than 40"
    ):
        Asking(task, reader_of(model, task), own, Pool(task, own), ("sum",))


def test_choices_that_no_score_can_tell() -> None:
    task = Fewshot("choose", (Template.parse("{text}: {answer}."),), choices="choices", answer="right")
    record: dict[str, Any] = {"text": "the cat", "right": 1}
    for choices, said in (
        (["sat", "好"], "file:2: choices '好': the tokenizer cannot write '好'"),
        (["sat", "cat", "sat"], "file:2: choices 'sat': 'sat' has the same tokens as an answer of 'sat'"),
        (["sat", ""], "file:2: choices with an empty text; expected texts to choose from"),
    ):
        records = [(1, record | {"choices": ["sat", "mat"]}), (2, record | {"choices": choices})]
        with pytest.raises(InputError) as problem:
            Asking(task, reader_of(bert(), task), own := cases(task, records, "file"), Pool(task, own))
        assert said in str(problem.value)


def test_trials_and_their_summary() -> None:
    """Without demonstrations one seed is enough; accuracy is the mean over trials and lies in its interval."""
    task = replace(TASK, templates=(*TASK.templates, Template.parse("{text}? {answer}")))
    own = made(task)
    asking = Asking(task, reader_of(gpt(), task), own, Pool(task, own), ("sum", "pmi"))
    trials = list(asking.trials((0, 2), (3, 4)))
    ways = [(0, 3, 0), (0, 3, 1), (2, 3, 0), (2, 3, 1), (2, 4, 0), (2, 4, 1)]
    assert [(t.shots, t.seed, t.template) for t in trials] == ways
    found = summary(asking, trials)
    assert [(f.shots, f.rule) for f in found] == [(0, "sum"), (0, "pmi"), (2, "sum"), (2, "pmi")]
    for f in found:
        chosen = [t.chosen(f.rule) for t in trials if t.shots == f.shots]
        right = [np.mean([c == case.gold for c, case in zip(each, own, strict=True)]) for each in chosen]
        assert f.each == tuple(right)
        assert f.accuracy.value == pytest.approx(np.mean(right))
        assert f.accuracy.low <= f.accuracy.value <= f.accuracy.high


def test_a_domain_with_braces() -> None:
    """Doubled braces are text: what stands around the answer goes on to the nearest field."""
    assert Template.parse("{text} Say {{x}}: {answer}").domain == ("Say {x}: ", "")
    parsed = Template.parse("{text} so \\boxed{{{answer}}} it is {{ok}} end {more}")
    assert parsed.domain == ("so \\boxed{", "} it is {ok} end")
    assert parsed.sides({"text": "T", "more": "M"}) == ("T so \\boxed{", "} it is {ok} end M")


def test_calibration_of_what_is_hardly_possible() -> None:
    """An answer whose share is e^-2000 has one, and no warning is made of it."""
    sums, empty = np.array([-10.0, -2200.0]), [np.array([-5.0, -2005.0]), np.array([-7.0, -2107.0])]
    found = calibrated(sums, empty)
    assert np.isfinite(found).all()
    assert found[0] == pytest.approx(-10.0)
    assert found[1] == pytest.approx(-2200.0 + 2000.0 + np.log(2.0))


def test_too_few_examples_are_said_before_anything_is_asked() -> None:
    own = made()
    reader = reader_of(gpt(), TASK)
    asking = Asking(TASK, reader, own[:2], Pool(TASK, own[:3]), ("sum",), progress=lambda _n: pytest.fail("asked"))
    with pytest.raises(InputError, match="expected 5, the shots"):
        next(iter(asking.trials((0, 1, 5), (0,))))


def test_calibration_error() -> None:
    """In bins ](i - 1) / 10, i / 10], as defined."""
    rng = np.random.default_rng(0)
    confidence, right = rng.uniform(0.01, 1, 500), rng.integers(2, size=500).astype(float)
    expected = 0.0
    for i in range(10):
        own = [(c, r) for c, r in zip(confidence, right, strict=True) if i / 10 < c <= (i + 1) / 10]
        if own:
            expected += len(own) / 500 * abs(np.mean([c for c, _ in own]) - np.mean([r for _, r in own]))
    assert calibration_error(confidence, right, 10) == pytest.approx(expected)
    assert calibration_error(np.array([1.0, 1.0]), np.array([1.0, 0.0])) == pytest.approx(0.5)
    assert over_words([("a",), ("b", "c")], np.log([0.2, 0.1, 0.3])).tolist() == pytest.approx(np.log([0.2, 0.2]))
