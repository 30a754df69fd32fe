"""didact.generation.decoding: what is refused, and what stands for what."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from didact.errors import InputError
from didact.generation import Decoding

KINDS: dict[str, tuple[Any, ...]] = {
    "maximum": ("4", 2.0, None, True, [4]),
    "beams": (2.0, None),
    "answers": ("1",),
    "top_k": ("3", 1.5),
    "seed": (0.5, None),
    "temperature": (float("nan"), float("inf"), "1", None, True),
    "top_p": (float("nan"), "0.9"),
    "length_penalty": (float("-inf"), None),
    "repetition_penalty": (float("nan"),),
    "early_stopping": (1, 0, "always", None),
    "sample": (1, "never", None),
    "stop": ([1], 3, {"a": 1}, b"a", [None]),
    "banned": ([["a"]],),
    "begin": (3,),
}


@pytest.mark.parametrize(("name", "value"), [(name, value) for name, values in KINDS.items() for value in values])
def test_values_of_another_kind(name: str, value: object) -> None:
    more = {"sample": True} if name in ("temperature", "top_k", "top_p", "seed") else {}
    with pytest.raises(InputError, match=name) as found:
        Decoding(**(more | {name: value}))
    assert repr(value) in str(found.value)


WITHOUT_EFFECT: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "temperature": ({"temperature": 0.5}, {"sample": True}),
    "top_k": ({"top_k": 50}, {"sample": True}),
    "top_p": ({"top_p": 0.9, "beams": 4}, {"sample": True, "beams": 1}),
    "min_p": ({"min_p": 0.1}, {"sample": True}),
    "seed": ({"seed": 7}, {"sample": True}),
    "length_penalty": ({"length_penalty": 2.0}, {"beams": 2}),
    "early_stopping": ({"early_stopping": "never"}, {"phrases": "a"}),
    "coverage_penalty": ({"coverage_penalty": 1.0}, {"beams": 2}),
    "diversity": ({"diversity": 0.9, "beams": 4}, {"groups": 2}),
}


@pytest.mark.parametrize("name", WITHOUT_EFFECT)
def test_what_would_have_no_effect(name: str) -> None:
    """Is refused; where it has one, it is taken."""
    settings, where = WITHOUT_EFFECT[name]
    with pytest.raises(InputError, match=f"^{name} .*, and "):
        Decoding(**settings)
    assert getattr(Decoding(**(settings | where)), name) == settings[name]


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"beams": 2, "length_penalty": 400.0}, "length_penalty 400; expected from -20 to 20"),
        ({"beams": 2, "length_penalty": -1e6}, "length_penalty -1e+06"),
        ({"beams": 4, "groups": 2, "diversity": -1.0}, "diversity -1.0; expected at least 0"),
        ({"sample": True, "temperature": 1e-40}, "temperature 1e-40; expected 1e-20 or more, or sample: false"),
        ({"stop": "a\ud800"}, "stop with half a character"),
        ({"banned": ["\udfff"]}, "banned with half a character"),
    ],
)
def test_out_of_bounds(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError) as found:
        Decoding(**settings)
    assert said in str(found.value)


def test_one_thing_said_in_several_ways() -> None:
    plain = Decoding(stop=("a",), maximum=4)
    assert plain == Decoding(stop="a", maximum=np.int64(4))  # type: ignore[arg-type]
    assert plain == Decoding(stop=["a"], maximum=4)  # type: ignore[arg-type]
    every = ("top_k", "top_p", "min_p", "no_repeat", "phrases", "banned", "stop")
    assert Decoding(**dict.fromkeys(every)) == Decoding()
    drawn = Decoding(sample=True, temperature=np.float32(0.5), length_penalty=1)  # type: ignore[arg-type]
    assert drawn == Decoding(sample=True, temperature=0.5)
    assert isinstance(drawn.length_penalty, float)
