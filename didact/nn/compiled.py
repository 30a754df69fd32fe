"""Regional compilation: one block is compiled and serves every layer; a head may be compiled, too.

Ragged batches must not compile anything again, so the sizes that change from batch to batch (T, B, the number of asked
rows) are declared dynamic before the first call; everything else is a constant of the code. Attention's plan carries
what else may change (groups, windows) as data. At most one compilation per block and direction (tests/laws).

The embedding is left alone: its compiled backward adds to the table from several threads in any order, so that a run
could not be repeated bit for bit, and it is no faster.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import fields, is_dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from didact.interrupts import interrupts_later

if TYPE_CHECKING:
    from didact.nn.core import Stack


Backend = str | Callable[..., Any]


def compile_blocks(stack: Stack, backend: Backend | None = None) -> None:
    """Compile the blocks of a core or a decoder in place; names of parameters stay. backend: None = torch's own.

    The first forward and the first backward each take as long as a C++ compiler needs for one block.
    """
    for block in stack.regions:
        compile_module(block, backend)
    stack.compiled = True


def compile_module(module: nn.Module, backend: Backend | None = None) -> None:
    """Compile a module in place whose inputs the caller passes through `ragged`: a head, the pooler."""
    if backend is None:
        cpu = all(p.device.type == "cpu" for p in module.parameters())
        backend = inductor_of_processors if cpu else "inductor"
    module.compile(backend=backend)


def inductor_of_processors(graph: torch.fx.GraphModule, inputs: Sequence[Any]) -> Any:
    """torch's own backend, which may compute again, going back, what lies far back. Otherwise it keeps the mask of a
    layer's second dropout, a byte a number, and to have it at hand draws the mask's seeds anew for every 16 numbers.
    """
    from torch._functorch import config
    from torch._inductor.compile_fx import compile_fx

    with config.patch(ban_recompute_used_far_apart=False):
        return compile_fx(graph, inputs, inner_compile=_undisturbed)


def _undisturbed(graph: torch.fx.GraphModule, inputs: Sequence[Any], **settings: Any) -> Any:
    """torch's inner compiler, whose C++ compilers hear no Ctrl-C: one that is killed leaves half a library in the
    cache, at which every later run of the same code would end.
    """
    from torch._inductor.compile_fx import compile_fx_inner

    with interrupts_later():
        return compile_fx_inner(graph, inputs, **settings)


def ragged(*values: Any) -> None:
    """Declare the first dimension of every tensor in `values` (dataclasses, tuples and lists included) dynamic.

    To be called on what a compiled module is about to be given, outside of it. Sizes 0 and 1 are left alone: compiled
    code always treats them as special.
    """
    if torch.compiler.is_compiling():
        return
    from torch._dynamo import mark_dynamic  # importing it takes seconds, which only those who compile should wait

    for value in values:
        if isinstance(value, Tensor):
            if value.ndim and value.shape[0] > 1 and not isinstance(value, nn.Parameter):
                mark_dynamic(value, 0)
        elif isinstance(value, tuple | list):
            ragged(*value)
        elif is_dataclass(value) and not isinstance(value, type):
            ragged(*(getattr(value, part.name) for part in fields(value)))
