"""The special tokens of BERT, in the order in which our own vocabularies begin with them."""

BERT_SPECIALS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
