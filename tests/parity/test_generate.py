"""What is written, against transformers' `generate`: the same tokens, and scores to 1e-4.

Weights are random and wide, several draws each, and an end really occurs; prompts are ragged, ours all together, theirs
in batches of equal length.
Where two hypotheses of theirs are closer than 1e-4, rounding may turn their order: such cases are counted, and few.
"""

from __future__ import annotations

import itertools
import json
import warnings
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from parity_tools import VOCABULARY, peer, randomise
from test_encoder_decoders import CONFIGS, NAMES, blank, draw

from didact import hub
from didact.errors import InputError
from didact.exchange import keys
from didact.families import GPT2, Family
from didact.generation.beams import search
from didact.generation.decoding import Decoding
from didact.generation.draw import NEVER, narrowed
from didact.generation.generate import generate
from didact.generation.history import History
from didact.generation.reader import NextToken, Reader, Writing
from didact.generation.rules import AtLeast, Banned, Forced, NoRepeat, Repetition, Rule
from didact.generation.walk import Hypothesis, Walk
from didact.generation.ways import way_of
from didact.heads import Vocabulary
from didact.heads.vocabulary import VocabularyLayers
from didact.hub import weights
from didact.lab.bench.material import made_up_tokenizer
from didact.model import Model, Pretrained
from didact.tokenization.tokenizer import Tokenizer, frame

END, PAD, MOST = 2, 0, 9
LENGTHS = (4, 1, 7, 4)
SEEDS = range(3)
SETTINGS: dict[str, dict[str, Any]] = {
    "greedy": {},
    "greedy, repetition": {"repetition_penalty": 1.4},
    "greedy, n-grams, minimum": {"no_repeat": 2, "minimum": 4},
    "two": {"beams": 2},
    "four, longer": {"beams": 4, "length_penalty": 2.0},
    "four, shorter": {"beams": 4, "length_penalty": -1.0},
    "four, likelihood, never": {"beams": 4, "length_penalty": 0.0, "early_stopping": "never"},
    "three, never": {"beams": 3, "early_stopping": "never", "length_penalty": 1.5},
    "three, early": {"beams": 3, "early_stopping": True},
    "five, n-grams": {"beams": 5, "no_repeat": 2},
    "five, repetition, early": {"beams": 5, "repetition_penalty": 1.3, "early_stopping": True},
    "three, minimum": {"beams": 3, "minimum": 4, "no_repeat": 3},
}


def prompts(seed: int) -> list[list[int]]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randint(5, VOCABULARY, (n,), generator=generator).tolist() for n in LENGTHS]


def rules_of(decoding: Decoding) -> list[Rule]:
    rules: list[Rule] = []
    if decoding.repetition_penalty != 1.0:
        rules.append(Repetition(decoding.repetition_penalty))
    if decoding.no_repeat:
        rules.append(NoRepeat(decoding.no_repeat))
    if decoding.minimum:
        rules.append(AtLeast(decoding.minimum, (END,)))
    return rules


@torch.inference_mode()
def ours(
    reader: Reader, texts: Sequence[Sequence[int]], decoding: Decoding, rules: Sequence[Rule]
) -> list[list[Hypothesis]]:
    if decoding.searches:
        return search(reader, texts, decoding, (END,), rules)
    walk = Walk(reader, texts, decoding, (END,), rules)
    for _ in walk.steps():
        pass
    return walk.hypotheses


def theirs(
    model: Any, texts: Sequence[Sequence[int]], decoding: Decoding, skip: int | None, **more: Any
) -> dict[int, list[tuple[tuple[int, ...], float]]]:
    """For each prompt's number its answers' new tokens and scores. skip: tokens that are not new, None = the prompt."""
    found = {}
    for length in sorted({len(text) for text in texts}):
        numbers = [i for i, text in enumerate(texts) if len(text) == length]
        ids = torch.tensor([texts[i] for i in numbers])
        out = model.generate(
            ids,
            attention_mask=torch.ones_like(ids),
            max_new_tokens=decoding.maximum,
            min_new_tokens=decoding.minimum or None,
            num_beams=decoding.beams,
            num_return_sequences=decoding.beams,
            do_sample=False,
            length_penalty=decoding.length_penalty,
            early_stopping=decoding.early_stopping,
            repetition_penalty=decoding.repetition_penalty,
            no_repeat_ngram_size=decoding.no_repeat,
            return_dict_in_generate=True,
            output_scores=decoding.beams > 1,
            **more,
        )
        texts_of = [tuple(row[length if skip is None else skip :]) for row in out.sequences.tolist()]
        ended = [row[: row.index(END) + 1] if END in row else row for row in texts_of]
        scores = out.sequences_scores.tolist() if decoding.beams > 1 else [0.0] * len(ended)
        for place, number in enumerate(numbers):
            own = slice(place * decoding.beams, (place + 1) * decoding.beams)
            found[number] = list(zip(ended[own], scores[own], strict=True))
    return found


