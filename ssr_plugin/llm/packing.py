"""Sequences of unlike lengths through an LLM without padding between them.

Several sequences share a row. Each attends to itself alone and counts its positions
from 0, so that it is read as if it were alone. Where each token stands is planned on
the host from the lengths, before any of it is on the device.
"""

import contextlib
import dataclasses
import heapq
import inspect
import logging
import threading
import weakref

import numpy as np
import torch

logger = logging.getLogger(__name__)

# Tokens to a row, about: what is tried. Short rows leave more of their ends empty, and
# attention costs the square of their length.
_ROWS = (256, 384, 512, 640, 768, 1024)
# Length of a row at which attention costs what all else does.
_COSTLY = 1024
# Rows are as long as a multiple of this, so that there are few shapes.
_MULTIPLE = 32

# How a model is told which tokens of a row belong together.
_MASK, _POSITIONS = "mask", "positions"
# By model, how it reads packed rows; None if it cannot.
_WAYS: weakref.WeakKeyDictionary = weakref.WeakKeyDictionary()
# Lengths of the sequences that a model is tried on.
_TRIED = (5, 3, 1, 6)


@dataclasses.dataclass
class Layout:
    """Which slot of R rows of L each token has.

    Arguments
    ---------
    slots : torch.LongTensor
        [P], of each token of the sequences one after another, its place among the R * L
        slots.
    positions : torch.LongTensor
        [R, L], of each slot, counted from 0 in each sequence; 0 where it is empty.
    sequences : torch.LongTensor
        [R, L], which sequence a slot belongs to; -1 where it is empty.

    Example
    -------
    >>> layout = plan_layout([2, 3])
    >>> layout.slots
    tensor([3, 4, 0, 1, 2])
    >>> layout.positions[0, :7].tolist(), layout.sequences[0, :7].tolist()
    ([0, 1, 2, 0, 1, 0, 0], [1, 1, 1, 0, 0, -1, -1])
    """

    slots: torch.Tensor
    positions: torch.Tensor
    sequences: torch.Tensor

    def to(self, device):
        """The layout on a device; from pinned memory, nothing waits for it.

        Returns
        -------
        Layout
        """
        return Layout(*send(device, self.slots, self.positions, self.sequences))


def send(device, *tensors):
    """Tensors of the host on a device, in one transfer that the host does not wait for.

    Arguments
    ---------
    device : torch.device
    *tensors : torch.LongTensor

    Returns
    -------
    list of torch.Tensor

    Example
    -------
    >>> one, two = torch.arange(3), torch.zeros(2, 2, dtype=torch.long)
    >>> [x.shape for x in send(torch.device("cpu"), one, two)]
    [torch.Size([3]), torch.Size([2, 2])]
    """
    if torch.device(device).type == "cpu":
        return list(tensors)
    flat = torch.cat([x.flatten() for x in tensors])
    if torch.device(device).type == "cuda":
        flat = flat.pin_memory()
    parts = flat.to(device, non_blocking=True).split([x.numel() for x in tensors])
    return [part.view(x.shape) for part, x in zip(parts, tensors, strict=True)]


def plan_layout(lengths, packed=True):
    """Plans where the tokens of some sequences stand.

    Arguments
    ---------
    lengths : list of int
        Of the sequences, each at least 1.
    packed : bool
        Whether sequences share rows. Else each has its own, padded on the right.

    Returns
    -------
    Layout
        On the host.

    Example
    -------
    >>> plan_layout([2, 3], packed=False).sequences.tolist()
    [[0, 0, -1], [1, 1, 1]]
    >>> plan_layout([100, 30, 60, 250, 30]).positions.shape
    torch.Size([2, 256])
    """
    lengths = np.asarray(lengths, dtype=np.int64)
    if packed:
        rows, offsets, length = _share_rows(lengths)
    else:
        rows, offsets = np.arange(len(lengths)), np.zeros_like(lengths)
        length = int(lengths.max(initial=0))
    num_rows = int(rows.max(initial=-1)) + 1
    owners = np.repeat(np.arange(len(lengths)), lengths)
    counts = np.arange(len(owners)) - np.repeat(lengths.cumsum() - lengths, lengths)
    slots = (rows * length + offsets)[owners] + counts
    positions = np.zeros(num_rows * length, dtype=np.int64)
    sequences = np.full(num_rows * length, -1, dtype=np.int64)
    positions[slots], sequences[slots] = counts, owners
    shape = num_rows, length
    return Layout(
        torch.from_numpy(slots),
        torch.from_numpy(positions.reshape(shape)),
        torch.from_numpy(sequences.reshape(shape)),
    )


