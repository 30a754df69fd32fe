"""Weight names, ours and theirs, as data that is read in both directions. A fused QKV is split and joined here.

A rule says which of their tensors one of our parameters is made of. Reading and writing use the same rules, so what
is written can be read; names, dtypes and bytes survive, except for tensors that hold nothing of their own: those
that `derived` names, second copies of a tied tensor (`copies`), which are compared, then dropped, and tensors that
are in the file and in no computation (`dead`), which are written as the live one.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from didact.errors import InputError

Tensors = Mapping[str, Tensor]
POOLER = "pooler."


@dataclass(frozen=True)
class Rule:
    """ours: a parameter; theirs: the tensors it is made of, joined along their first axis in this order; copies:
    other names under which a file may hold the same tensor again, or hold it instead; dead: a name that their class
    reads and never uses, so that any value may stand there. tied: the rule holds only of models whose output matrix
    is the word embeddings' (True), only of others (False), or of all (None); gated: likewise of models whose
    feed-forward layers are gated. "{i}" stands for a block. outside: their names never carry the prefix (a head's;
    `concrete` sets it). layout: how each of theirs lies, a name of LAYOUTS. zeros: what a file without it means.
    """

    ours: str
    theirs: tuple[str, ...]
    copies: tuple[str, ...] = ()
    dead: tuple[str, ...] = ()
    tied: bool | None = None
    outside: bool = False
    layout: str = "same"
    gated: bool | None = None
    zeros: bool = False

    @property
    def names(self) -> tuple[str, ...]:
        """Every name of theirs that it knows."""
        return self.theirs + self.copies + self.dead

    def at(self, block: int) -> Rule:
        """The rule of one block."""
        ours, *names = (name.replace("{i}", str(block)) for name in (self.ours, *self.theirs))
        return replace(self, ours=ours, theirs=tuple(names))


def pairs(ours: str, theirs: str) -> tuple[Rule, ...]:
    """The rules of a layer's weight and bias."""
    return tuple(Rule(f"{ours}.{p}", (f"{theirs}.{p}",)) for p in ("weight", "bias"))


def fused(ours: str, theirs: tuple[str, ...]) -> tuple[Rule, ...]:
    """The rules of one layer of ours that is several of theirs, joined in this order (query, key, value)."""
    return tuple(Rule(f"{ours}.{p}", tuple(f"{part}.{p}" for part in theirs)) for p in ("weight", "bias"))


@dataclass(frozen=True)
class Layout:
    """How a tensor of theirs lies, against ours: a function that makes it ours, and one that makes it theirs, of
    ours and the number of attention heads.
    """

    ours: Callable[[Tensor], Tensor]
    theirs: Callable[[Tensor, int], Tensor]


# D width, N heads, H head width; ours are dense layers' weights, (out, in).
LAYOUTS: Mapping[str, Layout] = {
    "same": Layout(lambda t: t, lambda t, _: t),
    "transposed": Layout(lambda t: t.t().contiguous(), lambda t, _: t.t()),  # (in, out), as in GPT-2's Conv1D
    "into heads": Layout(lambda t: t.flatten(1).t(), lambda t, heads: t.t().unflatten(1, (heads, -1))),  # (D, N, H)
    "row": Layout(lambda t: t.flatten(), lambda t, _: t[None]),  # (1, V), a bias as BART has it
    "out of heads": Layout(lambda t: t.flatten(1), lambda t, heads: t.unflatten(1, (heads, -1))),  # (D, N, H)
}


