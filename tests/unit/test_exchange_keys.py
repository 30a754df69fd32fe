"""Settings: nested changes, JSON, values that are nearly right."""

from __future__ import annotations

import json

import pytest

from didact.config import ModelConfig, Norms, Position
from didact.errors import InputError
from didact.exchange import keys
from didact.exchange.keys import Key, Keys

KEYS = Keys(
    keys=(
        Key("n_embd", "width", 768),
        Key("n_head", "heads", 12),
        Key("p", "dropout", 0.1),
        Key("act", "activation", "gelu", words=(("gelu", "gelu"), ("gelu_new", "gelu_tanh"), ("fast", "gelu_tanh"))),
        Key("tie", "tied", True),
    )
)


def test_numbers_that_are_counted_from_elsewhere() -> None:
    """Theirs is more than ours by a number, or by another setting."""
    table = Keys(
        (Key("first", "position.offset", 1, more=-1), Key("rows", "position.maximum", 8, more="position.offset"))
    )
    config = keys.read({"first": 3, "rows": 20}, table, ModelConfig())
    assert (config.position.offset, config.position.maximum) == (4, 16)
    assert keys.write(config, table, {}) == {"first": 3, "rows": 20}
    assert keys.read({}, table, ModelConfig()).position == Position(offset=2, maximum=6)
    assert keys.write(keys.changed(config, {"position.maximum": None}), table, {})["rows"] is None


def test_changed() -> None:
    config = keys.changed(ModelConfig(), {"width": 10, "heads": 5, "norms.eps": 1.0, "position": {"maximum": 3}})
    assert config == ModelConfig(width=10, heads=5, norms=Norms(eps=1.0), position=Position(maximum=3))
    assert keys.changed(ModelConfig(layers=2), {"windows": [1, None]}).windows == (1, None)


@pytest.mark.parametrize(
    ("changes", "found"),
    [
        ({"wide": 3}, "model field 'wide'"),
        ({"norms.wide": 3}, "model field 'wide'"),
        ({"heads": 5}, "not a multiple of heads 5"),
        ({"windows": []}, "windows has no entry"),
    ],
    ids=str,
)
def test_wrong_changes(changes: dict[str, object], found: str) -> None:
    with pytest.raises(InputError, match=found):
        keys.changed(ModelConfig(), changes)


def test_through_json() -> None:
    config = ModelConfig(layers=2, windows=(1, None), position=Position("rotary", None), norms=Norms(final="rms"))
    assert keys.config_from_json(json.loads(json.dumps(keys.config_to_json(config)))) == config
    for damage in ({}, {"position": {}, "norms": {}, "wide": 1}, {"position": {"wide": 1}, "norms": {}}, {"layers": 2}):
        with pytest.raises(InputError, match="not a model configuration"):
            keys.config_from_json(damage, "config.json")


def test_a_word_that_means_the_same_stays() -> None:
    config = keys.read({"act": "fast"}, KEYS, ModelConfig())
    assert config.activation == "gelu_tanh"
    assert keys.write(config, KEYS, {"act": "fast"})["act"] == "fast"
    assert keys.write(config, KEYS, {"act": "gelu"})["act"] == "gelu_new"


def test_whole_numbers_are_numbers_and_bools_are_not() -> None:
    assert keys.read({"p": 0}, KEYS, ModelConfig()).dropout == 0.0
    for wrong in ({"p": True}, {"n_embd": True}, {"n_embd": 12.0}, {"tie": 1}, {"act": ["gelu"]}):
        with pytest.raises(InputError, match=next(iter(wrong))):
            keys.read(wrong, KEYS, ModelConfig())


def test_settings_are_checked_together() -> None:
    """Not one by one: 7 heads of 14 are right, whatever the base has."""
    assert keys.read({"n_embd": 14, "n_head": 7}, KEYS, ModelConfig()).key_width == 2
    with pytest.raises(InputError, match=r"config\.json: width 14 is not a multiple"):
        keys.read({"n_embd": 14, "n_head": 4}, KEYS, ModelConfig(), "config.json")


def test_differences() -> None:
    assert keys.differences(ModelConfig(dropout=0.5), KEYS, ModelConfig()) == ()
    assert keys.differences(ModelConfig(activation="tanh"), KEYS, ModelConfig()) == ("activation 'tanh'",)
