"""What holds of an objective that stands alone holds of it as a part: its demands, its checks, the right answers."""

from __future__ import annotations

from dataclasses import dataclass, fields, is_dataclass, replace
from typing import Any, ClassVar

import numpy as np
import pytest
from task_tools import tokenizer as made
from training_tools import MADE, MASK, Chain, core_of, masked

from didact.config import ModelConfig
from didact.data.flat import Flat
from didact.data.lay import lay
from didact.errors import InputError
from didact.objectives import Causal, Combined, Corruption, Objective, Permuted, Select
from didact.objectives.select import Chosen, Keys, Tokens
from didact.tokenization.tokenizer import Tokenizer

EVERY = pytest.mark.parametrize("objective", MADE, ids=lambda o: o.kind)
DEMANDS = sorted(name for name, kind in vars(Objective).items() if isinstance(kind, property))


@EVERY
def test_a_weighted_part_demands_what_it_demands_alone(objective: Objective) -> None:
    whole = Combined((objective,), (2.0,))
    for name in DEMANDS:
        assert getattr(whole, name) == getattr(objective, name), name
    for length in (4, 17):
        assert whole.rows_of(length) == objective.rows_of(length)
        assert [whole.most(length, parted) for parted in (False, True)] == [
            objective.most(length, parted) for parted in (False, True)
        ]
    main = ModelConfig(
        **{"vocabulary": 50, "width": 16, "layers": 2, "heads": 2, "feedforward": 32} | core_of(objective)
    )
    assert whole.companions(main) == objective.companions(main)


@dataclass(frozen=True)
class Refusing(Select):
    """Goes with no tokenizer."""

    kind: ClassVar[str] = "refusing"
    together: ClassVar[bool] = False

    def check(self, tokenizer: Tokenizer) -> None:  # noqa: ARG002
        raise InputError("another tokenizer's")

    def __call__(self, flat: Flat, rate: float, keys: Keys) -> Chosen:
        return Tokens()(flat, rate, keys)


def refusing(thing: Any) -> list[Any]:
    """The thing with each of its selections, however deep, in turn one that refuses."""
    found = []
    for f in fields(thing) if is_dataclass(thing) else ():
        value = getattr(thing, f.name)
        if isinstance(value, Select):
            found.append(replace(thing, **{f.name: Refusing()}))
        elif isinstance(value, tuple):
            for i, inner in enumerate(value):
                if isinstance(inner, Objective | Corruption):
                    found += [replace(thing, **{f.name: (*value[:i], one, *value[i + 1 :])}) for one in refusing(inner)]
    return found


@EVERY
def test_what_it_selects_by_is_checked_against_the_tokenizer(objective: Objective) -> None:
    tokenizer = made("wordpiece")
    objective.check(tokenizer)
    for one in refusing(objective):
        with pytest.raises(InputError, match="another tokenizer's"):
            one.check(tokenizer)


def test_something_is_selected() -> None:
    assert sum(len(refusing(objective)) for objective in MADE) >= 8


@pytest.mark.parametrize("second", [masked(rate=0.5, name="again"), Permuted(rate=0.5), Causal()], ids=lambda o: o.kind)
def test_what_an_earlier_part_hid_is_never_the_answer(second: Objective) -> None:
    """The right answer is the token of the example, whatever stands there by then."""
    chain = Chain()
    examples = [chain(i, np.random.default_rng(i)) for i in range(8)]
    flat = Combined((masked(rate=0.5), second)).ask(lay(examples), np.arange(len(examples), dtype=np.uint64))
    assert (flat.tokens == MASK).any()
    for one in flat.labels:
        values = np.asarray(one.labels.values)
        assert len(values)
        assert not (values == MASK).any(), one.labels.name
