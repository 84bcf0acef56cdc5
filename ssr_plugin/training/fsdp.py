"""A tuned LLM of which each process holds a part: torch's FSDP2, and its checkpoints.

The decoder's layers are sharded one by one (``torch.distributed.fsdp.fully_shard``). A
process gathers a layer when it comes to it, and lets it go again. Input embeddings are
never tuned and are read everywhere, and an output layer is read outside the decoder:
these two stay whole in each process.
"""

import contextlib
import pathlib
import pickletools
import warnings

import torch
from speechbrain.utils.checkpoints import (
    mark_as_loader,
    mark_as_saver,
    register_checkpoint_hooks,
)
from torch.distributed import checkpoint as dcp
from torch.distributed.checkpoint import CheckpointException
from torch.distributed.checkpoint.state_dict import (
    get_model_state_dict,
    get_optimizer_state_dict,
    set_model_state_dict,
    set_optimizer_state_dict,
)
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.distributed.tensor import DTensor

from ssr_plugin.llm.packing import can_pack

#: How processes share a training: the values of ``parallel``.
KINDS = ("ddp", "fsdp")


def check_parallel(kind, precision):
    """Refuses what is no way to share a training.

    Arguments
    ---------
    kind, precision : str

    Raises
    ------
    ValueError
        If it is unknown, or cannot compute so.

    Example
    -------
    >>> check_parallel("zero3", "bf16")
    Traceback (most recent call last):
        ...
    ValueError: parallel: 'zero3' is unknown; it may be ddp, fsdp
    """
    if kind not in KINDS:
        raise ValueError(f"parallel: '{kind}' is unknown; it may be {', '.join(KINDS)}")


def shard(tuned, device):
    """Leaves each process its part of an LLM; with one process, nothing is done.

    The LLM may be on the host: layer by layer it comes to the device, so that a device
    never holds all of it.

    Arguments
    ---------
    tuned : ssr_plugin.llm.tuning.TunedLLM
    device : torch.device or str
        What computes.

    Raises
    ------
    ValueError
        If the LLM does not say which of its modules are its layers.
    """
    if _alone():
        return
    kind = torch.device(device).type
    mesh = init_device_mesh(kind, (torch.distributed.get_world_size(),))
    original = tuned.llm.load_model()
    for model in {id(x): x for x in (original, tuned.model)}.values():
        # Tried while it is whole.
        can_pack(model)
        decoder, table = model.get_decoder(), model.get_input_embeddings().weight
        for layer in decoder_layers(model):
            fully_shard(layer, mesh=mesh)
        fully_shard(decoder, mesh=mesh, ignored_params={table})


def _alone():
    """Whether this process trains alone."""
    return not torch.distributed.is_initialized()


def decoder_layers(model):
    """The modules of an LLM's decoder that are sharded one by one.

    Arguments
    ---------
    model : transformers.PreTrainedModel

    Returns
    -------
    list of torch.nn.Module

    Raises
    ------
    ValueError
        If the LLM does not say which they are.
    """
    names = set(model._no_split_modules or ())
    layers = [x for x in model.get_decoder().modules() if type(x).__name__ in names]
    if not layers:
        raise ValueError(
            f"parallel: fsdp does not know the layers of a {type(model).__name__}: "
            f"set parallel: ddp"
        )
    return layers


def is_sharded(module):
    """Whether a module holds parts of its parameters.

    Example
    -------
    >>> is_sharded(torch.nn.Linear(2, 2))
    False
    """
    return any(isinstance(x, FSDPModule) for x in module.modules())


def total_norm(gradients):
    """The norm of gradients, some of which may be parts, in all processes the same.

    Arguments
    ---------
    gradients : list of torch.Tensor

    Returns
    -------
    torch.Tensor
        A scalar.

    Example
    -------
    >>> total_norm([torch.tensor([3.0]), torch.tensor([4.0])])
    tensor(5.)
    """
    parts = [x for x in gradients if isinstance(x, DTensor)]
    if not parts:
        return torch.nn.utils.get_total_norm(gradients)
    whole = [x for x in gradients if not isinstance(x, DTensor)]
    norms = [torch.nn.utils.get_total_norm(parts).full_tensor()]
    if whole:
        norms.append(torch.nn.utils.get_total_norm(whole))
    return torch.stack(norms).norm()


def average_whole(gradients):
    """Averages, over all processes, gradients that FSDP leaves to each of them.

    Arguments
    ---------
    gradients : list of torch.Tensor
        Parts, which are averaged already, and whole ones, which are changed.
    """
    for gradient in gradients:
        if not isinstance(gradient, DTensor):
            torch.distributed.all_reduce(gradient)
            gradient /= torch.distributed.get_world_size()


def parameter_groups(parameters):
    """Parameters for an optimizer: parts and whole ones in groups of their own.

    Arguments
    ---------
    parameters : list of torch.nn.Parameter

    Returns
    -------
    list of dict
    """
    parts = [x for x in parameters if isinstance(x, DTensor)]
    whole = [x for x in parameters if not isinstance(x, DTensor)]
    return [{"params": group} for group in (parts, whole) if group]


