"""The special tokens that our own vocabularies begin with, in their order, and those that they may end with."""

BERT_SPECIALS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
GPT2_SPECIALS = ("<|endoftext|>",)
"""stands between two documents, ends the one and begins the other (Radford et al., 2019)"""


def sentinel(number: int) -> str:
    """The name of the token that marks hidden span `number`, from 0 on (T5: Raffel et al., 2020; their vocabulary)."""
    return f"<extra_id_{number}>"
