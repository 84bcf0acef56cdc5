"""Text-only data of stage 2: read beside speech, and held out to tell of forgetting."""

import dataclasses
import json
import logging
import pathlib

import torch
from speechbrain.utils.distributed import run_on_main

from ssr_plugin.data.text import read_documents
from ssr_plugin.files import atomic_path, digest
from ssr_plugin.models import hub
from ssr_plugin.models.sampling import sample_documents

logger = logging.getLogger(__name__)

#: The source that stands for text that the LLM itself writes.
SELF = "self"
# Of the documents without a file of their own, this many are read for one held out.
_HELD_OUT = 20


@dataclasses.dataclass
class Text:
    """Text as tokens.

    Arguments
    ---------
    blocks : torch.Tensor or None
        [K, L + 1] int, to be learnt from: each token but the first is predicted from
        those before it. None if no text is learnt from.
    heldout : list of list of int
        Documents that are never learnt from.
    heldout_source : str
        Where those come from.
    """

    blocks: torch.Tensor | None
    heldout: list
    heldout_source: str


def make_text(hparams, llm):
    """Reads text, or lets the LLM write it.

    Arguments
    ---------
    hparams : dict
        ``text_source``, ``text_heldout``, ``text_tokens``, ``text_heldout_tokens``,
        ``text_block``, ``text_ratio``, ``cache_folder``, ``seed``.
    llm : ssr_plugin.models.llm.TextLLM
        Untouched.

    Returns
    -------
    Text

    Raises
    ------
    ValueError
        If there is no such text, or too little; the message names the key.
    """
    source, heldout = hparams["text_source"], hparams["text_heldout"]
    size, count = hparams["text_block"], hparams["text_tokens"]
    most = getattr(llm.config, "max_position_embeddings", None) or size
    if not 1 <= size <= most:
        raise ValueError(f"text_block: the LLM reads 1 to {most} tokens, not {size}")
    documents = []
    if hparams["text_ratio"] > 0 or heldout is None:
        if source == SELF:
            seed, folder = hparams["seed"], hparams["cache_folder"]
            documents = _write(llm, count, size, seed, folder)
        else:
            documents = tokenize(read_documents(source), llm.tokenizer, count)
    if heldout is None:
        kept = documents[::_HELD_OUT]
        documents = [x for i, x in enumerate(documents) if i % _HELD_OUT]
        heldout = f"of {source}"
    else:
        kept = read_documents(heldout, "text_heldout")
        kept = tokenize(kept, llm.tokenizer, hparams["text_heldout_tokens"])
    blocks = None
    if hparams["text_ratio"] > 0:
        end = llm.tokenizer.eos_token_id
        cut = size if source == SELF else None
        blocks = pack(documents, llm.start_id, end, size, cut)
        if not len(blocks):
            raise ValueError(
                f"text_source: '{source}' has less than one block of text: give more, "
                f"or a smaller text_block (it is {size})"
            )
    return Text(blocks, kept, str(heldout))


def tokenize(documents, tokenizer, count):
    """Tokens of documents, until there are so many.

    Arguments
    ---------
    documents : iterable of str
    tokenizer : transformers.PreTrainedTokenizerFast
    count : int
        The document that brings the tokens to this number is cut there.

    Returns
    -------
    list of list of int
        Without special tokens; none is empty.

    Example
    -------
    >>> tokenizer = getfixture("tiny_tokenizer")
    >>> tokenize(["the cat", "a cat sat", "never read"], tokenizer, 4)
    [[29, 30], [3, 30]]
    """
    found, left = [], count
    for document in documents:
        ids = tokenizer(document, add_special_tokens=False, verbose=False).input_ids
        ids = ids[:left]
        if ids:
            found.append(ids)
            left -= len(ids)
        if not left:
            break
    return found


def pack(documents, start, end, size, cut=None):
    """Documents one after another, cut into blocks of equal length.

    Each document begins with the start token and ends with the end token; where the
    two are one, it stands between them once.

    Arguments
    ---------
    documents : list of list of int
    start : int
    end : int or None
    size : int
        L
    cut : int or None
        Documents of so many tokens have been cut off, and get no end.

    Returns
    -------
    torch.Tensor
        [K, L + 1] int. The last token of a block is the first of the next, since there
        it is not predicted; what does not fill a block is left out.

    Example
    -------
    >>> pack([[5, 6], [7, 8, 9]], start=1, end=2, size=3).tolist()
    [[1, 5, 6, 2], [2, 1, 7, 8]]
    """
    stream = []
    for ids in documents:
        stream += [start, *ids]
        if end not in (None, start) and len(ids) != cut:
            stream.append(end)
    count = max(len(stream) - 1, 0) // size
    rows = [stream[i * size : (i + 1) * size + 1] for i in range(count)]
    return torch.tensor(rows, dtype=torch.long).reshape(count, size + 1)


def block_targets(blocks, start, end):
    """What is to be predicted after each token of a block but the last.

    Arguments
    ---------
    blocks : torch.Tensor
        [K, L + 1]
    start, end
        Of :func:`pack`.

    Returns
    -------
    torch.Tensor
        [K, L] int; -1 where a start token follows an end, which LLMs never predict.

    Example
    -------
    >>> block_targets(torch.tensor([[5, 2, 1, 7]]), start=1, end=2)
    tensor([[ 2, -1,  7]])
    """
    targets = blocks[:, 1:]
    return targets if start == end else targets.masked_fill(targets == start, -1)


def _write(llm, count, longest, seed, cache_folder):
    """Documents that the LLM wrote, kept in the cache."""
    name = digest(hub.fingerprint(llm.source), llm.dtype, count, longest, seed)
    path = pathlib.Path(cache_folder) / "text" / f"{name}.json"

    def write():
        if not path.is_file():
            documents = sample_documents(llm, count, longest, seed)
            with atomic_path(path) as partial:
                partial.write_text(json.dumps(documents))

    run_on_main(write)
    logger.info("Text that the LLM wrote is in %s", path)
    return json.loads(path.read_text())
