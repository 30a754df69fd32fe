"""Sequences laid end to end (see `data.flat`)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from didact.batch import Example, Labels, Prepared, SideName
from didact.data.flat import BIDIRECTIONAL, Asked, Flat, Queries
from didact.data.ragged import Array, cuts_of
from didact.visibility import Visibility


def lay(examples: Sequence[Example]) -> Flat:
    """Examples end to end, nothing asked yet. Segments are kept where all of them have segments."""
    cuts = cuts_of([len(example.tokens) for example in examples])
    if not len(examples):
        return Flat(cuts, np.zeros(0, np.int64))
    tokens = np.concatenate([example.tokens for example in examples])
    segments = [example.segments for example in examples if example.segments is not None]
    return Flat(
        cuts,
        tokens,
        np.concatenate(segments) if len(segments) == len(examples) else None,
        tuple(examples),
        parts=_parts(examples, cuts),
        positions=_positions(examples),
    )


def _positions(examples: Sequence[Example]) -> Array | None:
    if all(example.positions is None for example in examples):
        return None
    own = (np.arange(len(e)) if e.positions is None else e.positions for e in examples)
    return np.concatenate(list(own)).astype(np.int64)


def _parts(examples: Sequence[Example], cuts: Array) -> Array | None:
    """(N,) bool: where parts begin, the first of each sequence included; None where no sequence has parts."""
    if all(example.parts is None for example in examples):
        return None
    begins = np.zeros(int(cuts[-1]) + 1, bool)
    begins[cuts] = True
    for start, example in zip(cuts.tolist(), examples, strict=False):
        if example.parts is not None:
            begins[start + example.parts] = True
    return begins[:-1]


def lay_prepared(prepared: Sequence[Prepared]) -> Flat:
    """Prepared sequences end to end, the labels of each (name, head, side, stream) joined."""
    flat = lay([p.inputs for p in prepared])
    sides: dict[tuple[str, str, SideName, str], list[list[Labels]]] = {}
    for i, p in enumerate(prepared):
        for asked in p.labels:
            kind = asked.name, asked.head, asked.side, asked.stream
            if kind not in sides:  # a default would be made for every sequence, as long as all of them
                sides[kind] = [[] for _ in prepared]
            sides[kind][i].append(asked)
    outputs = [p.outputs for p in prepared if p.outputs is not None]
    if outputs and len(outputs) != len(prepared):
        raise ValueError("sequences with and without a decoder's side in one step")
    hidden = [np.zeros(len(p.inputs), bool) if p.hidden is None else p.hidden for p in prepared]
    moved = any(len(h) != len(p.inputs) for h, p in zip(hidden, prepared, strict=True))
    return replace(
        flat,
        labels=tuple(_join(each) for each in sides.values()),
        hidden=None if moved or not hidden else np.concatenate(hidden),
        visibility=_one_or_each([p.visibility for p in prepared]),
        outputs=replace(lay(outputs), visibility=_one_or_each([p.output_visibility for p in prepared]))
        if outputs
        else None,
        queries=_queries(prepared),
        memory=_memory(prepared),
    )


def _queries(prepared: Sequence[Prepared]) -> Queries | None:
    if all(p.queries is None for p in prepared):
        return None
    rows = [np.zeros(0, np.int64) if p.queries is None else p.queries for p in prepared]
    return Queries(np.concatenate(rows), cuts_of([len(own) for own in rows]))


def _memory(prepared: Sequence[Prepared]) -> int | None:
    found = {p.memory for p in prepared}
    if len(found) > 1:
        raise ValueError(f"sequences of one step with different memories: {sorted(map(str, found))}")
    return found.pop() if found else None


def _one_or_each(each: Sequence[Visibility]) -> Visibility | tuple[Visibility, ...]:
    if all(v.kind != "ranked" and v == each[0] for v in each):
        return each[0] if each else BIDIRECTIONAL
    return tuple(each)


def _join(each: list[list[Labels]]) -> Asked:
    """Labels of one name, any number of each sequence, end to end."""
    every = [asked for own in each for asked in own]
    first = every[0]
    for name in ("groups", "noise"):
        if len({getattr(asked, name) is None for asked in every}) > 1:
            raise ValueError(f"labels {first.name!r} with and without {name} in one step")
    values = [np.asarray(asked.values) for asked in every]
    full = [v for v in values if len(v)] or values[:1]
    weighted = any(asked.weights is not None for asked in every)
    weights = [np.ones(len(a.values), np.float32) if a.weights is None else np.asarray(a.weights) for a in every]
    group_sizes = None if first.groups is None else [np.diff(asked.groups) for asked in every]
    return Asked(
        labels=Labels(
            head=first.head,
            rows=np.concatenate([np.asarray(asked.rows, np.int64) for asked in every]),
            values=np.concatenate(full),
            groups=None if group_sizes is None else cuts_of(np.concatenate(group_sizes)),
            weights=np.concatenate(weights).astype(np.float32) if weighted else None,
            noise=None if first.noise is None else np.concatenate([np.asarray(a.noise) for a in every]),
            side=first.side,
            stream=first.stream,
            name=first.name,
        ),
        cuts=cuts_of([sum(len(a.rows) for a in own) for own in each]),
        group_cuts=None if group_sizes is None else cuts_of([sum(len(a.groups) - 1 for a in own) for own in each]),
    )
