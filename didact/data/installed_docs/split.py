"""Train, dev and test by whole package subtree, so that nothing leaks between them.

The modules of a library form a tree. It is cut into subtrees, a package being opened only while it holds more than
`LARGEST` of its library's text; each subtree goes to one split as a whole. All four tasks and the pre-training text
share this one split, so text that a task is tested on has been seen by nobody.
"""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from didact.data.installed_docs.entries import Entry

Split = Literal["train", "dev", "test"]
SHARES: Mapping[Split, float] = {"train": 0.74, "dev": 0.08, "test": 0.18}
LARGEST = 0.10  # of a library's characters: a package with more is opened, its children are subtrees of their own
SMALL_LIBRARY = 150_000  # characters of documentation below which a library is train as a whole


def subtrees(sizes: Mapping[str, int], largest: float = LARGEST) -> dict[str, str]:
    """{module: characters} of one library -> {module: subtree}. A subtree is a package with all below it or a module.

    A package that is opened leaves its own `__init__` text behind, which then is the subtree "package.__init__".
    """
    limit = largest * sum(sizes.values())
    whole: Counter[str] = Counter()
    children: defaultdict[str, set[str]] = defaultdict(set)
    for module, size in sizes.items():
        parts = module.split(".")
        for depth in range(1, len(parts) + 1):
            node = ".".join(parts[:depth])
            whole[node] += size
            children[".".join(parts[: depth - 1])].add(node)
    placed: dict[str, str] = {}
    open_nodes = sorted(children[""])
    while open_nodes:
        node = open_nodes.pop()
        if children[node] and whole[node] > limit:
            open_nodes += sorted(children[node])
            if node in sizes:
                placed[node] = f"{node}.__init__"
            continue
        inside = f"{node}."
        placed.update({m: node for m in sizes if m == node or m.startswith(inside)})
    return placed


def assign(sizes: Mapping[str, int], shares: Mapping[Split, float] = SHARES) -> dict[str, Split]:
    """{subtree: characters} of one library -> {subtree: split}: in an order fixed by a hash of the name, each goes
    where most is missing."""
    total = sum(sizes.values())
    missing: dict[Split, float] = {split: share * total for split, share in shares.items()}
    placed: dict[str, Split] = {}
    for subtree in sorted(sizes, key=lambda name: hashlib.sha256(name.encode()).digest()):
        split = max(missing, key=lambda one: missing[one])
        placed[subtree] = split
        missing[split] -= sizes[subtree]
    return placed


@dataclass(frozen=True)
class Place:
    """Where a module's text goes. subtree: what it goes with."""

    split: Split
    subtree: str


def places_of(entries: Sequence[Entry]) -> dict[tuple[str, str], Place]:
    """{(library, module): place} for every module that occurs. Readmes, which name their library in every line, and
    libraries too small to be cut are train."""
    by_library: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for entry in entries:
        by_library[entry.library][entry.module] += len(entry.doc)
    placed: dict[tuple[str, str], Place] = {}
    for library, modules in by_library.items():
        if sum(modules.values()) < SMALL_LIBRARY:
            placed.update({(library, module): Place("train", library) for module in modules})
            continue
        tree = subtrees(modules)
        sizes: Counter[str] = Counter()
        for module, subtree in tree.items():
            sizes[subtree] += modules[module]
        splits = assign(sizes)
        readme = {m: m.endswith(".README") for m in tree}
        placed.update({(library, m): Place("train" if readme[m] else splits[s], s) for m, s in tree.items()})
    return placed


def split_of(entries: Sequence[Entry]) -> dict[tuple[str, str], Split]:
    """The split alone."""
    return {module: place.split for module, place in places_of(entries).items()}