def whole_weights(tuned):
    """What is saved of an LLM in parts, whole; all processes call it.

    Arguments
    ---------
    tuned : ssr_plugin.llm.tuning.TunedLLM

    Returns
    -------
    dict
        Name -> torch.Tensor on the host; empty but in the first process.
    """
    first, weights, copies = torch.distributed.get_rank() == 0, {}, {}
    for name, weight in tuned.weights().items():
        if isinstance(weight, DTensor):
            weight = weight.full_tensor()
            key = name
        else:
            # Tied weights stay tied.
            key = weight.data_ptr()
        if first:
            weights[name] = copies.setdefault(key, weight.detach().cpu())
    return weights


@contextlib.contextmanager
def _quiet():
    """Without what torch warns of: that one process is alone, and old names in
    transformers, at which it looks."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        warnings.simplefilter("ignore", FutureWarning)
        yield


@contextlib.contextmanager
def _own_errors():
    """What is wrong with files: torch's error is no Exception, so that nobody sees it
    coming."""
    try:
        yield
    except CheckpointException as error:
        (cause, _), *_ = error.failures.values()
        raise cause from error


def check_pickle(path):
    """Refuses a damaged pickle that would take gigabytes.

    A pickle may number what it keeps, and Python makes room for the highest number.

    Arguments
    ---------
    path : pathlib.Path
        One that is trusted; a missing file is left to whoever reads it.

    Raises
    ------
    ValueError

    Example
    -------
    >>> path = getfixture("tmp_path") / "a.pickle"
    >>> _ = path.write_bytes(b"]r\\xff\\xff\\xff\\xff.")
    >>> check_pickle(path)
    Traceback (most recent call last):
        ...
    ValueError: .../a.pickle is damaged: it numbers 4294967295 things
    """
    if not path.is_file():
        return
    content = path.read_bytes()
    try:
        for operation, argument, _ in pickletools.genops(content):
            if operation.name.endswith("PUT") and argument > len(content):
                raise ValueError(f"it numbers {argument} things")
    except ValueError as error:
        raise ValueError(f"{path} is damaged: {error}") from error


class _Sharded:
    """Part of a checkpoint that all processes write and read together.

    It may be read by another number of processes than wrote it, one included.
    """

    def __init__(self, tuned):
        self.tuned = tuned

    @mark_as_saver
    def save(self, path):
        """Writes a folder of torch.distributed.checkpoint."""
        with _quiet(), _own_errors():
            dcp.save(self._state(), checkpoint_id=path, no_dist=_alone())

    @mark_as_loader
    def load(self, path, end_of_epoch):
        """Reads what :meth:`save` wrote."""
        del end_of_epoch
        check_pickle(pathlib.Path(path) / ".metadata")
        with _quiet(), _own_errors():
            state = self._state()
            dcp.load(state, checkpoint_id=path, no_dist=_alone())
            self._set_state(state)


register_checkpoint_hooks(_Sharded, save_on_main_only=False)


class ShardedModel(_Sharded):
    """The tuned parameters of an LLM, for a checkpoint.

    Arguments
    ---------
    tuned : ssr_plugin.llm.tuning.TunedLLM

    Example
    -------
    >>> from ssr_plugin.llm.text_llm import TextLLM
    >>> from ssr_plugin.llm.tuning import TunedLLM
    >>> tuned = TunedLLM(TextLLM(getfixture("tiny_llm_folder")), "lora", r=2)
    >>> weights = {k: v.clone() for k, v in tuned.state_dict().items()}
    >>> state = ShardedModel(tuned)
    >>> state.save(getfixture("tmp_path") / "tuned")
    >>> with torch.no_grad():
    ...     _ = [x.zero_() for x in tuned.parameters() if x.requires_grad]
    >>> state.load(getfixture("tmp_path") / "tuned", end_of_epoch=True)
    >>> all(torch.equal(v, weights[k]) for k, v in tuned.state_dict().items())
    True
    """

    def _state(self):
        return get_model_state_dict(self.tuned)

    def _set_state(self, state):
        set_model_state_dict(self.tuned, state)


class ShardedOptimizer(_Sharded):
    """The state of an optimizer of those parameters, for a checkpoint.

    Arguments
    ---------
    tuned : ssr_plugin.llm.tuning.TunedLLM
    optimizer : torch.optim.Optimizer
    """

    def __init__(self, tuned, optimizer):
        super().__init__(tuned)
        self.optimizer = optimizer

    def _state(self):
        # Its groups differ with the number of processes, and have nothing to be kept.
        whole = get_optimizer_state_dict(self.tuned, self.optimizer)
        return {"state": whole["state"]}

    def _set_state(self, state):
        whole = get_optimizer_state_dict(self.tuned, self.optimizer)
        set_optimizer_state_dict(self.tuned, self.optimizer, {**whole, **state})
