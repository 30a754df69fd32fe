"""A real ALBERT: RXNMapper's masked language model of chemical reactions (Schwaller et al., 2021), 591 tokens."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest
import tokenizers
import torch
import transformers
from parity_tools import assert_equal
from safetensors.torch import load_file

from didact import hub
from didact.data.lay import lay
from didact.model import Pretrained
from didact.tokenization.tokenizer import frame

# A SMILES string's tokens (Schwaller et al., 2019, "Molecular Transformer", §2.2): atoms in brackets, two-letter
# elements, bonds, ring closures.
TOKENS = r"\[[^\]]+\]|Br?|Cl?|N|O|S|P|F|I|b|c|n|o|s|p|\(|\)|\.|=|#|-|\+|\\|\/|:|~|@|\?|>>?|\*|\$|\%[0-9]{2}|[0-9]"
REACTIONS = (
    "CC(=O)O.OCC>>CC(=O)OCC.O",
    "c1ccccc1Br.OB(O)c1ccccc1>>c1ccc(-c2ccccc2)cc1",
    "C[C@H](N)C(=O)O.ClC(=O)OCc1ccccc1>>C[C@H](NC(=O)OCc1ccccc1)C(=O)O",
    "C",
    "CC(C)(C)OC(=O)N1CCNCC1.O=C(Cl)c1ccccc1>>CC(C)(C)OC(=O)N1CCN(C(=O)c2ccccc2)CC1",
)


@pytest.fixture(scope="module")
def folder(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The model's own files, and its tokenizer as one that both libraries read: the published vocabulary, the published
    expression.
    """
    source = shared_data / "weights" / "rxnmapper-albert"
    if not source.is_dir():
        pytest.skip("real weights absent: rxnmapper-albert")
    made = tmp_path_factory.mktemp("rxnmapper")
    for name in ("config.json", "pytorch_model.bin", "special_tokens_map.json"):
        shutil.copy(source / name, made / name)
    pieces = (source / "vocab.txt").read_text(encoding="utf-8").split("\n")
    numbers = {piece: i for i, piece in enumerate(pieces) if piece}
    backend = tokenizers.Tokenizer(tokenizers.models.WordLevel(numbers, unk_token="[UNK]"))
    split = tokenizers.Regex(TOKENS)
    backend.pre_tokenizer = tokenizers.pre_tokenizers.Split(split, "isolated")
    backend.add_special_tokens(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"])
    ends = (("[SEP]", numbers["[SEP]"]), ("[CLS]", numbers["[CLS]"]))
    backend.post_processor = tokenizers.processors.BertProcessing(*ends)
    backend.save(str(made / "tokenizer.json"))
    (made / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "PreTrainedTokenizerFast"}))
    return made


@pytest.fixture(scope="module")
def ours(folder: Path) -> Pretrained:
    return hub.load(folder)


def masked(reaction: str) -> str:
    """Every fifth token masked."""
    tokens = re.findall(TOKENS, reaction)
    return "".join("[MASK]" if i % 5 == 2 % len(tokens) else token for i, token in enumerate(tokens))


def test_the_tokenizer_reads_every_token(ours: Pretrained, folder: Path) -> None:
    theirs = transformers.AutoTokenizer.from_pretrained(folder)
    for reaction in REACTIONS:
        assert "".join(re.findall(TOKENS, reaction)) == reaction
        own = ours.tokenizer.encode(masked(reaction), special=True)
        assert ours.tokenizer.unk not in own.tokens
        framed = frame(ours.tokenizer, own).tokens.tolist()
        assert framed == theirs(masked(reaction))["input_ids"]


def test_logits_and_the_likeliest_atoms(ours: Pretrained, folder: Path) -> None:
    assert ours.family == "albert"
    assert set(ours.model.specs) == {"vocabulary"}
    used = (*ours.model.core.parameters(), *ours.model.heads.parameters())
    assert sum(p.numel() for p in used) == 735_567  # twelve layers, the weights of one
    theirs = transformers.AutoModelForMaskedLM.from_pretrained(folder).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    examples = [frame(ours.tokenizer, ours.tokenizer.encode(masked(r), special=True)) for r in REACTIONS]
    side = lay(examples).batch(range(len(examples))).inputs
    inputs = tokenizer([masked(r) for r in REACTIONS], padding=True, return_tensors="pt")
    kept = inputs["attention_mask"].bool()
    with torch.inference_mode():
        hidden = ours.model.hidden(side, layers=True)
        logits = ours.model.heads["vocabulary"](hidden.main, table=ours.model.core.embedding.word.weight)
        out = theirs(**inputs, output_hidden_states=True)
    for i, (a, b) in enumerate(zip(hidden.layers, out.hidden_states, strict=True)):
        assert_equal(a, b[kept], f"layer {i}")
    assert_equal(logits, out.logits[kept])
    blanks = side.packed.tokens == ours.tokenizer.mask
    assert int(blanks.sum()) >= 25
    assert torch.equal(logits[blanks].topk(5).indices, out.logits[kept][blanks].topk(5).indices)
    for reaction in REACTIONS:
        filled = ours.fill(masked(reaction), top=5)
        assert len(filled) == masked(reaction).count("[MASK]")
    assert ours.fill("CC(=O)O.OCC>>CC(=O)O[MASK]C.O")[0][0].token == "C"


def test_there_and_back_keeps_every_byte(folder: Path, tmp_path: Path) -> None:
    hub.convert(folder, tmp_path / "didact")
    hub.convert(tmp_path / "didact", tmp_path / "back")
    before = torch.load(folder / "pytorch_model.bin", map_location="cpu", weights_only=True)
    after = load_file(tmp_path / "back" / "model.safetensors")
    # A tied model's second copies hold nothing of their own.
    assert before.keys() - after.keys() == {"predictions.decoder.weight", "predictions.decoder.bias"}
    assert all(torch.equal(before[name], after[name]) for name in after)
    said, says = (json.loads((f / "config.json").read_text()) for f in (folder, tmp_path / "back"))
    assert {k: v for k, v in says.items() if k in said} == said
