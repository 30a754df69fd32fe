"""didact's models in EleutherAI's lm-evaluation-harness (0.4.13 and later), as the model type `didact`.

    python -m didact.evaluation.harness run --model didact --model_args pretrained=runs/gpt --tasks lambada_openai

    from didact.evaluation import harness
    lm_eval.simple_evaluate(model="didact", model_args={"pretrained": "runs/gpt"}, tasks=[…])

The harness is an extra (`pip install '.[harness]'`); nothing else in didact imports this file. Its own rules hold:
where a context ends, windows of long texts, what is cut. What is different is the pass itself: packed, equal beginnings
read once. So figures are those of its `hf` backend on the exported model.

model_args: pretrained: what `didact.load` takes; batch_tokens: of one pass; max_length: fewer tokens than the model
takes; device.
"""

# pyright: reportMissingImports=false
# (the extra may not be installed)
from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, cast

import lm_eval.models  # noqa: F401  (its own models: it names them only while it knows of none)
import numpy as np
from lm_eval.api.model import TemplateLM
from lm_eval.api.registry import register_model

from didact import hub
from didact.errors import InputError
from didact.generation import Decoding, generate_tokens
from didact.generation.asking import Question, ask
from didact.generation.borders import around
from didact.generation.score import windows
from didact.model import Pretrained

Request = tuple[Any, list[int], list[int]]


@cast(Callable[[Any], Any], register_model("didact"))
class DidactLM(TemplateLM):
    """A causal model. Raises InputError for another."""

    backend = "causal"

    def __init__(
        self,
        pretrained: str | Pretrained,
        batch_tokens: int = 8192,
        max_length: int | None = None,
        device: str | None = None,
        batch_size: object = None,
        max_batch_size: object = None,
    ) -> None:
        """batch_size, max_batch_size: the harness always names them; a pass here is counted in tokens."""
        del batch_size, max_batch_size
        super().__init__()
        loaded = pretrained if isinstance(pretrained, Pretrained) else hub.load(pretrained)
        if loaded.model.config.visibility != "causal":
            raise InputError("the harness asks for continuations", expected="a causal model")
        if device is not None:
            loaded.model.to(device)
        self.pretrained = loaded
        self.batch_tokens = int(batch_tokens)
        self._device = loaded.model.device
        bounds = [bound for bound in (loaded.maximum, max_length) if bound is not None]
        self.max_length: int | None = min(map(int, bounds), default=None)
        self._before = around(loaded.tokenizer)[0].tolist()

    @property
    def eot_token_id(self) -> int:
        """The token that ends texts, else the one that separates them."""
        tokenizer = self.pretrained.tokenizer
        return self._known(tokenizer.sep if tokenizer.eos is None else tokenizer.eos)

    @property
    def prefix_token_id(self) -> int:
        """What stands before a text without a context."""
        tokenizer = self.pretrained.tokenizer
        own = self._before[0] if self._before else tokenizer.eos if tokenizer.bos is None else tokenizer.bos
        return self._known(own)

    def _known(self, token: int | None) -> int:
        if token is None:
            raise InputError("the tokenizer has no token that begins or ends texts", expected="one with bos or eos")
        return token

    @property
    def tokenizer_name(self) -> str:
        """For caches of requests."""
        return self.pretrained.tokenizer.fingerprint

    def tok_encode(self, string: str, add_special_tokens: bool | None = None, **_kwargs: Any) -> list[int]:
        """What begins every text of the tokenizer stands before it unless `add_special_tokens` is false; names of
        special tokens in a text stand for them, as in transformers.
        """
        own = self.pretrained.tokenizer.encode(string, special=True).tokens.tolist()
        return own if add_special_tokens is False else [*self._before, *own]

    def _loglikelihood_tokens(
        self, requests: Sequence[Request], disable_tqdm: bool = False, **_kwargs: Any
    ) -> list[tuple[float, bool]]:
        del disable_tqdm
        asked = []
        for _, context, continuation in requests:
            whole = [*context, *continuation]
            if not continuation or (self.max_length is not None and len(continuation) > self.max_length):
                raise InputError(f"a continuation of {len(continuation)} tokens", expected=f"1 to {self.max_length}")
            if self.max_length is not None:
                whole = whole[-(self.max_length + 1) :]
            m, tokens = len(continuation), np.array(whole, np.int64)
            rows, seen = np.arange(len(whole) - m - 1, len(whole) - 1), max(0, len(whole) - m)
            asked.append(Question(tokens[:-1], rows, tokens[-m:], prefix=seen if self.pretrained.prefixed else 0))
        answers = ask(self.pretrained, asked, self.batch_tokens)
        found = [(float(own.logprobs.sum()), bool(own.likeliest.all())) for own in answers]
        for (texts, _, _), own in zip(requests, found, strict=True):
            if texts is not None:
                self.cache_hook.add_partial("loglikelihood", texts, own)
        return found

    def loglikelihood_rolling(self, requests: Sequence[Any], disable_tqdm: bool = False) -> list[float]:
        """The log-likelihood of whole texts, in windows as long as the model takes."""
        del disable_tqdm
        found = []
        texts = [request.args[0] for request in requests]
        asked: list[Question] = []
        cuts = [0]
        for text in texts:
            tokens = np.array([self.prefix_token_id, *self.tok_encode(text)], np.int64)
            asked += windows(tokens, 1, self.max_length)
            cuts.append(len(asked))
        answers = ask(self.pretrained, asked, self.batch_tokens)
        for text, first, last in zip(texts, cuts, cuts[1:], strict=False):
            total = float(sum(own.logprobs.sum() for own in answers[first:last]))
            self.cache_hook.add_partial("loglikelihood_rolling", (text,), total)
            found.append(total)
        return found

    def generate_until(self, requests: Sequence[Any], disable_tqdm: bool = False) -> list[str]:
        """Greedy text up to one of the task's stop texts, or `max_gen_toks` tokens (256 unless said). A context that
        leaves no room loses its beginning. Raises InputError for a task that wants to sample.
        """
        del disable_tqdm
        together: dict[tuple[int, tuple[str, ...]], list[int]] = {}  # those that end alike are written at once
        for i, request in enumerate(requests):
            settings = request.args[1]
            if settings.get("do_sample"):  # without, the harness's own backend is greedy whatever the temperature
                raise InputError("the task wants sampled text", expected="a task of greedy text")
            stop = settings.get("until") or ()
            how = int(settings.get("max_gen_toks", 256)), (stop,) if isinstance(stop, str) else tuple(stop)
            together.setdefault(how, []).append(i)
        found = [""] * len(requests)
        for (most, stop), some in together.items():
            prompts = [self._end(requests[i].args[0], most) for i in some]
            answers = generate_tokens(self.pretrained, prompts, Decoding(maximum=most, stop=stop))
            for i, (answer,) in zip(some, answers, strict=True):
                self.cache_hook.add_partial("generate_until", requests[i].args, answer.text)
                found[i] = answer.text
        return found

    def _end(self, context: str, new: int) -> list[int]:
        """As many tokens of the end of a context as leave room for new ones."""
        tokens = self.tok_encode(context) or [self.prefix_token_id]
        if self.max_length is None:
            return tokens
        if new >= self.max_length:
            raise InputError(f"{new} tokens to be written", expected=f"fewer than {self.max_length} (max_gen_toks)")
        return tokens[new - self.max_length :]


def main() -> None:
    """The harness' own command line, with `didact` among its models."""
    from lm_eval.__main__ import cli_evaluate

    cli_evaluate()


if __name__ == "__main__":
    main()
