"""Text after prompts: a GPT-2 of 6 x 384, 8 prompts at once, greedy and with 4 beams, beside `transformers.generate`
and CTranslate2 in float32.

All sides write the same number of tokens after the same prompts, from equal weights, and what they write is compared.
The token that ends a text is never the likeliest: its vector is zero. Prompts are of one length, or ragged
(transformers then pads them, to the left).
"""

from __future__ import annotations

import importlib
import json
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import torch

from didact.config import ModelConfig
from didact.errors import InputError
from didact.families import GPT2
from didact.generation.beams import search
from didact.generation.decoding import Decoding
from didact.generation.reader import NextToken
from didact.generation.walk import Walk
from didact.heads import Vocabulary
from didact.hub import export
from didact.lab.bench import material, peer
from didact.lab.bench.measure import Benchmark, Case, Contender, Outcome, Work, take_turns
from didact.model import Model, Pretrained

SIZE = replace(GPT2.base, vocabulary=30522, layers=6, width=384, heads=6, feedforward=1536)
END = material.SPECIALS.index("[PAD]")
_SPREAD = 0.1  # standard deviation of the weights: with smaller ones every step's scores are nearly equal
Texts = list[list[int]]


@dataclass(frozen=True)
class Generation(Benchmark):
    """prompts: of one call; shortest, longest: their tokens; new: tokens that are written after each; beams: of each
    case, 1 = greedy; kinds: of prompts, "full" (all of the longest) or "mixed".
    """

    name: ClassVar[str] = "generation"

    config: ModelConfig = SIZE
    prompts: int = 8
    longest: int = 32
    new: int = 64
    beams: tuple[int, ...] = (1, 4)
    kinds: tuple[str, ...] = ("full", "mixed")

    def small(self) -> Generation:
        tiny = replace(self.config, vocabulary=200, layers=2, width=16, heads=2, feedforward=32)
        return replace(self, config=tiny, prompts=3, longest=8, new=4, beams=(1, 2), kinds=("mixed",))

    def outcomes(self, repeats: int) -> Iterator[Outcome]:
        tokenizer = material.made_up_tokenizer(self.config.vocabulary)
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            config = replace(self.config, init_std=_SPREAD)
            model = Model(config, {"vocabulary": Vocabulary()}, torch.Generator().manual_seed(0)).eval()
            with torch.no_grad():
                table = model.core.embedding.table
                assert table is not None
                table[END] = 0.0
            export(Pretrained(model, tokenizer, GPT2.name), folder / "model")
            _convert(folder / "model", folder / "converted")
            for beams in self.beams:
                for kind in self.kinds:
                    yield self._outcome(kind, beams, model, folder, repeats)

    def _outcome(self, kind: str, beams: int, model: Any, folder: Path, repeats: int) -> Outcome:
        lengths = material.lengths(kind, self.prompts, seed=1, longest=self.longest)
        prompts = [e.tokens.tolist() for e in material.made_up(lengths, self.config.vocabulary, seed=2)]
        written: dict[str, list[Texts]] = {}

        def timed(name: str, act: Any) -> Work:
            def work(turn: int) -> float:  # noqa: ARG001
                written[name] = act()
                return self.prompts * self.new

            return work

        contenders = [
            Contender("didact", lambda: timed("didact", self._mine(model, prompts, beams))),
            Contender("transformers", lambda: timed("transformers", self._theirs(folder / "model", prompts, beams))),
            Contender(
                "CTranslate2", lambda: timed("CTranslate2", self._converted(folder / "converted", prompts, beams))
            ),
        ]
        settings = {
            "model": f"GPT-2 {self.config.layers} x {self.config.width}, {self.config.vocabulary} pieces",
            "prompts": self.prompts,
            "prompt_tokens": sum(lengths),
            "new_tokens": self.new,
            "beams": beams,
            "precision": "fp32",
        }
        what = "greedy" if beams == 1 else f"{beams} beams"
        case = Case(self.name, f"{what}, {kind} prompts", "new tokens", tuple(contenders), settings)
        done = take_turns(case, repeats)
        alike = {
            name: sum(a == b for a, b in zip(written["didact"], texts, strict=True)) / self.prompts
            for name, texts in written.items()
        }
        said = ", ".join(f"{name} {share:.0%}" for name, share in alike.items() if name != "didact")
        note = f"texts that are those of didact, token for token: {said}"
        return replace(done, notes=(*done.notes, note), facts={f"alike_{name}": share for name, share in alike.items()})

    def _mine(self, model: Any, prompts: Texts, beams: int) -> Any:
        """The reader is made in every round: laying out its weights is part of the work."""
        decoding = Decoding(maximum=self.new, beams=beams, answers=1)

        @torch.inference_mode()
        def act() -> Texts:
            reader = NextToken(model)
            if beams > 1:
                found = search(reader, prompts, decoding, (END,))
            else:
                walk = Walk(reader, prompts, decoding, (END,))
                for _ in walk.steps():
                    pass
                found = walk.hypotheses
            return [list(hypotheses[0].tokens) for hypotheses in found]

        return act

    def _theirs(self, folder: Path, prompts: Texts, beams: int) -> Any:
        model: Any = peer.open_model("GPT2LMHeadModel", folder).eval()
        model.generation_config.eos_token_id, model.generation_config.pad_token_id = END, END
        ids = torch.zeros(len(prompts), max(map(len, prompts)), dtype=torch.int64)
        mask = torch.zeros_like(ids)
        for row, prompt in enumerate(prompts):
            ids[row, ids.shape[1] - len(prompt) :] = torch.tensor(prompt)
            mask[row, ids.shape[1] - len(prompt) :] = 1

        def act() -> Texts:
            found = model.generate(ids, attention_mask=mask, max_new_tokens=self.new, num_beams=beams, do_sample=False)
            return [row[ids.shape[1] :] for row in found.tolist()]

        return act

    def _converted(self, folder: Path, prompts: Texts, beams: int) -> Any:
        threads = torch.get_num_threads()
        generator = _ctranslate2().Generator(str(folder), device="cpu", compute_type="float32", intra_threads=threads)
        pieces = json.loads((folder / "vocabulary.json").read_text(encoding="utf-8"))
        number = {piece: i for i, piece in enumerate(pieces)}
        texts = [[pieces[token] for token in prompt] for prompt in prompts]

        def act() -> Texts:
            found = generator.generate_batch(
                texts,
                beam_size=beams,
                max_length=self.new,
                include_prompt_in_result=False,
                max_batch_size=0,
            )
            return [[number[piece] for piece in one.sequences[0]] for one in found]

        return act


def _ctranslate2() -> Any:
    """Raises InputError where it is not installed."""
    try:
        return importlib.import_module("ctranslate2")
    except ImportError:
        raise InputError("ctranslate2 is not installed", expected="pip install 'didact[peers]'") from None


def _convert(folder: Path, target: Path) -> None:
    """By CTranslate2's own converter, which leaves out the names of tokens that the tokenizer gives no role."""
    _ctranslate2()
    converters = importlib.import_module("ctranslate2.converters")
    converters.TransformersConverter(str(folder)).convert(str(target))
    path = target / "config.json"
    said = json.loads(path.read_text(encoding="utf-8"))
    names = {f"{role}_token": material.SPECIALS[END] for role in ("bos", "eos", "unk")}
    path.write_text(json.dumps(said | names), encoding="utf-8")