@dataclass(frozen=True)
class Names:
    """How a family names its tensors.

    core: rules of the core and the pooler, without `prefix`, which stands before those tensors in the file of a model
    with a head and not in the bare model's; heads: rules by slot (`families.base.slot`), ours counted from
    `heads.<name>.`, except that a slot whose head brings the pooler with it (RoBERTa's `classifier.dense`) names
    `pooler.` here, which then goes before the core's rule; derived: patterns of tensors that hold
    nothing of their own; spellings: (pattern, replacement) of names that old files use, read and never written;
    others: patterns of tensors of heads that there are none of here, which are left over and said to be; ours: every
    tensor is called as it is here, since no other library has the family: there are no rules to write down.
    """

    core: tuple[Rule, ...] = ()
    prefix: str = ""
    heads: Mapping[str, tuple[Rule, ...]] = field(default_factory=dict)
    derived: tuple[str, ...] = ()
    spellings: tuple[tuple[str, str], ...] = ()
    others: tuple[str, ...] = ()
    ours: bool = False

    def canonical(self, name: str) -> str:
        """Their name, in today's spelling and without the prefix."""
        for pattern, replacement in self.spellings:
            name = re.sub(pattern, replacement, name)
        return name.removeprefix(self.prefix)

    def is_derived(self, canonical: str) -> bool:
        return any(re.fullmatch(pattern, canonical) for pattern in self.derived)

    def is_other(self, canonical: str) -> bool:
        return any(re.fullmatch(pattern, canonical) for pattern in self.others)

    def has_pooler(self, names: Collection[str]) -> bool:
        """Whether a file with tensors of these names has a pooler. One that a slot brings with it counts only where no
        other slot calls a layer of its own the same (ModernBERT).
        """
        present = {self.canonical(name) for name in names}
        if self.ours:
            return any(name.startswith(POOLER) for name in present)
        pooler = {name for rule in self.core if rule.ours.startswith(POOLER) for name in rule.theirs}
        every = [rule for slot in self.heads.values() for rule in slot]
        others = {name for rule in every if not rule.ours.startswith(POOLER) for name in rule.theirs}
        return bool(present & (pooler | (self.poolers() - others)))

    def untied(self, tensors: Tensors) -> bool:
        """Whether a file holds an output matrix that is not the word embeddings'."""
        given = {self.canonical(name): tensor for name, tensor in tensors.items()}
        own = {name for slot in self.heads.values() for rule in slot if rule.tied is False for name in rule.theirs}
        for rule in self.core:
            if rule.tied and (there := [given[name] for name in rule.theirs if name in given]):
                return any(not torch.equal(there[0], given[name]) for name in own if name in given)
        return False

    def slots_in(self, names: Collection[str]) -> set[str]:
        """The slots all of whose tensors a file has, going by their names. Slots may share names (`classifier`); a
        pooler that a slot brings with it tells nothing: another slot may call a layer of its own the same (ModernBERT).
        """
        present = {self.canonical(name) for name in names}
        poolers = self.poolers()
        return {
            slot
            for slot, rules in self.heads.items()
            # Any of them: that all are there, `Checkpoint.ours` sees to.
            if any(present.issuperset(rule.theirs) for rule in rules if not poolers.issuperset(rule.theirs))
        }

    def poolers(self) -> set[str]:
        """What slots that bring the pooler with them call its tensors."""
        rules = [rule for slot in self.heads.values() for rule in slot]
        return {name for rule in rules if rule.ours.startswith(POOLER) for name in rule.theirs}


def concrete(
    names: Names, expected: Collection[str], slots: Mapping[str, str | None], tied: bool = True, gated: bool = False
) -> tuple[Rule, ...]:
    """The rules of one model: exactly one for each of our parameters in `expected`.

    slots: of each head, by name; None for a head that the family has no names for: its tensors keep ours. tied, gated:
    of this model, see `Rule`.
    Raises KeyError where a parameter has no rule or two: a mistake in the family's table.
    """
    if names.ours:
        return tuple(Rule(name, (name,), outside=True) for name in expected)
    blocks: dict[str, int] = {}  # of each stack
    for name in expected:
        if found := re.match(r"(core|decoder)\.blocks\.(\d+)\.", name):
            blocks[found[1]] = max(blocks.get(found[1], 0), int(found[2]) + 1)
    rules: list[Rule] = []
    for rule in names.core:
        count = blocks.get(rule.ours.partition(".")[0], 0)
        rules += [rule.at(i) for i in range(count)] if "{i}" in rule.ours else [rule]
    pooled: list[Rule] = []
    for head, slot in slots.items():
        of_head = [replace(rule, outside=True) for rule in (names.heads[slot] if slot is not None else ())]
        pooled = pooled or [rule for rule in of_head if rule.ours.startswith(POOLER)]
        rules += [replace(r, ours=f"heads.{head}.{r.ours}") for r in of_head if not r.ours.startswith(POOLER)]
    if pooled:
        rules = [rule for rule in rules if not rule.ours.startswith(POOLER)] + pooled
    known = [rule for rule in rules if rule.ours in expected]
    chosen = [rule for rule in known if rule.tied in (None, tied) and rule.gated in (None, gated)]
    own = tuple(f"heads.{head}." for head, slot in slots.items() if slot is None)
    if own and not any(rule.ours.startswith(POOLER) for rule in known):
        own += (POOLER,)  # of a head without names, in a family whose pooler is a head's
    chosen += [Rule(name, (name,), outside=True) for name in expected if own and name.startswith(own)]
    ours = [rule.ours for rule in chosen]
    if len(set(ours)) < len(ours) or set(ours) != set(expected):
        raise KeyError(f"not exactly one rule for {sorted(set(expected).symmetric_difference(ours)) or ours}")
    return tuple(chosen)


