"""The first two stages: the installed documentation as a corpus, and the four tasks' files."""

from __future__ import annotations

import json
import os
import sys
from collections import Counter
from pathlib import Path

from didact.data.installed_docs import SIZES, Extraction, Sizes, corpus, extract, write_tasks
from didact.lab.quickstart import plan as plans


def documents(out: str | Path) -> None:
    """OUT/docs (the extraction, cached), OUT/corpus.jsonl (one document a line) and OUT/documents.json (counts)."""
    out = Path(out)
    found = _extracted(out, plans.read(out / "plan.yaml"))
    _say(f"{found.counts['entries']:,} texts, {found.characters / 1e6:.1f} M characters")
    number = characters = 0
    aside = out / "corpus.jsonl.part"
    with aside.open("w", encoding="utf-8") as file:
        for document in corpus.documents(found.entries):
            number += 1
            characters += len(document.text)
            file.write(json.dumps({"text": document.sentences}) + "\n")
    entries, letters = Counter[str](), Counter[str]()
    for entry in found.entries:
        entries[entry.library] += 1
        letters[entry.library] += len(entry.doc)
    told = {
        "counts": found.counts,
        "failures": found.failures,
        "characters": found.characters,
        "fingerprint": found.fingerprint,
        "libraries": [
            {"name": name, "version": found.versions[name], "entries": n, "characters": letters[name]}
            for name, n in entries.most_common()
        ],
        "corpus": {"documents": number, "characters": characters},
    }
    (out / "documents.json").write_text(json.dumps(told, indent=1), encoding="utf-8")
    os.replace(aside, out / "corpus.jsonl")
    _say(f"{number:,} documents, {characters / 1e6:.1f} M characters to pre-train on")


def tasks(out: str | Path) -> None:
    """OUT/tasks: the files of the four tasks, at the sizes that OUT/plan.yaml asks for."""
    out = Path(out)
    plan = plans.read(out / "plan.yaml")
    sizes = dict(SIZES) | {name: Sizes(**own) for name, own in plan.sizes.items()}
    for name, counts in write_tasks(_extracted(out, plan).entries, out / "tasks", sizes).items():
        _say(name + ": " + ", ".join(f"{split} {own['records']:,}" for split, own in counts.items()))


def _extracted(out: Path, plan: plans.Plan) -> Extraction:
    """The documentation, from OUT/docs where it has been read before."""
    return extract(out / "docs", [str(folder) for folder in plan.search] or None)


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
