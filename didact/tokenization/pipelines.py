"""How each kind of tokenizer treats text before and after its pieces: normalizer, pre-tokenizer, decoder.

wordpiece  BERT's (Devlin et al., 2019): words, punctuation and Chinese characters apart; "##" continues a word
bpe        byte-level (Radford et al., 2019): nothing is unknown, white space is kept
gpt2       the same, with an end of text for its one special token
unigram    Kudo (2018) with "▁" for the space before a word or mark; punctuation apart
word       wordpiece's words, uncut (Peters et al., 2018); those outside the vocabulary are unknown
char       every character a piece, "▁" for white space
kmer       runs cut into pieces of k characters, one after the other (DNA, protein); unknown ones into characters
"""

from __future__ import annotations

import tokenizers
from tokenizers import Regex, decoders, models, normalizers, pre_tokenizers, processors

from didact.errors import InputError
from didact.tokenization.specials import BERT_SPECIALS, GPT2_SPECIALS

KINDS = ("wordpiece", "bpe", "gpt2", "unigram", "word", "char", "kmer")


def pipeline(kind: str, model: models.Model, cased: bool, k: int) -> tokenizers.Tokenizer:
    """A tokenizer with this model; cased: capitals and accents are kept; k: length of a k-mer."""
    backend = tokenizers.Tokenizer(model)
    folded: list[normalizers.Normalizer] = []
    if not cased:  # composed again at the end, so that Korean syllables stay whole
        folded = [normalizers.NFD(), normalizers.StripAccents(), normalizers.Lowercase(), normalizers.NFC()]
    match kind:
        case "wordpiece" | "word":
            backend.normalizer = normalizers.BertNormalizer(
                clean_text=True, handle_chinese_chars=True, strip_accents=None, lowercase=not cased
            )
            backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
            if kind == "wordpiece":
                backend.decoder = decoders.WordPiece(prefix="##", cleanup=True)
        case "bpe" | "gpt2":
            if folded:
                backend.normalizer = normalizers.Sequence(folded)
            backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
            backend.decoder = decoders.ByteLevel()
        case "unigram":
            spaces = normalizers.Replace(Regex(r"\s+"), " ")
            backend.normalizer = normalizers.Sequence([normalizers.NFKC(), *folded, spaces])
            backend.pre_tokenizer = pre_tokenizers.Sequence(
                [pre_tokenizers.Metaspace(), pre_tokenizers.Split(Regex(r"▁?(?:\p{P}|[\p{S}&&[^▁]])"), "isolated")]
            )
            backend.decoder = decoders.Metaspace()
        case "char":
            spaces = normalizers.Replace(Regex(r"\s+"), " ")
            backend.normalizer = normalizers.Sequence([normalizers.NFC(), *folded, spaces])
            backend.pre_tokenizer = pre_tokenizers.Sequence(
                [pre_tokenizers.Metaspace(prepend_scheme="never"), pre_tokenizers.Split(Regex("(?m)."), "isolated")]
            )
            backend.decoder = decoders.Metaspace(prepend_scheme="never")
        case "kmer":
            if not cased:
                backend.normalizer = normalizers.Lowercase()
            backend.pre_tokenizer = pre_tokenizers.Sequence(
                [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Split(Regex(f".{{1,{k}}}"), "isolated")]
            )
            backend.decoder = decoders.Fuse()
        case _:
            raise InputError(f"kind {kind!r}", expected=f"one of {', '.join(KINDS)}")
    return backend


def finish(kind: str, backend: tokenizers.Tokenizer) -> None:
    """Special tokens, and [CLS] a [SEP] b [SEP] around texts (GPT-2: nothing)."""
    if kind == "gpt2":
        backend.add_special_tokens(list(GPT2_SPECIALS))
        backend.post_processor = processors.ByteLevel(trim_offsets=False)
        return
    backend.add_special_tokens(list(BERT_SPECIALS))
    cls, sep = "[CLS]", "[SEP]"
    template = processors.TemplateProcessing(
        single=f"{cls} $A {sep}",
        pair=f"{cls} $A {sep} $B:1 {sep}:1",
        special_tokens=[(t, backend.token_to_id(t)) for t in (cls, sep)],
    )
    if kind == "bpe":  # offsets without the space before a word
        backend.post_processor = processors.Sequence([processors.ByteLevel(trim_offsets=True), template])
    else:
        backend.post_processor = template
