"""An accelerator that is not there: tensors that say that they lie on it, and lie in memory. What would fail on a real
one fails here: an operator that is given tensors of two places, a number in float64 (which Apple's do not have).

    move(model)              its parameters and buffers
    with elsewhere():        what is made with device=PLACE is made there, what is moved there is moved

It says nothing of speed, of rounding, or of kernels that are only on CUDA.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch._library.custom_ops import OPDEFS
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

PLACE = torch.device("mps", 0)  # a kind that this torch knows by name, and no kernel of ours asks for
aten = torch.ops.aten
BETWEEN = {
    aten.copy_.default,
    aten._to_copy.default,
    aten.index.Tensor,
    aten.index_put.default,
    aten.index_put_.default,
    aten._index_put_impl_.default,
}
"""operators that take tensors of two places: copies, and indices in memory of a tensor that is elsewhere"""


class Elsewhere(Tensor):
    """held: the numbers. To torch itself it is a tensor without any, whose device is the one called "meta"."""

    held: Tensor

    @staticmethod
    def __new__(cls, held: Tensor) -> Elsewhere:
        made = Tensor._make_wrapper_subclass(
            cls,
            held.shape,
            strides=held.stride(),
            storage_offset=held.storage_offset(),
            dtype=held.dtype,
            device="meta",
            requires_grad=held.requires_grad,
        )
        made.held = held
        return made

    @property
    def device(self) -> torch.device:  # type: ignore[override]
        return PLACE

    def __setitem__(self, index: Any, value: Any) -> None:
        if isinstance(value, Tensor) and not isinstance(value, Elsewhere) and value.dim():
            raise RuntimeError("tensor[…] = tensor: in two places")
        self.held[_held(index)] = _held(value)

    def tolist(self) -> Any:
        return self.cpu().tolist()

    def numpy(self, **_: Any) -> Any:
        raise TypeError(f"numpy() of a tensor on {PLACE}")

    def __repr__(self, **_: Any) -> str:
        return f"Elsewhere({self.held})"

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return carried_out(func, args, kwargs or {})


def move(module: nn.Module) -> nn.Module:
    """In place of `module.to(PLACE)`; parameters that are shared stay shared."""
    moved: dict[int, nn.Parameter] = {}
    for own in module.modules():
        for name, p in own._parameters.items():
            if p is not None:
                if id(p) not in moved:
                    moved[id(p)] = nn.Parameter(Elsewhere(p.detach().clone()), requires_grad=p.requires_grad)
                own._parameters[name] = moved[id(p)]
        for name, buffer in own._buffers.items():
            own._buffers[name] = None if buffer is None else Elsewhere(buffer.clone())
    return module


@contextlib.contextmanager
def elsewhere() -> Iterator[None]:
    with _Dispatched(), _Made():
        yield


def carried_out(func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    """An operator, in memory; its results are where they would be."""
    if func.namespace == "didact":  # made of others, each of which is looked at
        with elsewhere():
            return OPDEFS[f"didact::{func._opname}"]._init_fn(*args, **kwargs)
    if func.overloadpacket is aten.to:  # as it comes in inference mode
        said = dict(zip((a.name for a in func._schema.arguments), args, strict=False)) | kwargs
        other = {k: getattr(said["other"], k) for k in ("device", "dtype")} if "other" in said else said
        changes = {k: other[k] for k in ("device", "dtype") if other.get(k) is not None}
        return carried_out(aten._to_copy.default, (said["self"],), changes)
    given = [x for x in tree_leaves((args, kwargs)) if isinstance(x, Tensor)]
    here, there = ([x for x in given if isinstance(x, Elsewhere) is apart] for apart in (False, True))
    if there and func not in BETWEEN and any(x.dim() for x in here):
        raise RuntimeError(f"{func}: tensors in two places")
    if func is aten.index.Tensor and not isinstance(args[0], Elsewhere) and there:
        raise RuntimeError(f"{func}: indices on {PLACE} of a tensor in memory")
    device = kwargs.get("device")
    goes = bool(there) if device is None else _is_place(device)
    if func is aten.copy_.default:
        goes = isinstance(args[0], Elsewhere)
    known = {id(x.held): x for x in there if isinstance(x, Elsewhere)}
    if device is not None and goes:
        kwargs = kwargs | {"device": torch.device("cpu")}
    found = func(*_held(args), **_held(kwargs))

    def placed(x: Any) -> Any:
        if not isinstance(x, Tensor) or not goes:
            return x
        if x.dtype == torch.float64:
            raise TypeError(f"{func}: float64 on {PLACE}")
        return known[id(x)] if id(x) in known else Elsewhere(x)

    return tree_map(placed, found)


def _held(value: Any) -> Any:
    return tree_map(lambda x: x.held if isinstance(x, Elsewhere) else x, value)


def _is_place(device: Any) -> bool:
    """ "meta" as well: so torch asks for scalars beside a tensor that is elsewhere."""
    return torch.device(device).type in (PLACE.type, "meta")


class _Dispatched(TorchDispatchMode):
    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return carried_out(func, args, kwargs or {})


class _Made(TorchFunctionMode):
    """What is made of Python's numbers reaches no dispatcher."""

    def __torch_function__(self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        if func in (torch.tensor, torch.as_tensor) and kwargs.get("device") is not None and _is_place(kwargs["device"]):
            return func(*args, **(kwargs | {"device": "cpu"})).to(PLACE)
        return func(*args, **kwargs)