def compare(
    mine: list[list[Hypothesis]], expected: dict[int, list[tuple[tuple[int, ...], float]]], searched: bool
) -> Counter[str]:
    seen: Counter[str] = Counter()
    for number, hypotheses in enumerate(mine):
        wanted = expected[number]
        seen["prompts"] += 1
        seen["ended early"] += any(len(tokens) < MOST for tokens, _ in wanted)
        if searched:
            gaps = [abs(a - b) for (_, a), (_, b) in itertools.pairwise(wanted)]
            if [h.tokens for h in hypotheses] != [tokens for tokens, _ in wanted] and min(gaps) < 1e-4:
                seen["excused"] += 1
                continue
            assert [h.score for h in hypotheses] == pytest.approx([score for _, score in wanted], abs=1e-4)
        assert [h.tokens for h in hypotheses] == [tokens for tokens, _ in wanted]
    return seen


def settled(seen: Counter[str]) -> None:
    assert seen["prompts"] == len(LENGTHS) * len(SEEDS)
    assert seen["excused"] <= 1


@torch.no_grad()
def often_ending(words: torch.Tensor, end: int = END) -> None:
    """A longer vector of the end, which words are tied to: it is often the likeliest, and often the least likely."""
    words[end] *= 2.0


def gpt2(seed: int, tokenizer: Tokenizer, folder: Path) -> tuple[Model, Any]:
    """Random weights, and the same opened by transformers from what we export."""
    settings = {"vocab_size": VOCABULARY, "n_positions": 32, "n_embd": 24, "n_layer": 3, "n_head": 4}
    model = Model(keys.read(settings, GPT2.keys, GPT2.base), {"vocabulary": Vocabulary()}).eval()
    randomise(model, seed=seed)
    often_ending(model.core.embedding.word.weight)
    hub.export(Pretrained(model, tokenizer, "gpt2"), folder)
    other = transformers.GPT2LMHeadModel.from_pretrained(folder).eval()
    other.generation_config.eos_token_id, other.generation_config.pad_token_id = END, PAD
    return model, other


@pytest.fixture(scope="module")
def pairs_of_gpt2(vocabulary: Path, tmp_path_factory: pytest.TempPathFactory) -> list[tuple[Model, Any]]:
    tokenizer = Tokenizer.load(vocabulary)
    return [gpt2(seed, tokenizer, tmp_path_factory.mktemp("gpt2")) for seed in SEEDS]


@pytest.mark.parametrize("name", SETTINGS)
def test_gpt2(name: str, pairs_of_gpt2: list[tuple[Model, Any]]) -> None:
    decoding = Decoding(maximum=MOST, **SETTINGS[name], answers=SETTINGS[name].get("beams", 1))
    seen: Counter[str] = Counter()
    for seed, (model, other) in zip(SEEDS, pairs_of_gpt2, strict=True):
        found = ours(NextToken(model), prompts(seed), decoding, rules_of(decoding))
        seen += compare(found, theirs(other, prompts(seed), decoding, None), decoding.searches)
    settled(seen)
    if not decoding.minimum and decoding.length_penalty <= 1.0:
        assert seen["ended early"]


