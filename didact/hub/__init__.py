"""In and out: Hugging Face folders and hub names, sentence-transformers' folders, didact's own checkpoints."""

from didact.hub.export import convert, export
from didact.hub.fetch import fetch
from didact.hub.load import load
from didact.hub.push import card, push
from didact.hub.smaller import take_layers

__all__ = ["card", "convert", "export", "fetch", "load", "push", "take_layers"]