@dataclass(frozen=True)
class Read:
    """tensors: by our names; missing: ours that the file does not hold; unused: theirs that belong to no part of this
    model, of a head that config.json does not speak of.
    """

    tensors: dict[str, Tensor]
    missing: tuple[str, ...]
    unused: tuple[str, ...]


def read(tensors: Tensors, names: Names, rules: Sequence[Rule], file: object = None) -> Read:
    """Their tensors -> ours.

    Raises InputError where a tensor's name is unknown (all such are listed), where some of the tensors that make one
    of ours are missing or differ in dtype, and where a copy differs from its original.
    """
    given: dict[str, Tensor] = {}
    spelled: dict[str, str] = {}
    for name, tensor in tensors.items():
        canonical = names.canonical(name)
        if canonical in given:
            raise InputError(f"{spelled[canonical]} and {name} are the same tensor", file=_path(file))
        given[canonical], spelled[canonical] = tensor, name
    out: dict[str, Tensor] = {}
    missing: list[str] = []
    used: set[str] = set()
    for rule in rules:
        copies = [copy for copy in rule.copies if copy in given]
        instead = copies + [name for name in rule.dead if name in given]
        present = [name for name in rule.theirs if name in given]
        used.update(present, instead)
        if not present and not instead:
            missing.append(rule.ours)
            continue
        if present and len(present) < len(rule.theirs):
            absent = ", ".join(sorted(set(rule.theirs) - set(present)))
            raise InputError(f"no tensor {absent}", file=_path(file), expected="it beside " + ", ".join(present))
        parts = [LAYOUTS[rule.layout].ours(given[name]) for name in present or instead[:1]]
        if len({part.dtype for part in parts}) > 1:
            raise InputError(f"{', '.join(present)} differ in dtype", file=_path(file))
        out[rule.ours] = parts[0] if len(parts) == 1 else torch.cat(parts)
        for copy in copies:
            if not torch.equal(LAYOUTS[rule.layout].ours(given[copy]), out[rule.ours]):
                raise InputError(
                    f"{spelled[copy]} differs from {', '.join(rule.theirs)}",
                    file=_path(file),
                    expected="equal tensors, or tie_word_embeddings false in config.json",
                )
    known = {name for slot in names.heads.values() for rule in slot for name in rule.names}
    known |= {name for rule in names.core if "{i}" not in rule.ours for name in rule.names}
    rest = [name for name in given if name not in used and not names.is_derived(name)]
    if unknown := sorted(spelled[name] for name in rest if name not in known and not names.is_other(name)):
        raise InputError(f"unknown tensors {listed(unknown)}", file=_path(file), expected="those of its family only")
    return Read(out, tuple(missing), tuple(sorted(spelled[name] for name in rest)))


def write(tensors: Tensors, names: Names, rules: Sequence[Rule], prefixed: bool, heads: int = 1) -> dict[str, Tensor]:
    """Our tensors -> theirs. prefixed: whether the core's names carry the prefix (a model with a head); heads: of
    attention, which some layouts ask for.
    """
    prefix = names.prefix if prefixed else ""
    out: dict[str, Tensor] = {}
    for rule in rules:
        parts = tensors[rule.ours].chunk(len(rule.theirs)) if len(rule.theirs) > 1 else (tensors[rule.ours],)
        before = "" if rule.outside else prefix
        for name, part in zip(rule.theirs, parts, strict=True):
            if before + name in out:
                raise KeyError(f"two rules write {before + name}")
            out[before + name] = LAYOUTS[rule.layout].theirs(part.detach(), heads).contiguous()
        out |= {before + name: tensors[rule.ours].detach().clone() for name in rule.dead}
    return out


def listed(names: Sequence[str], most: int = 8) -> str:
    """The first few names, and how many more."""
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


def _path(file: object) -> str | None:
    return None if file is None else str(file)
