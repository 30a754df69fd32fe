"""Text after prompts: a GPT-2 of 6 x 384, and a BART of 3 + 3 x 384 that reads them, 8 prompts at once, greedy and
with 4 beams, beside `transformers.generate` and CTranslate2 in float32.

All sides write the same number of tokens after the same prompts, from equal weights; where what they write is not the
same, the benchmark stops. In bfloat16 (weights and all), where two tokens are soon as likely, how much is the same is
said, and CTranslate2, which knows no bfloat16 on a processor, is left out. The token that ends a text is never the
likeliest: its vector is zero. Prompts are of one length, or ragged (transformers then pads them).
"""

from __future__ import annotations

import contextlib
import copy
import importlib
import itertools
import json
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import torch

from didact.config import Decoder, ModelConfig
from didact.errors import InputError
from didact.families import BART, GPT2
from didact.generation.beams import search
from didact.generation.decoding import Decoding
from didact.generation.reader import NextToken, Reader, Writing
from didact.generation.walk import Walk
from didact.heads import Vocabulary
from didact.hub import export
from didact.lab.bench import material, peer
from didact.lab.bench.apart import Act, apart
from didact.lab.bench.measure import Benchmark, Case, Contender, Outcome, Work, take_turns
from didact.model import Model, Pretrained
from didact.training.policy import DTYPES

END, START = (material.SPECIALS.index(name) for name in ("[PAD]", "[SEP]"))
_SPREAD = 0.1  # standard deviation of the weights: with smaller ones every step's scores are nearly equal
_ALIKE = 0.75  # of the texts: now and then rounding turns two hypotheses that are as likely
_SIZES = {"vocabulary": 30522, "width": 384, "heads": 6, "feedforward": 1536, "init_std": _SPREAD}
GPT2_SMALL = replace(GPT2.base, layers=6, **_SIZES)
BART_SMALL = replace(BART.base, layers=3, decoder=Decoder(start=START), **_SIZES)
Texts = list[list[int]]


@dataclass(frozen=True)
class Writer(ABC):
    """One model that writes, on every side. family: its name here; title: as people call it; config: its sizes."""

    family: ClassVar[str]
    title: ClassVar[str]

    config: ModelConfig

    @property
    def size(self) -> str:
        """Its layers, and its decoder's."""
        return str(self.config.layers)

    @abstractmethod
    def reader(self, model: Model) -> Reader:
        """What reads for our side."""

    @abstractmethod
    def theirs(self, folder: Path, prompts: Texts, beams: int, new: int, precision: str) -> Act:
        """What transformers writes; folder: of the model."""

    @abstractmethod
    def converted(self, folder: Path, prompts: Texts, beams: int, new: int) -> Act:
        """What CTranslate2 writes; folder: of the converted model."""

    @property
    @abstractmethod
    def roles(self) -> dict[str, str]:
        """What CTranslate2's converter does not find out: the tokens that play a role, by the names of its settings."""

    def small(self) -> Writer:
        return replace(self, config=replace(self.config, vocabulary=200, layers=2, width=16, heads=2, feedforward=32))


@dataclass(frozen=True)
class GoesOn(Writer):
    """Looks back, and goes on with the prompt."""

    family: ClassVar[str] = GPT2.name
    title: ClassVar[str] = "GPT-2"

    config: ModelConfig = GPT2_SMALL

    def reader(self, model: Model) -> Reader:
        return NextToken(model)

    def theirs(self, folder: Path, prompts: Texts, beams: int, new: int, precision: str) -> Act:
        padded = _padded(prompts, left=True)
        return _by_transformers("GPT2LMHeadModel", folder, *padded, beams, new, padded[0].shape[1], precision)

    def converted(self, folder: Path, prompts: Texts, beams: int, new: int) -> Act:
        generator = _ctranslate2().Generator(str(folder), **_settings())
        texts, number = _spelled(folder / "vocabulary.json", prompts)

        def act() -> Texts:
            found = generator.generate_batch(
                texts, beam_size=beams, max_length=new, include_prompt_in_result=False, max_batch_size=0
            )
            return [[number[piece] for piece in one.sequences[0]] for one in found]

        return act

    @property
    def roles(self) -> dict[str, str]:
        return {f"{role}_token": material.SPECIALS[END] for role in ("bos", "eos", "unk")}


