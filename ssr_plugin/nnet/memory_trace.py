"""What a computation would take, found out by running it without any numbers.

Tensors of a :func:`fake_tensors` block have shapes and types, and no memory. All code
runs on them as on others, as long as it asks for no number. A :class:`MemoryTrace`
counts what they would take. Modules are made on the meta device, outside the block;
:func:`place` gives them weights for it.
"""

import contextlib
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode, sdpa_flop_count

from ssr_plugin.nnet.layers import forget_constants


@contextlib.contextmanager
def fake_tensors(mode: FakeTensorMode | None = None) -> Iterator[FakeTensorMode]:
    """A block in which all new tensors are without memory, as if on a CPU.

    Arguments
    ---------
    mode : torch._subclasses.fake_tensor.FakeTensorMode or None
        That of an earlier block, whose tensors are to be used in this one, too.

    Yields
    ------
    torch._subclasses.fake_tensor.FakeTensorMode
        Its ``from_tensor`` makes a fake tensor of a real one.

    Example
    -------
    >>> with fake_tensors():
    ...     x = torch.zeros(10**6, 10**6)
    ...     (x @ x).shape
    torch.Size([1000000, 1000000])
    """
    # What layers keep for the next call must not be fake after the block, nor real in
    # it.
    forget_constants()
    try:
        with mode or FakeTensorMode() as entered:
            yield entered
    finally:
        forget_constants()


def place(*modules: nn.Module) -> None:
    """Gives modules on the meta device fake weights in its place, as if on a CPU.

    Torch's attention and autocast know no meta device.

    Arguments
    ---------
    *modules : torch.nn.Module
        Weights that they share stay shared.

    Example
    -------
    >>> layer = torch.nn.Linear(10**6, 10**6, device="meta")
    >>> with fake_tensors():
    ...     place(layer)
    ...     layer(torch.zeros(1, 10**6)).device
    device(type='cpu')
    """
    placed: dict[int, Tensor] = {}
    # The originals must live on: their keys must be of no other tensor.
    kept = []

    def fake(x: Tensor) -> Any:
        if id(x) not in placed:
            empty = torch.empty(x.shape, dtype=x.dtype)
            if isinstance(x, nn.Parameter):
                empty = nn.Parameter(empty, x.requires_grad)
            placed[id(x)] = empty
            kept.append(x)
        return placed[id(x)]

    for child in {child: None for module in modules for child in module.modules()}:
        tensors: Any
        for tensors in (child._parameters, child._buffers):
            for name, x in tensors.items():
                if x is not None and x.is_meta:
                    tensors[name] = fake(x)


def count_bytes(tensors: Iterable[Tensor]) -> int:
    """What tensors take together, each piece of memory once.

    Example
    -------
    >>> x = torch.zeros(10)
    >>> count_bytes([x, x[:5], torch.zeros(2, dtype=torch.bfloat16)])
    44
    """
    storages = {_key(x): x.untyped_storage().nbytes() for x in tensors}
    return sum(storages.values())


class MemoryTrace(TorchDispatchMode):
    """Counts the bytes of the tensors that are made in a block, and the operations.

    It sees what operators give, and not what they use inside. A device's allocator
    rounds up, and keeps some memory of its own beside.

    Arguments
    ---------
    *known : torch.Tensor
        Those that are there before and of which views will be made: not counted.

    Attributes
    ----------
    alive, peak : int
        Bytes that are alive now, and at most so far.
    flops : int
        Floating-point operations of products and convolutions.

    Example
    -------
    >>> x = torch.rand(100, 100, requires_grad=True)
    >>> with MemoryTrace(x) as trace:
    ...     loss = (x @ x).square().sum()  # x @ x, its square, and their sum
    ...     loss.backward()
    >>> trace.flops // 10**6, trace.alive // 1000  # the gradient is left
    (6, 40)
    """

    def __init__(self, *known: Tensor) -> None:
        super().__init__()
        self.alive = self.peak = 0
        # Held, so that their keys are of no other memory.
        self._known = {_key(x): x for x in known}
        self._seen: dict[int, weakref.ref[Any]] = {}
        self._counter = FlopCounterMode(display=False, custom_mapping=_CPU_ATTENTION)

    @property
    def flops(self) -> int:
        """See the class."""
        total: int = self._counter.get_total_flops()
        return total

    def __enter__(self) -> "MemoryTrace":
        self._counter.__enter__()
        super().__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        super().__exit__(*error)
        self._counter.__exit__(*error)

    def __torch_dispatch__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Notes what an operator gives."""
        result = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(result):
            if isinstance(leaf, Tensor):
                self._note(leaf)
        return result

    def _note(self, tensor: Tensor) -> None:
        key = _key(tensor)
        if key in self._known or key in self._seen:
            return
        storage = tensor.untyped_storage()
        size = storage.nbytes()

        def free(_: Any) -> None:
            self.alive -= size
            del self._seen[key]

        self._seen[key] = weakref.ref(storage, free)
        self.alive += size
        self.peak = max(self.peak, self.alive)


def _key(tensor: Tensor) -> int:
    """What tells a tensor's memory from that of others."""
    key: int = tensor.untyped_storage()._cdata
    return key


def _attention_flops(
    query: Any, key: Any, value: Any, *_: Any, **__: Any
) -> int:  # of shapes
    total: int = sdpa_flop_count(query, key, value)
    return total


def _attention_backward_flops(
    grad: Any, query: Any, key: Any, value: Any, *_: Any, **__: Any
) -> int:
    # Two and a half times as many products as forward.
    return _attention_flops(query, key, value) * 5 // 2


# torch's counter knows the attention of GPUs alone.
_CPU_ATTENTION = {
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: _attention_flops,
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward: (
        _attention_backward_flops
    ),
}
