"""Text-only data of stage 2: read beside speech, and held out to measure forgetting."""

import dataclasses
import json
import logging
import pathlib
import shutil

import torch
from speechbrain.utils.distributed import run_on_main

from ssr_plugin.data.text_files import read_documents
from ssr_plugin.files import atomic_path, digest
from ssr_plugin.json_files import read_json
from ssr_plugin.llm.sampling import sample_documents

logger = logging.getLogger(__name__)

#: The source that stands for text that the LLM itself writes.
SELF = "self"
# Without a file of held-out text, one document of this many is held out.
_HELD_OUT = 20
# Token ids of each document that the LLM wrote.
_DOCUMENTS = [[int]]


@dataclasses.dataclass
class Text:
    """Text as tokens.

    Arguments
    ---------
    chunks : list of torch.Tensor
        To be learnt from: each token but the first is predicted from those before it.
        Sorted by length; empty if no text is learnt from.
    heldout : list of list of int
        Token ids of documents that are never learnt from.
    heldout_source : str
        Where those come from.

    Example
    -------
    >>> chunks = [torch.tensor([1, 5, 6]), torch.tensor([1, 7, 8, 9])]
    >>> text = Text(chunks, [[10, 11]], "a.txt")
    >>> len(text.draw(5)) in (1, 2)
    True
    """

    chunks: list
    heldout: list
    heldout_source: str

    def __post_init__(self):
        sizes = [len(chunk) - 1 for chunk in self.chunks]
        self._ends = torch.tensor(sizes, dtype=torch.long).cumsum(0)

    def draw(self, count):
        """Draws chunks of similar length; all chunks are equally likely.

        Arguments
        ---------
        count : int
            About how many tokens are to be predicted.

        Returns
        -------
        list of torch.Tensor
            At least one.
        """
        index = torch.randint(int(self._ends[-1]), (1,))
        first = int(torch.searchsorted(self._ends, index, right=True))
        last = int(torch.searchsorted(self._ends, index + max(count - 1, 0)))
        return self.chunks[first : last + 1]


def make_text(hparams, llm):
    """Reads text, or lets the LLM write it.

    Arguments
    ---------
    hparams : dict
        ``text_source``, ``text_heldout``, ``text_tokens``, ``text_heldout_tokens``,
        ``text_block``, ``text_ratio``, ``cache_folder``, ``seed``.
    llm : ssr_plugin.llm.text_llm.TextLLM
        The base model.

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
    max_positions = getattr(llm.config, "max_position_embeddings", None) or size + 1
    if not 1 <= size < max_positions:
        raise ValueError(
            f"text_block: the LLM reads 1 to {max_positions - 1} tokens after the "
            f"first, not {size}"
        )
    for key in ("text_tokens", "text_heldout_tokens"):
        if hparams[key] < 1:
            raise ValueError(f"{key}: it is {hparams[key]}, and must be 1 at least")
    documents = []
    if hparams["text_ratio"] > 0 or heldout is None:
        if source == SELF:
            seed, folder = hparams["seed"], hparams["cache_folder"]
            documents = _write(llm, count, size, seed, folder)
        else:
            documents = tokenize(read_documents(source), llm.tokenizer, count)
    if heldout is None:
        heldout_documents = documents[::_HELD_OUT]
        documents = [x for i, x in enumerate(documents) if i % _HELD_OUT]
        heldout = f"of {source}"
    else:
        heldout_documents = read_documents(heldout, "text_heldout")
        heldout_documents = tokenize(
            heldout_documents, llm.tokenizer, hparams["text_heldout_tokens"]
        )
    chunks = []
    if hparams["text_ratio"] > 0:
        if not documents:
            raise ValueError(
                f"text_source: '{source}' has one document alone, which is held out: "
                f"give text_heldout"
            )
        end = llm.tokenizer.eos_token_id
        unfinished = size if source == SELF else None
        chunks = chunk_documents(documents, llm.start_id, end, size, unfinished)
    return Text(chunks, heldout_documents, str(heldout))


def tokenize(documents, tokenizer, count):
    """Tokens of documents, ``count`` in all.

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
    token_lists, budget = [], count
    for document in documents:
        ids = tokenizer(document, add_special_tokens=False, verbose=False).input_ids
        ids = ids[:budget]
        if ids:
            token_lists.append(ids)
            budget -= len(ids)
        if not budget:
            break
    return token_lists


def chunk_documents(documents, start, end, size, unfinished=None):
    """Documents as sequences to be learnt from, long ones in chunks.

    Each chunk begins with the start token, as generated text does; a document's last
    chunk ends with the end token. Documents are not packed into blocks: then the start
    of a text would hardly be seen, and that is what tuning on speech changes most.

    Arguments
    ---------
    documents : list of list of int
    start : int
    end : int or None
    size : int
        L, most tokens of a chunk, besides start and end.
    unfinished : int or None
        Documents with this many tokens were cut off, and get no end.

    Returns
    -------
    list of torch.Tensor
        [2 to L + 2] int each, the shortest first.

    Example
    -------
    >>> chunk_documents([[5, 6, 7], [8]], start=1, end=2, size=2)
    [tensor([1, 5, 6]), tensor([1, 7, 2]), tensor([1, 8, 2])]
    """
    chunks = []
    for ids in documents:
        document_chunks = [ids[i : i + size] for i in range(0, len(ids), size)]
        if end is not None and len(ids) != unfinished:
            document_chunks[-1] = [*document_chunks[-1], end]
        chunks += [torch.tensor([start, *chunk]) for chunk in document_chunks]
    return sorted(chunks, key=len)


def _kept_documents(path):
    """The documents of a cache's file; None if there is none, or it is damaged."""
    if not path.is_file():
        return None
    try:
        return read_json(path, _DOCUMENTS)
    except ValueError as error:
        logger.warning("%s; it is written anew", error)
        return None


def _write(llm, count, longest, seed, cache_folder):
    """Documents that the LLM writes; the cache keeps them, batch by batch at first."""
    name = digest(llm.fingerprint, llm.dtype, count, longest, seed)
    path = pathlib.Path(cache_folder) / "text" / f"{name}.json"
    batches_folder = path.with_suffix(".parts")

    def write():
        if _kept_documents(path) is None:
            documents = sample_documents(
                llm, count, longest, seed, folder=batches_folder
            )
            with atomic_path(path) as partial:
                partial.write_text(json.dumps(documents))
        if batches_folder.is_dir():
            shutil.rmtree(batches_folder)

    run_on_main(write)
    logger.info("Text that the LLM wrote is in %s", path)
    return read_json(path, _DOCUMENTS)