@dataclass(frozen=True)
class Answers(Writer):
    """Reads the prompt, and writes beside it."""

    family: ClassVar[str] = BART.name
    title: ClassVar[str] = "BART"

    config: ModelConfig = BART_SMALL

    @property
    def size(self) -> str:
        return f"{self.config.layers} + {self.config.decoding.layers}"

    def reader(self, model: Model) -> Reader:
        return Writing(model, START)

    def theirs(self, folder: Path, prompts: Texts, beams: int, new: int, precision: str) -> Act:
        padded = _padded(prompts, left=False)
        return _by_transformers("BartForConditionalGeneration", folder, *padded, beams, new, 1, precision)

    def converted(self, folder: Path, prompts: Texts, beams: int, new: int) -> Act:
        translator = _ctranslate2().Translator(str(folder), **_settings())
        texts, number = _spelled(folder / "shared_vocabulary.json", prompts)

        def act() -> Texts:
            found = translator.translate_batch(
                texts, beam_size=beams, max_decoding_length=new, min_decoding_length=0, max_batch_size=0
            )
            return [[number[piece] for piece in one.hypotheses[0]] for one in found]

        return act

    @property
    def roles(self) -> dict[str, str]:
        begin, end = material.SPECIALS[START], material.SPECIALS[END]
        return {"decoder_start_token": begin, "bos_token": begin, "eos_token": end}


@dataclass(frozen=True)
class Generation(Benchmark):
    """writers: the models; prompts: of one call; longest: their tokens; new: tokens that are written after each; beams:
    of each case, 1 = greedy; kinds: of prompts, "full" (all of the longest) or "mixed"; rest: seconds before each turn,
    for threads of Intel's OpenMP (CTranslate2's) spin for 0.2 after their last work; precisions: of the weights.
    """

    name: ClassVar[str] = "generation"

    writers: tuple[Writer, ...] = (GoesOn(), Answers())
    prompts: int = 8
    longest: int = 32
    new: int = 64
    beams: tuple[int, ...] = (1, 4)
    kinds: tuple[str, ...] = ("full", "mixed")
    precisions: tuple[str, ...] = ("fp32",)
    rest: float = 0.4

    def small(self) -> Generation:
        tiny = tuple(writer.small() for writer in self.writers)
        return replace(self, writers=tiny, prompts=3, longest=8, new=4, beams=(1, 2), kinds=("mixed",), rest=0.0)

    def outcomes(self, repeats: int) -> Iterator[Outcome]:
        for writer in self.writers:
            with tempfile.TemporaryDirectory() as name:
                folder = Path(name)
                tokenizer = material.made_up_tokenizer(writer.config.vocabulary)
                model = Model(writer.config, {"vocabulary": Vocabulary()}, torch.Generator().manual_seed(0)).eval()
                with torch.no_grad():
                    table = model.core.embedding.table
                    assert table is not None
                    table[END] = 0.0
                export(Pretrained(model, tokenizer, writer.family), folder / "model")
                _convert(folder / "model", folder / "converted", writer.roles)
                for precision in self.precisions:
                    own = copy.deepcopy(model).to(DTYPES[precision])
                    for beams, kind in itertools.product(self.beams, self.kinds):
                        yield self._outcome(writer, kind, beams, own, precision, folder, repeats)

    def _outcome(
        self, writer: Writer, kind: str, beams: int, model: Model, precision: str, folder: Path, repeats: int
    ) -> Outcome:
        config = writer.config
        lengths = material.lengths(kind, self.prompts, seed=1, longest=self.longest)
        prompts = [e.tokens.tolist() for e in material.made_up(lengths, config.vocabulary, seed=2)]
        written: dict[str, Texts] = {}
        alike: dict[str, float] = {}

        def timed(name: str, act: Act) -> Work:
            def work(turn: int) -> float:
                texts = act()
                if turn < 0:  # before anything is timed; ours is the first
                    written[name] = texts
                    alike[name] = self._alike(name, written["didact"], texts, precision)
                return self.prompts * self.new

            return work

        processes = contextlib.ExitStack()

        def beside(name: str, make: Callable[..., Act], model: str, *more: str) -> Contender:
            side = make, folder / model, prompts, beams, self.new, *more
            return Contender(name, lambda: timed(name, processes.enter_context(apart(*side))))

        contenders = [
            Contender("didact", lambda: timed("didact", self._mine(writer, model, prompts, beams))),
            beside("transformers", writer.theirs, "model", precision),
        ]
        if precision == "fp32":
            contenders.append(beside("CTranslate2", writer.converted, "converted"))
        settings = {
            "model": f"{writer.title} {writer.size} x {config.width}, {config.vocabulary} pieces",
            "prompts": self.prompts,
            "prompt_tokens": sum(lengths),
            "new_tokens": self.new,
            "beams": beams,
            "precision": precision,
        }
        what = "greedy" if beams == 1 else f"{beams} beams"
        title = f"{writer.title}, {what}, {kind} prompts" + ("" if precision == "fp32" else f", {precision}")
        case = Case(self.name, title, "new tokens", tuple(contenders), settings)
        with processes:
            done = take_turns(case, repeats, rest=self.rest)
        said = ", ".join(f"{name} {share:.0%}" for name, share in alike.items() if name != "didact")
        note = f"texts that are those of didact, token for token: {said}"
        return replace(done, notes=(*done.notes, note), facts={f"alike_{name}": share for name, share in alike.items()})

    def _alike(self, name: str, mine: Texts, texts: Texts, precision: str) -> float:
        """The share of texts that are the same; RuntimeError where too few are, or one is not of full length."""
        share = sum(a == b for a, b in zip(mine, texts, strict=True)) / self.prompts
        least = min(_ALIKE, 1 - 1 / self.prompts) if precision == "fp32" else 0.0
        if share < least or any(len(text) != self.new for text in texts):
            raise RuntimeError(f"{name} writes something else: {share:.0%} of the texts are the same")
        return share

    def _mine(self, writer: Writer, model: Model, prompts: Texts, beams: int) -> Act:
        """The reader is made in every round: laying out its weights is part of the work."""
        decoding = Decoding(maximum=self.new, beams=beams, answers=1)

        @torch.inference_mode()
        def act() -> Texts:
            reader = writer.reader(model)
            if beams > 1:
                found = search(reader, prompts, decoding, (END,))
            else:
                walk = Walk(reader, prompts, decoding, (END,))
                for _ in walk.steps():
                    pass
                found = walk.hypotheses
            return [list(hypotheses[0].tokens) for hypotheses in found]

        return act


