"""The special tokens that our own vocabularies begin with, in their order."""

BERT_SPECIALS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
GPT2_SPECIALS = ("<|endoftext|>",)
"""stands between two documents, ends the one and begins the other (Radford et al., 2019)"""