def _share_rows(lengths):
    """Row and offset of each sequence, and how long rows are.

    Of some numbers of rows, that which costs the LLM least.
    """
    total, longest = int(lengths.sum()), int(lengths.max(initial=1))
    numbers = {-(-total // max(row, longest)) for row in _ROWS}
    numbers = {min(max(number, 1), max(len(lengths), 1)) for number in numbers}
    layouts = [_fill_rows(lengths, number) for number in sorted(numbers)]
    return min(layouts, key=_cost)


def _cost(layout):
    rows, _, length = layout
    return (int(rows.max(initial=-1)) + 1) * length * (_COSTLY + length)


def _fill_rows(lengths, number):
    """So many rows, of about the same length.

    The longest sequences come first, each into the row that has least so far.
    """
    ends = [(0, row) for row in range(number)]
    rows, offsets = np.zeros_like(lengths), np.zeros_like(lengths)
    for i in np.argsort(-lengths, kind="stable").tolist():
        end, row = ends[0]
        rows[i], offsets[i] = row, end
        heapq.heapreplace(ends, (end + int(lengths[i]), row))
    length = max(end for end, _ in ends)
    return rows, offsets, length + -length % _MULTIPLE


# --- What is read, and what is asked ------------------------------------------------


@dataclasses.dataclass
class Pack:
    """Sequences of tokens and vectors in their slots, and what should come next.

    Arguments
    ---------
    layout : Layout
    ids : torch.LongTensor
        [R, L], token ids; 0 where a vector stands, or nothing.
    vector_slots, vectors : torch.LongTensor
        [M], slots of vectors, and which vector each has.
    wanted, targets : torch.LongTensor
        [Q], slots after which a token is asked for, and that token, sequence by
        sequence.
    packed : bool
        Whether sequences share rows.
    """

    layout: Layout
    ids: torch.Tensor
    vector_slots: torch.Tensor
    vectors: torch.Tensor
    wanted: torch.Tensor
    targets: torch.Tensor
    packed: bool

    def to(self, device):
        """The pack on a device; from pinned memory, nothing waits for it.

        Returns
        -------
        Pack
        """
        layout = self.layout
        tensors = (layout.slots, layout.positions, layout.sequences, self.ids)
        tensors += (self.vector_slots, self.vectors, self.wanted, self.targets)
        slots, positions, sequences, *others = send(device, *tensors)
        return Pack(Layout(slots, positions, sequences), *others, self.packed)

    def embed(self, llm, vectors=None):
        """What the LLM reads.

        Arguments
        ---------
        llm : ssr_plugin.llm.text_llm.TextLLM
        vectors : torch.Tensor or None
            [K, H]; None where there are none.

        Returns
        -------
        torch.Tensor
            [R, L, H]
        """
        embeds = llm.embed(self.ids)
        if vectors is None:
            return embeds
        chosen = vectors.index_select(0, self.vectors).to(embeds.dtype)
        flat = embeds.flatten(0, 1).index_copy(0, self.vector_slots, chosen)
        return flat.view_as(embeds)


def make_pack(inputs, targets, packed=True):
    """Puts sequences into slots. All of it is done on the host.

    Arguments
    ---------
    inputs : list of numpy.ndarray
        [N] int each, at least one: a token's id, or ``-1 - i`` for vector ``i``.
    targets : list of numpy.ndarray
        [N] int each: the token that should come next, -1 where none is asked for.
    packed : bool
        As in :func:`plan_layout`.

    Returns
    -------
    Pack

    Example
    -------
    >>> one, two = np.array([1, -1, -2]), np.array([1, 7])
    >>> pack = make_pack([one, two], [np.array([-1, 8, 9]), two])
    >>> pack.ids[0, :5].tolist(), pack.vector_slots.tolist(), pack.vectors.tolist()
    ([1, 0, 0, 1, 7], [1, 2], [0, 1])
    >>> pack.wanted.tolist(), pack.targets.tolist()
    ([1, 2, 3, 4], [8, 9, 1, 7])
    """
    layout = plan_layout([len(x) for x in inputs], packed)
    slots, ids = layout.slots.numpy(), np.zeros(layout.positions.shape, dtype=np.int64)
    flat, asked = (np.concatenate(x).astype(np.int64) for x in (inputs, targets))
    ids.reshape(-1)[slots] = flat.clip(0)
    is_vector, is_asked = flat < 0, asked >= 0
    tensors = (
        ids,
        slots[is_vector],
        -1 - flat[is_vector],
        slots[is_asked],
        asked[is_asked],
    )
    return Pack(layout, *map(torch.from_numpy, tensors), packed)


# --- Through the LLM ---------------------------------------------------------------


def read_states(model, embeds, layout, wanted, packed):
    """What a causal LM's output layer reads at chosen slots; no logits are computed.

    Nothing is asked of the device, unless sequences share rows and the model is told so
    by positions alone (see :func:`find_way`).

    Arguments
    ---------
    model : transformers.PreTrainedModel
    embeds : torch.Tensor
        [R, L, H], input embeddings in their slots.
    layout : Layout
        On the same device.
    wanted : torch.LongTensor
        [Q], slots.
    packed : bool
        Whether sequences share rows.

    Returns
    -------
    torch.Tensor
        [Q, K], for :func:`ssr_plugin.llm.next_token.read_logits`.

    Example
    -------
    >>> from ssr_plugin.llm.text_llm import TextLLM
    >>> llm = TextLLM(getfixture("tiny_llm_folder"))
    >>> layout = plan_layout([2, 3])
    >>> embeds = llm.embed(torch.ones_like(layout.positions))
    >>> read_states(llm.load_model(), embeds, layout, layout.slots, True).shape
    torch.Size([5, 16])
    """
    way = find_way(model) if packed else None
    return _read_states(model, embeds, layout, wanted, way, packed)


def _read_states(model, embeds, layout, wanted, way, packed):
    arguments = {"use_cache": False}
    if not packed:
        arguments["attention_mask"] = (layout.sequences >= 0).long()
    elif way == _MASK:
        arguments["attention_mask"] = _attention_masks(model, layout)
    if takes_positions(model):
        arguments["position_ids"] = layout.positions
    return capture_states(model, wanted, inputs_embeds=embeds, **arguments)


def takes_positions(model):
    """Whether a causal LM can be told the position of each token."""
    return "position_ids" in inspect.signature(model.forward).parameters


def capture_states(model, wanted, **arguments):
    """What a causal LM's output layer reads at chosen places, in place of logits.

    Arguments
    ---------
    model : transformers.PreTrainedModel
    wanted : torch.LongTensor
        [Q], places among the B * L that it is given.
    **arguments
        Of the model: what it is given, [B, L, ...].

    Returns
    -------
    torch.Tensor
        [Q, K]

    Example
    -------
    >>> from ssr_plugin.llm.text_llm import TextLLM
    >>> model = TextLLM(getfixture("tiny_llm_folder")).load_model()
    >>> ids, last = torch.tensor([[4, 5, 6], [7, 8, 9]]), torch.tensor([2, 5])
    >>> capture_states(model, last, input_ids=ids).shape
    torch.Size([2, 16])
    """
    thread, captured = threading.get_ident(), []

    # Another thread may have the same model write meanwhile, and needs its logits.
    def capture(layer, args):
        if threading.get_ident() != thread:
            return None
        captured.append(args[0].flatten(0, 1).index_select(0, wanted))
        return (args[0][:, :0],)

    hook = model.get_output_embeddings().register_forward_pre_hook(capture)
    try:
        model(**arguments)
    finally:
        hook.remove()
    (states,) = captured
    return states


def _attention_masks(model, layout):
    """What each slot may attend to, as transformers takes it ready: [R, 1, L, L] bool.

    A dict of them where layers are of several kinds.
    """
    sequences, positions = layout.sequences, layout.positions
    order = torch.arange(sequences.shape[1], device=sequences.device)
    mask = sequences[:, :, None] == sequences[:, None, :]
    mask = (mask & (order[:, None] >= order)).unsqueeze(1)
    config = model.config.get_text_config()
    masks, kinds = {"full_attention": mask}, set(_layer_kinds(config))
    if "sliding_attention" in kinds:
        distance = positions[:, :, None] - positions[:, None, :]
        near = (distance < config.sliding_window).unsqueeze(1)
        masks["sliding_attention"] = mask & near
    return masks[kinds.pop()] if len(kinds) == 1 else masks


def _layer_kinds(config):
    """What kinds of attention an LLM's layers have, by its configuration."""
    kinds = getattr(config, "layer_types", None)
    if kinds is None:
        # As masks are made for models whose configuration names no kinds.
        slides = getattr(config, "sliding_window", None) is not None
        kinds = ["sliding_attention" if slides else "full_attention"]
    return kinds


def can_pack(model):
    """Whether a causal LM reads sequences that share a row as it reads each alone.

    That is tried once for each model, on a few tokens. A model that cannot (a recurrent
    one, say) is named in the log, with the reason.

    Arguments
    ---------
    model : transformers.PreTrainedModel

    Returns
    -------
    bool

    Example
    -------
    >>> from ssr_plugin.llm.text_llm import TextLLM
    >>> can_pack(TextLLM(getfixture("tiny_llm_folder")).load_model())
    True
    """
    return find_way(model) is not None


def find_way(model):
    """How a model is told which tokens of a row belong together.

    "mask": by a mask that is made here; nothing is asked of the device. "positions": by
    positions alone, in which transformers finds sequences; it asks the device once a
    pass for each kind of attention. None: it cannot be told.
    """
    if model not in _WAYS:
        _WAYS[model] = _try_ways(model)
    return _WAYS[model]


def trust_configuration(model):
    """Settles how a model is told so by its configuration, without trying it.

    For a model of fake tensors, which gives no numbers to compare.

    Arguments
    ---------
    model : transformers.PreTrainedModel

    Returns
    -------
    bool
        What :func:`can_pack` says from then on.
    """
    _WAYS[model] = None if _mask_fails(model) else _MASK
    return can_pack(model)


@torch.no_grad()
def _try_ways(model):
    reasons = []
    with _at_rest(model):
        for way in (_MASK, _POSITIONS):
            # Whatever a model does not take, it says in its own words.
            try:
                reason = _try(model, way)
            except Exception as error:
                reason = f"{type(error).__name__}: {error}"
            if reason is None:
                return way
            reasons.append(f"by {way}: {reason}")
    logger.warning(
        "%s reads each sequence in a row of its own, with padding, which is slower: it "
        "cannot be told which tokens of a row belong together (%s)",
        type(model).__name__,
        "; ".join(reasons),
    )
    return None


@contextlib.contextmanager
def _at_rest(model):
    """Without dropout, and in the model's own precision, in the block."""
    training, device = model.training, next(model.parameters()).device
    model.eval()
    try:
        with torch.autocast(device.type, enabled=False):
            yield
    finally:
        model.train(training)


def _mask_fails(model):
    """Why a model takes no mask that is made here, by its configuration."""
    if model.config._attn_implementation != "sdpa":
        return f"its attention is {model.config._attn_implementation}, not sdpa"
    kinds = set(_layer_kinds(model.config.get_text_config()))
    if not kinds <= {"full_attention", "sliding_attention"}:
        return f"it has layers of {', '.join(sorted(kinds))}"
    return None


def _try(model, way):
    """Why a way does not do; None if it does."""
    if way == _MASK and (reason := _mask_fails(model)):
        return reason
    table = model.get_input_embeddings()
    device, tokens = table.weight.device, sum(_TRIED)
    ids = torch.arange(tokens, device=device) * 7 % len(table.weight)
    alone = plan_layout(_TRIED, packed=False).to(device)
    shared = plan_layout(_TRIED).to(device)

    def read(ids, layout, packed):
        slots = torch.zeros_like(layout.positions)
        slots.view(-1)[layout.slots] = ids
        arguments = (layout, layout.slots, way, packed)
        return _read_states(model, table(slots), *arguments).float()

    expected, found = read(ids, alone, False), read(ids, shared, True)
    others = ids.clone()
    # The longest sequence, which comes first in its row.
    longest = slice(tokens - _TRIED[-1], tokens)
    others[longest] = (ids[longest] + len(table.weight) // 2) % len(table.weight)
    changed = read(others, shared, True)
    scale = expected.abs().max()
    precise = table.weight.dtype == torch.float32
    difference = ((found - expected).abs().max() / scale).item()
    leak = ((changed - found)[: longest.start].abs().max() / scale).item()
    # Sums over rows of another length round otherwise. Of what is masked, nothing is
    # added.
    if not leak < (1e-5 if precise else 1e-3):
        return "sequences of a row read each other"
    if not difference < (1e-4 if precise else 0.05):
        return f"states differ by {difference:.2g} of the largest"
    return None
