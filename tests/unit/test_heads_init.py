"""Heads to and from JSON: what is unknown is said."""

from __future__ import annotations

import json

import pytest

from didact import heads
from didact.errors import InputError


def test_through_text() -> None:
    head = heads.Classes(2, class_weights=(0.5, 2.0), names=("no", "yes"), pooled=False)
    assert heads.from_json(json.loads(json.dumps(heads.to_json(head)))) == head


@pytest.mark.parametrize("data", [{"kind": "oracle"}, {}, {"kind": "span", "width": 3}], ids=str)
def test_unknown(data: dict[str, object]) -> None:
    with pytest.raises(InputError, match="head"):
        heads.from_json(data)
