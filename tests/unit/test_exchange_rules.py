"""Rules on tensors small enough to write down."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from didact.errors import InputError
from didact.exchange.rules import Names, Rule, concrete, listed, read, write

NAMES = Names(
    core=(
        Rule("core.table", ("table",), copies=("out.matrix",), tied=True),
        Rule("core.table", ("table",), tied=False),
        Rule("core.blocks.{i}.qkv", ("{i}.q", "{i}.k", "{i}.v")),
    ),
    prefix="base.",
    heads={
        "word": (Rule("bias", ("out.bias",), dead=("out.unused",)), Rule("matrix", ("out.matrix",), tied=False)),
        "one": (Rule("weight", ("classifier",)),),
        "two": (Rule("weight", ("classifier",)),),
    },
    derived=(r"counts",),
    spellings=((r"^tabelle$", "table"),),
)
OURS = {"core.table": torch.arange(4.0), "core.blocks.0.qkv": torch.arange(12.0).view(6, 2)}
RULES = concrete(NAMES, OURS, {})


def test_joined_and_split() -> None:
    out = write(OURS, NAMES, RULES, prefixed=True)
    assert sorted(out) == ["base.0.k", "base.0.q", "base.0.v", "base.table"]
    assert out["base.0.k"].tolist() == [[4, 5], [6, 7]]
    assert all(t.is_contiguous() for t in out.values())
    assert torch.equal(read(out, NAMES, RULES).tensors["core.blocks.0.qkv"], OURS["core.blocks.0.qkv"])
    assert sorted(write(OURS, NAMES, RULES, prefixed=False)) == ["0.k", "0.q", "0.v", "table"]


def test_matrices_that_lie_otherwise() -> None:
    """(D, N, H) of theirs is (N · H, D) going into the heads and (D, N · H) coming out of them; D 4, N 2, H 3."""
    names = Names(
        core=(
            Rule("core.qk", ("q", "k"), layout="into heads"),
            Rule("core.out", ("o",), layout="out of heads"),
        )
    )
    ours = {"core.qk": torch.arange(48.0).view(12, 4), "core.out": torch.arange(24.0).view(4, 6)}
    rules = concrete(names, ours, {})
    out = write(ours, names, rules, prefixed=False, heads=2)
    assert {name: tuple(t.shape) for name, t in out.items()} == dict.fromkeys(("q", "k", "o"), (4, 2, 3))
    assert out["k"][3, 1, 2] == ours["core.qk"][6 + 1 * 3 + 2, 3]
    assert out["o"][3, 1, 2] == ours["core.out"][3, 1 * 3 + 2]
    assert all(t.is_contiguous() for t in out.values())
    back = read(out, names, rules).tensors
    assert all(torch.equal(back[name], ours[name]) for name in ours)


def test_tensors_of_heads_that_are_not_here_are_left_over() -> None:
    names = replace(NAMES, others=(r"extra\..*",))
    out = write(OURS, NAMES, RULES, prefixed=True)
    assert read(out | {"extra.weight": torch.zeros(1)}, names, RULES).unused == ("extra.weight",)
    with pytest.raises(InputError, match=r"extra\.weight"):
        read(out | {"extra.weight": torch.zeros(1)}, NAMES, RULES)


def test_what_is_joined_has_one_dtype() -> None:
    out = write(OURS, NAMES, RULES, prefixed=True)
    with pytest.raises(InputError, match="differ in dtype"):
        read(out | {"base.0.k": out["base.0.k"].half()}, NAMES, RULES)


def test_derived_tensors_and_old_spellings() -> None:
    out = write(OURS, NAMES, RULES, prefixed=False)
    old = {"tabelle" if name == "table" else name: tensor for name, tensor in out.items()}
    found = read(old | {"base.counts": torch.zeros(1)}, NAMES, RULES)
    assert found.tensors.keys() == OURS.keys()
    assert found.unused == ()


def test_a_copy_is_a_tensor_of_its_own_where_it_is_not_tied() -> None:
    expected = [*OURS, "heads.w.bias", "heads.w.matrix"]
    rules = concrete(NAMES, expected, {"w": "word"}, tied=False)
    tensors = OURS | {"heads.w.bias": torch.ones(4), "heads.w.matrix": torch.arange(4.0) * 2}
    out = write(tensors, NAMES, rules, prefixed=True)
    assert torch.equal(out["out.matrix"], tensors["heads.w.matrix"])
    found = read(out | {"out.unused": torch.rand(4)}, NAMES, rules)
    assert torch.equal(found.tensors["heads.w.bias"], torch.ones(4))  # the live one, whatever stands in the dead
    live_missing = {name: t for name, t in out.items() if name != "out.bias"}
    assert torch.equal(read(live_missing, NAMES, rules).tensors["heads.w.bias"], torch.ones(4))


def test_a_head_that_the_family_has_no_names_for_keeps_ours() -> None:
    rules = concrete(NAMES, [*OURS, "heads.a.weight", "heads.b.weight"], {"a": "one", "b": None})
    out = write(OURS | dict.fromkeys(("heads.a.weight", "heads.b.weight"), torch.zeros(1)), NAMES, rules, True)
    assert {"classifier", "heads.b.weight"} <= out.keys()


def test_a_head_that_brings_the_pooler_with_it() -> None:
    """RoBERTa's classifier has the dense layer that elsewhere is the core's; it stands outside the prefix."""
    own = (Rule("pooler.dense", ("head.dense",)), Rule("out", ("head.out",)))
    names = replace(NAMES, core=(*NAMES.core, Rule("pooler.dense", ("pool",))), heads={**NAMES.heads, "own": own})
    state = OURS | {"pooler.dense": torch.ones(2), "heads.a.out": torch.zeros(2)}
    rules = concrete(names, state, {"a": "own"})
    out = write(state, names, rules, prefixed=True)
    assert {"head.dense", "head.out", "base.table"} <= out.keys()
    assert not any("pool" in name for name in out)
    assert torch.equal(read(out, names, rules).tensors["pooler.dense"], torch.ones(2))
    bare = {name: t for name, t in state.items() if name != "heads.a.out"} | {"heads.b.weight": torch.zeros(1)}
    out = write(bare, names, concrete(names, bare, {"b": "one"}), prefixed=True)
    assert "base.pool" in out
    state["heads.c.out"] = torch.zeros(2)
    assert len(concrete(replace(names, heads={**names.heads, "also": own}), state, {"a": "own", "c": "also"})) == 5


def test_tables_with_holes_are_found() -> None:
    with pytest.raises(KeyError, match="another"):
        concrete(NAMES, [*OURS, "core.another"], {})


def test_slots() -> None:
    assert NAMES.slots_in(["classifier"]) == {"one", "two"}
    assert NAMES.slots_in(["out.bias", "base.table"]) == {"word"}


def test_lists_are_cut() -> None:
    assert listed(["a", "b"]) == "a, b"
    assert listed([str(i) for i in range(10)]).endswith("7 and 2 more")
