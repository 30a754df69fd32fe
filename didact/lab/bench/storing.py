"""Building a token store from documents, against the bare tokenizer, which only encodes and throws away."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

import tokenizers

from didact.data.document import Document
from didact.data.store import build_store
from didact.lab.bench import material
from didact.lab.bench.measure import Benchmark, Case, Contender, Outcome, Work, take_turns
from didact.tokenization.tokenizer import Tokenizer
from didact.training.environment import cores


@dataclass(frozen=True)
class Storing(Benchmark):
    """texts: as in `Finetuning`; documents: of a round, each of `sentences` texts; tokenizer: its folder, None =
    MiniLM's where it is installed, else made up; batch: documents that the bare tokenizer is given at a time.
    Both sides use every core: the store by processes, the tokenizer by its own threads.
    """

    name: ClassVar[str] = "store"

    texts: Path | None = None
    tokenizer: Path | None = None
    documents: int = 2000
    sentences: int = 20
    batch: int = 500

    def small(self) -> Storing:
        return replace(self, documents=10, sentences=3, batch=5)

    def outcomes(self, repeats: int) -> Iterator[Outcome]:
        found = material.texts(self.texts, self.documents * self.sentences)
        texts = ["\n".join(found[i : i + self.sentences]) for i in range(0, len(found), self.sentences)]
        source = self.tokenizer or material.minilm()
        tokenizer = Tokenizer.load(source) if source is not None else material.made_up_tokenizer(30522)
        size = sum(len(text.encode()) for text in texts)

        def mine() -> Work:
            def work(turn: int) -> float:  # noqa: ARG001
                documents = (Document(str(i), text) for i, text in enumerate(texts))
                with tempfile.TemporaryDirectory() as folder:
                    build_store(documents, tokenizer, Path(folder) / "store")
                return size / 1e6

            return work

        def theirs() -> Work:
            with tempfile.TemporaryDirectory() as folder:
                tokenizer.save(folder)
                bare = tokenizers.Tokenizer.from_file(str(Path(folder) / "tokenizer.json"))
            bare.no_padding()
            bare.no_truncation()

            def work(turn: int) -> float:  # noqa: ARG001
                for start in range(0, len(texts), self.batch):
                    bare.encode_batch(texts[start : start + self.batch], add_special_tokens=False)
                return size / 1e6

            return work

        settings = {"documents": len(texts), "megabytes": round(size / 1e6, 2), "cores": cores()}
        contenders = (Contender("didact", mine), Contender("tokenizers, encode_batch", theirs))
        yield take_turns(Case(self.name, "building", "MB of text", contenders, settings), repeats)