def _padded(prompts: Texts, left: bool) -> tuple[torch.Tensor, torch.Tensor]:
    """Tokens and mask, (B, L) each."""
    ids = torch.zeros(len(prompts), max(map(len, prompts)), dtype=torch.int64)
    mask = torch.zeros_like(ids)
    for row, prompt in enumerate(prompts):
        start = ids.shape[1] - len(prompt) if left else 0
        ids[row, start : start + len(prompt)] = torch.tensor(prompt)
        mask[row, start : start + len(prompt)] = 1
    return ids, mask


def _by_transformers(
    kind: str, folder: Path, ids: torch.Tensor, mask: torch.Tensor, beams: int, new: int, before: int, precision: str
) -> Act:
    """before: tokens of its answer that are not new."""
    model: Any = peer.open_model(kind, folder).eval().to(DTYPES[precision])
    model.generation_config.eos_token_id, model.generation_config.pad_token_id = END, END

    def act() -> Texts:
        found = model.generate(ids, attention_mask=mask, max_new_tokens=new, num_beams=beams, do_sample=False)
        return [row[before:] for row in found.tolist()]

    return act


def _settings() -> dict[str, Any]:
    return {"device": "cpu", "compute_type": "float32", "intra_threads": torch.get_num_threads()}


def _spelled(vocabulary: Path, prompts: Texts) -> tuple[list[list[str]], dict[str, int]]:
    """The prompts in pieces, which CTranslate2 reads, and the number of each piece."""
    pieces: Sequence[str] = json.loads(vocabulary.read_text(encoding="utf-8"))
    return [[pieces[token] for token in prompt] for prompt in prompts], {piece: i for i, piece in enumerate(pieces)}


def _ctranslate2() -> Any:
    """Raises InputError where it is not installed."""
    try:
        return importlib.import_module("ctranslate2")
    except ImportError:
        raise InputError("ctranslate2 is not installed", expected="pip install 'didact[peers]'") from None


def _convert(folder: Path, target: Path, roles: dict[str, str]) -> None:
    """By CTranslate2's own converter."""
    _ctranslate2()
    converters = importlib.import_module("ctranslate2.converters")
    converters.TransformersConverter(str(folder)).convert(str(target))
    path = target / "config.json"
    said = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps(said | roles), encoding="utf-8")