def test_phrases_that_must_not_appear(pairs_of_gpt2: list[tuple[Model, Any]]) -> None:
    decoding = Decoding(maximum=MOST, beams=3, answers=3)
    for seed, (model, other) in zip(SEEDS, pairs_of_gpt2, strict=True):
        free = ours(NextToken(model), prompts(seed), decoding, ())
        # Not the end: theirs never bans that one.
        words = [next(token for h in free[i] for token in h.tokens if token != END) for i in range(2)]
        pair = next(h.tokens[:2] for own in free[2:] for h in own if END not in h.tokens[:2])
        banned = ((words[0],), (words[1],), pair)
        found = ours(NextToken(model), prompts(seed), decoding, (Banned(banned),))
        expected = theirs(other, prompts(seed), decoding, None, bad_words_ids=[list(phrase) for phrase in banned])
        compare(found, expected, True)
        assert [h.tokens for h in found[0]] != [h.tokens for h in free[0]]


def encoder_decoder(family: Family, settings: dict[str, Any], tokenizer: Path, folder: Path) -> tuple[Pretrained, Any]:
    """What transformers wrote, and the same as we read it."""
    # transformers' cache for a T5 has as many layers as its encoder: it cannot write with more in the decoder.
    longer = {"max_position_embeddings": 32} if "d_kv" not in settings else {"num_decoder_layers": 2}
    config = getattr(transformers, f"{NAMES[family.name]}Config")(**settings | longer)
    kind = next(a.name for a in family.architectures if a.slots == ("vocabulary",))
    other = getattr(transformers, kind)(config).eval()
    draw(other)
    often_ending(other.get_output_embeddings().weight)
    other.generation_config.eos_token_id, other.generation_config.pad_token_id = END, PAD
    other.save_pretrained(folder)
    Tokenizer.load(tokenizer).save(folder)
    return hub.load(folder), other


FORCED: dict[str, dict[str, int | None]] = {
    "free": {"forced_bos_token_id": None, "forced_eos_token_id": None},
    "first and last": {"forced_bos_token_id": 7, "forced_eos_token_id": END},
}


@pytest.mark.parametrize("forced", FORCED)
@pytest.mark.parametrize("name", CONFIGS)
def test_encoder_decoders(name: str, forced: str, vocabulary: Path, tmp_path: Path) -> None:
    family, settings = CONFIGS[name]
    own, other = encoder_decoder(family, settings, vocabulary, tmp_path)
    begin = other.generation_config.decoder_start_token_id
    assert own.model.config.decoder is not None
    assert own.model.config.decoder.start == begin
    for number, token in FORCED[forced].items():
        setattr(other.generation_config, number, token)
    for setting in ("greedy, n-grams, minimum", "four, longer", "five, repetition, early", "three, never"):
        decoding = Decoding(maximum=MOST, **SETTINGS[setting], answers=SETTINGS[setting].get("beams", 1))
        rules = rules_of(decoding)
        if (first := FORCED[forced]["forced_bos_token_id"]) is not None:
            rules += [Forced(0, first), Forced(MOST - 1, END)]
        found = ours(Writing(own.model, begin), prompts(3), decoding, rules)
        seen = compare(found, theirs(other, prompts(3), decoding, 1), decoding.searches)
        assert not seen["excused"]


def test_a_language_is_written_first(vocabulary: Path, tmp_path: Path) -> None:
    """mBART: the language's token is what the decoder begins with, or what it is made to write first."""
    own, other = encoder_decoder(*CONFIGS["mbart"], vocabulary, tmp_path)
    texts = ["a b c", "d"]
    tokens = [e.tokens.tolist() for e in own.tokenizer.encode_many(texts)]
    framed = [[own.tokenizer.cls, *text, own.tokenizer.sep] for text in tokens]
    language = own.tokenizer.id_of("q")
    assert language is not None
    for field, key in (("begin", "decoder_start_token_id"), ("first", "forced_bos_token_id")):
        decoding = Decoding(maximum=MOST, beams=3, answers=3, **{field: "q"})
        expected = theirs(other, framed, decoding, 1, **{key: language})
        for i, answers in enumerate(generate(own, texts, decoding)):
            assert [a.tokens for a in answers] == [text for text, _ in expected[i]]
            assert [a.score for a in answers] == pytest.approx([score for _, score in expected[i]], abs=1e-4)
    with pytest.raises(InputError, match="no token 'xx_XX'"):
        generate(own, texts, begin="xx_XX")


