"""`didact inspect`: a real batch of a run, decoded, before any training: what is read, who sees whom, what is asked."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.text import Text

from didact.batch import Batch, Labels
from didact.runs.pretrain import Parts, assemble
from didact.runs.runfile import load_plugins, read
from didact.runs.schema import PretrainRun
from didact.tokenization.tokenizer import Tokenizer

HIDDEN, KEPT, PLAIN, SPECIAL = "bold white on red", "bold black on yellow", "", "dim"


def inspect_run(path: Path, changes: Sequence[str], examples: int) -> None:
    """Print step 0 of the run file at `path`: `examples` sequences of it, and the sums of the whole step."""
    run = read(path, PretrainRun, changes)
    load_plugins(run.plugins)
    parts = assemble(run)
    batches = parts.stream[0]
    console = Console(highlight=False)
    _facts(console, parts, batches)
    shown = 0
    for batch in batches:
        for number in range(len(batch.inputs.packed.lengths)):
            if shown == examples:
                return
            shown += 1
            _sequence(console, parts.pretrained.tokenizer, batch, number, shown)


def _facts(console: Console, parts: Parts, batches: Sequence[Batch]) -> None:
    sizes = [n for batch in batches for n in batch.inputs.packed.lengths]
    written = [n for batch in batches if batch.outputs is not None for n in batch.outputs.packed.lengths]
    counts: Counter[str] = Counter()
    for batch in batches:
        counts.update({name: int(n) for name, n in batch.counts.items()})
    for name, model in parts.models.items():
        parameters = sum(p.numel() for p in model.parameters())
        what, said = ("model", f"{parts.pretrained.family}, ") if name == "main" else (name, "")
        console.print(f"{what:10} {said}{parameters:,} parameters")
    for store in parts.stores:
        console.print(f"store      {store.folder}: {store.tokens:,} tokens of {store.documents:,} documents")
    console.print(f"sequences  {len(parts.stream.source):,} an epoch")
    console.print(
        f"step 0     {len(sizes)} sequences in {len(batches)} micro-batches, {sum(sizes):,} tokens, "
        f"lengths {min(sizes)} to {max(sizes)}"
    )
    if written:
        console.print(f"decoder    {sum(written):,} tokens, lengths {min(written)} to {max(written)}")
    console.print("asked      " + ", ".join(f"{name} {n:,} times" for name, n in counts.items()))
    if parts.objective.decoder:
        console.print("legend     of the decoder, what each row reads → what it is asked")
        return
    hidden = " (its place in the order beside it)  " if parts.objective.queries else " (the answer beside it)  "
    console.print(Text.assemble("legend     ", ("hidden", HIDDEN), hidden, ("kept", KEPT), " but asked"))


def _sequence(console: Console, tokenizer: Tokenizer, batch: Batch, number: int, shown: int) -> None:
    """One sequence: its tokens, the asked ones marked with what stood there, the sentence-level answers below."""
    packed = batch.inputs.packed
    start, stop = packed.cu_seqlens[number : number + 2].tolist()
    asking = packed.queries[(packed.queries >= start) & (packed.queries < stop)] if packed.queries is not None else []
    tokens = packed.tokens[start : stop - len(asking)].numpy()  # query rows, at the end, read none
    rank = batch.inputs.visibility.rank
    orders = {int(p): int(rank[start + int(p)]) for p in packed.positions[asking]} if rank is not None else {}
    answers: dict[int, int] = {}
    others: list[str] = []
    for asked in batch.labels:
        rows = asked.rows.numpy()
        if asked.side == "outputs":
            others += _written(tokenizer, batch, asked, number)
            continue
        own = np.flatnonzero((rows >= start) & (rows < stop))
        if not asked.values.numel():  # nobody's question, or one that a teacher knows the answer to
            continue
        if asked.stream != "main":
            others.append(_beside(tokenizer, asked, own, tokens, start))
        elif asked.head == "vocabulary":
            answers |= {int(rows[i]) - start: int(asked.values[i]) for i in own}
        elif asked.head == "replaced":
            others.append(f"{asked.name:10} asked of {len(own)} tokens, as the generator leaves them")
        elif asked.groups is not None and len(own):
            others.append(f"{asked.name:10} asked of a text, among those of its group")
        elif len(own):
            others.append(_other(asked, own))
    text = Text()
    specials = set(tokenizer.special_ids)
    for row, token in enumerate(tokens.tolist()):
        piece = tokenizer.token(token)
        if row in orders:
            text.append(f"{piece}·{orders[row]}", HIDDEN)
        elif row not in answers:
            text.append(piece, SPECIAL if token in specials else PLAIN)
        elif answers[row] == token:
            text.append(piece, KEPT)
        else:
            text.append(f"{piece}←{tokenizer.token(answers[row])}", HIDDEN)
        text.append(" ")
    visibility = batch.inputs.visibility.kind
    console.print(f"\n[bold]sequence {shown}[/bold] · {len(tokens)} tokens · visibility {visibility}")
    console.print(text)
    if packed.segments is not None:
        segments = packed.segments[start : start + len(tokens)].numpy()
        borders = np.flatnonzero(np.diff(segments)) + 1
        console.print(f"segments   {' | '.join(str(len(s)) for s in np.split(segments, borders))} tokens")
    for line in others:
        console.print(line)


def _beside(tokenizer: Tokenizer, asked: Labels, own: np.ndarray, tokens: np.ndarray, start: int) -> str:
    """What another stream is asked: of each row, the token that it reads and the one that it is asked for."""
    pairs = zip(tokens[asked.rows.numpy()[own] - start], asked.values.numpy()[own], strict=True)
    return f"{asked.name:10} " + " ".join(f"{tokenizer.token(row)}→{tokenizer.token(value)}" for row, value in pairs)


def _written(tokenizer: Tokenizer, batch: Batch, asked: Labels, number: int) -> list[str]:
    """The decoder's side of one sequence, where it is asked anything: what each row reads and what it is asked, and
    where its rows stand, if they are not counted from 0.
    """
    assert batch.outputs is not None
    packed = batch.outputs.packed
    start, stop = packed.cu_seqlens[number : number + 2].tolist()
    rows = asked.rows.numpy()
    own = np.flatnonzero((rows >= start) & (rows < stop))
    if not len(own):
        return []
    lines = [_beside(tokenizer, asked, own, packed.tokens[start:stop].numpy(), start)]
    positions = packed.positions[start:stop].tolist()
    if positions != list(range(stop - start)):
        lines.append(f"positions  {positions[0]} to {positions[-1]}")
    return lines


def _other(asked: Labels, own: np.ndarray) -> str:
    values = asked.values[own].tolist()
    return f"{asked.name:10} {', '.join(str(v) for v in values)}"
