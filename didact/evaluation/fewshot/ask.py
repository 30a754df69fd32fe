"""Put a task to a model: every number of shots, every seed, every template (Brown et al., 2020, §2.4).

Shapes: n questions, c answers of one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from didact.evaluation.fewshot import calibrate
from didact.evaluation.fewshot.draw import Pool
from didact.evaluation.fewshot.prompts import check_answers, check_names, fitted
from didact.evaluation.fewshot.readers import Prompt, Reader
from didact.evaluation.fewshot.task import Case, Fewshot, Scoring
from didact.evaluation.intervals import Interval, interval
from didact.generation.score import Scored
from didact.tasks.metrics import ACCURACY

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Trial:
    """One way to ask all questions. shots, seed, template (its number); prompts, drawn: of each question, and the
    numbers of its demonstrations; scores: by rule, (c,) of each question; cut: tokens of each that did not fit.
    """

    shots: int
    seed: int
    template: int
    prompts: Sequence[Prompt]
    drawn: Sequence[Sequence[int]]
    scores: Mapping[Scoring, Sequence[Floats]]
    cut: Sequence[int]

    def chosen(self, rule: Scoring) -> list[int]:
        """The number of the best answer to each question; the first of a tie."""
        return [int(own.argmax()) for own in self.scores[rule]]

    def confidence(self, rule: Scoring) -> Floats:
        """The best answer's share among the answers, (n,)."""
        return np.array([calibrate.shares(own).max() for own in self.scores[rule]])


@dataclass(frozen=True)
class Asking:
    """A task and what it is asked of. rules: of scoring; progress: told how many words have been scored.

    InputError for answers that the tokenizer cannot write or tell apart, and for records that name special tokens where
    the task does as well.
    """

    task: Fewshot
    reader: Reader
    questions: Sequence[Case]
    pool: Pool
    rules: tuple[Scoring, ...] = ("sum", "tokens", "pmi", "calibrated")
    progress: Callable[[int], object] | None = None
    _domain: dict[tuple[str, str, str], float] = field(default_factory=dict, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        check_names(self.reader, self.task, [*self.questions, *self.pool.cases])
        check_answers(self.reader, self.task, self.questions)

    def trials(self, shots: Sequence[int], seeds: Sequence[int]) -> Iterator[Trial]:
        """One after the other. Without demonstrations seeds make no difference: the first one's trial is all.

        Raises InputError where there are too few examples for the most shots, before anything is asked.
        """
        for i, case in enumerate(self.questions):
            self.pool.draw(case, i, max(shots, default=0), seeds[0])
        for count in shots:
            for seed in seeds if count else seeds[:1]:
                for number in range(len(self.task.templates)):
                    yield self.trial(count, seed, number)

    def trial(self, shots: int, seed: int, number: int) -> Trial:
        """Every question asked once. Raises InputError where there are too few examples."""
        task, template = self.task, self.task.templates[number]
        drawn = [self.pool.draw(case, i, shots, seed) for i, case in enumerate(self.questions)]
        shown = [[self.pool.cases[i] for i in own] for own in drawn]
        words = [[word for own in case.words for word in own] for case in self.questions]
        fields = [case.fields for case in self.questions]
        prompts = fitted(self.reader, task, template, shown, fields, words)
        scored = self.reader.scores(prompts, self.progress)
        scores: dict[Scoring, list[Floats]]
        scores = {rule: self._scores(rule, template.domain, scored) for rule in self.rules if rule != "calibrated"}
        if "calibrated" in self.rules:
            shown = [own[prompt.dropped :] for own, prompt in zip(shown, prompts, strict=True)]
            scores["calibrated"] = self._calibrated(number, shown, words, scored)
        cut = [max(own.cut for own in each) for each in scored]
        return Trial(shots, seed, number, prompts, drawn, scores, cut)

    def _scores(self, rule: Scoring, domain: tuple[str, str], scored: Sequence[Sequence[Scored]]) -> list[Floats]:
        if rule != "pmi":
            return [calibrate.plain(case.words, own, rule) for case, own in zip(self.questions, scored, strict=True)]
        before, after = domain if self.task.domain is None else self.task.domain
        asked = [(before, after, word) for case in self.questions for own in case.words for word in own]
        if new := [key for key in dict.fromkeys(asked) if key not in self._domain]:
            found = self.reader.scores([Prompt(b, a, (word,)) for b, a, word in new])
            self._domain.update((key, own.total) for key, (own,) in zip(new, found, strict=True))
        known = iter(self._domain[key] for key in asked)
        return [
            calibrate.pmi(case.words, own, [next(known) for _ in own])
            for case, own in zip(self.questions, scored, strict=True)
        ]

    def _calibrated(
        self,
        number: int,
        shown: Sequence[Sequence[Case]],
        words: Sequence[Sequence[str]],
        scored: Sequence[Sequence[Scored]],
    ) -> list[Floats]:
        """The same demonstrations before inputs whose fields say nothing."""
        template, sums = self.task.templates[number], self._scores("sum", ("", ""), scored)
        without: list[list[Floats]] = [[] for _ in self.questions]
        for nothing in self.task.empty:
            fields = [dict.fromkeys(template.fields, nothing)] * len(self.questions)
            prompts = fitted(self.reader, self.task, template, shown, fields, words)
            for kept, own in zip(without, self._scores("sum", ("", ""), self.reader.scores(prompts)), strict=True):
                kept.append(own)
        return [calibrate.calibrated(own, empty) for own, empty in zip(sums, without, strict=True)]


@dataclass(frozen=True)
class Found:
    """What came of one number of shots by one rule. accuracy: over all its trials, with its interval (of new questions
    and, where there are several trials, of new ones); each: of every trial; error: expected calibration error, the
    trials' mean.
    """

    shots: int
    rule: Scoring
    accuracy: Interval
    each: tuple[float, ...]
    error: float


def summary(asking: Asking, trials: Sequence[Trial], resamples: int = 2000, seed: int = 0) -> list[Found]:
    """Every number of shots and rule, in the order of the trials. Questions that share where their demonstrations come
    from (`within`) are drawn together.
    """
    gold = [case.gold for case in asking.questions]
    groups = None if asking.task.within is None else [case.within for case in asking.questions]
    found = []
    for shots in dict.fromkeys(trial.shots for trial in trials):
        for rule in asking.rules:
            own = [trial for trial in trials if trial.shots == shots]
            units = [ACCURACY.units(trial.chosen(rule), gold) for trial in own]
            value = interval(ACCURACY, units, groups, resamples=resamples, seed=seed, new_seeds=True)
            errors = [calibrate.calibration_error(t.confidence(rule), u[:, 0]) for t, u in zip(own, units, strict=True)]
            each = tuple(float(u[:, 0].mean()) for u in units)
            found.append(Found(shots, rule, value, each, float(np.mean(errors))))
    return found


def floors(questions: Sequence[Case]) -> dict[str, float]:
    """chance: an answer drawn blindly; majority: always the one that is right most often (by name, else by place)."""
    chance = float(np.mean([1 / len(case.names) for case in questions]))
    fixed = len({case.names for case in questions}) == 1
    golds = [case.names[case.gold] if fixed else str(case.gold) for case in questions]
    return {"chance": chance, "majority": max(golds.count(name) for name in set(golds)) / len(golds)}