def test_what_a_file_says_of_writing(vocabulary: Path, tmp_path: Path) -> None:
    """Forced tokens are read where newer files have them, generation_config.json, and written where older ones do."""
    family, settings = CONFIGS["bart"]
    config = getattr(transformers, f"{NAMES[family.name]}Config")(**settings)
    other = transformers.BartForConditionalGeneration(config)
    other.generation_config.forced_bos_token_id = 7
    other.save_pretrained(tmp_path)
    Tokenizer.load(vocabulary).save(tmp_path)
    assert "forced_bos_token_id" not in weights.read_json(tmp_path / "config.json")
    own = hub.load(tmp_path)
    assert own.carried["forced_bos_token_id"] == 7
    way = way_of(own)
    assert (way.first, way.last, way.ends) == (7, END, (END,))
    hub.export(own, tmp_path / "again")
    assert way_of(hub.load(tmp_path / "again")).first == 7


@pytest.mark.parametrize(
    "settings",
    [
        {"top_k": 5},
        {"top_k": 200},
        {"top_p": 0.7},
        {"top_p": 0.05},
        {"min_p": 0.2},
        {"temperature": 0.5},
        {"temperature": 1.7, "top_k": 20, "top_p": 0.9, "min_p": 0.02},
    ],
    ids=str,
)
def test_what_is_drawn_from(settings: dict[str, Any]) -> None:
    logits = torch.randn(7, 600, generator=torch.Generator().manual_seed(0)) * 2
    kinds = {
        "temperature": transformers.TemperatureLogitsWarper,
        "top_k": transformers.TopKLogitsWarper,
        "top_p": transformers.TopPLogitsWarper,
        "min_p": transformers.MinPLogitsWarper,
    }
    expected = logits
    for name, kind in kinds.items():
        if name in settings:
            expected = kind(settings[name])(torch.zeros(7, 1, dtype=torch.int64), expected)
    found = narrowed(logits, Decoding(sample=True, **settings))
    assert torch.equal(found == NEVER, expected == NEVER)
    torch.testing.assert_close(found, expected, atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize("size", [1, 2, 3])
def test_n_grams_and_repetition(size: int) -> None:
    """Ragged histories: theirs, each alone."""
    generator = torch.Generator().manual_seed(size)
    texts = [torch.randint(4, (n,), generator=generator).tolist() for n in (1, 2, 5, 9, 14)]
    history = History(texts, 2, 3, torch.device("cpu"))
    for _ in range(3):
        history.add(torch.randint(4, (5, 2), generator=generator))
    scores = torch.randn(5, 2, 12, generator=generator)
    blocked, penalised = NoRepeat(size)(scores.clone(), history), Repetition(1.3)(scores.clone(), history)
    for b, r in itertools.product(range(5), range(2)):
        ids = torch.tensor([[t for t in history.tokens[b, r].tolist() if t >= 0]])
        alone = scores[b, r, None]
        torch.testing.assert_close(blocked[b, r], transformers.NoRepeatNGramLogitsProcessor(size)(ids, alone)[0])
        torch.testing.assert_close(
            penalised[b, r], transformers.RepetitionPenaltyLogitsProcessor(1.3)(ids, alone.clone())[0]
        )


def test_ctranslate2_writes_the_same_from_a_blank(vocabulary: Path, tmp_path: Path) -> None:
    """A Transformer whose decoder begins with a row of zeros: texts in, texts out; and transformers' Marian."""
    ctranslate2 = peer("ctranslate2")
    own, start = blank(vocabulary)
    often_ending(own.model.core.embedding.word.weight, 3)
    hub.export(own, tmp_path / "model")
    settings = tmp_path / "model" / "tokenizer_config.json"
    weights.write_json(weights.read_json(settings) | {"eos_token": "[SEP]"}, settings)
    ctranslate2.converters.TransformersConverter(str(tmp_path / "model")).convert(str(tmp_path / "converted"))
    translator = ctranslate2.Translator(str(tmp_path / "converted"), compute_type="float32", intra_threads=1)
    texts = ["a b c", "d", "the cat sat on a mat", "e f g h i j"]
    sources = [own.tokenizer.tokens(frame(own.tokenizer, e).tokens) for e in own.tokenizer.encode_many(texts)]
    found = translator.translate_batch(sources, beam_size=1, max_decoding_length=MOST, min_decoding_length=0)
    answers = generate(own, texts, maximum=MOST)
    for (answer,), other in zip(answers, found, strict=True):
        tokens = answer.tokens[:-1] if answer.tokens[-1] == 3 else answer.tokens
        assert own.tokenizer.tokens(tokens) == other.hypotheses[0]
    other = transformers.MarianMTModel.from_pretrained(tmp_path / "model").eval()
    other.generation_config.eos_token_id, other.generation_config.pad_token_id = 3, start
    other.generation_config.bad_words_ids = [[start]]
    for text, (answer,) in zip(texts, generate(own, texts, maximum=MOST, beams=4), strict=True):
        ids = torch.tensor([frame(own.tokenizer, own.tokenizer.encode(text)).tokens.tolist()])
        out = other.generate(ids, max_new_tokens=MOST, num_beams=4, return_dict_in_generate=True, output_scores=True)
        assert out.sequences[0, 1 : 1 + len(answer.tokens)].tolist() == list(answer.tokens)
        assert answer.score == pytest.approx(float(out.sequences_scores[0]), abs=1e-4)
    carried = {"bad_words_ids": [[start], [7]]}
    way = way_of(replace(own, carried=carried))
    assert way.banned == ((7,),)


@pytest.mark.parametrize("name", ["bart", "mbart", "t5", "t5, v1.1"])
def test_ctranslate2_writes_the_same(name: str, tmp_path: Path) -> None:
    """Our export, converted by its own converter: greedy, token for token, ragged sources, two draws of the weights at
    least, and on until a text has ended.
    """
    ended = False
    for seed in range(1, 13):
        texts = by_ctranslate2(name, seed, tmp_path / str(seed))
        assert len(texts) == len(SEEDS) * len(LENGTHS)
        ended |= any(text[-1] == END for text in texts)
        if ended and seed >= 2:
            break
    assert ended


def by_ctranslate2(name: str, seed: int, folder: Path) -> list[tuple[int, ...]]:
    ctranslate2 = peer("ctranslate2")
    converters = pytest.importorskip("ctranslate2.converters")
    family, settings = CONFIGS[name]
    # CTranslate2 knows one number of heads, for both sides.
    longer = {"max_position_embeddings": 32, "decoder_attention_heads": 4} if "d_kv" not in settings else {}
    model = Model(keys.read(settings | longer, family.keys, family.base), {"vocabulary": Vocabulary()}).eval()
    randomise(model, seed=seed)
    layers = model.heads["vocabulary"]
    assert isinstance(layers, VocabularyLayers)
    often_ending(layers.matrix(model.core.embedding.table))
    tokenizer = made_up_tokenizer(VOCABULARY)
    carried = {key: settings[key] for key in ("pad_token_id", "eos_token_id")}
    hub.export(Pretrained(model, tokenizer, family.name, carried=carried), folder / "model")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what transformers says of the tables that a T5 does not tie
        converters.TransformersConverter(str(folder / "model")).convert(str(folder / "converted"))
    assert model.config.decoder is not None
    pieces = tokenizer.tokens(range(VOCABULARY))
    begin, path = model.config.decoder.start, folder / "converted" / "config.json"
    names = {"decoder_start_token": pieces[begin], "eos_token": pieces[END], "bos_token": pieces[begin]}
    path.write_text(json.dumps(json.loads(path.read_text()) | names))
    translator = ctranslate2.Translator(str(folder / "converted"), compute_type="float32", intra_threads=1)
    sources = [text for seed in SEEDS for text in prompts(seed)]
    found = translator.translate_batch(
        [tokenizer.tokens(text) for text in sources],
        beam_size=1,
        max_decoding_length=MOST,
        min_decoding_length=0,
        max_batch_size=0,
    )
    mine = ours(Writing(model, begin), sources, Decoding(maximum=MOST), ())
    for (own,), other in zip(mine, found, strict=True):
        tokens = own.tokens[:-1] if own.tokens[-1] == END else own.tokens
        assert tokenizer.tokens(tokens) == other.hypotheses[0]
    return [own.tokens for (own,) in mine]
