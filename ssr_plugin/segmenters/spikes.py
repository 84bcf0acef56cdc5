"""From a label at every frame to the runs that mean something. Pure functions."""

import torch


def runs_of_labels(labels, blank=0):
    """The runs of equal labels that are no blank.

    Arguments
    ---------
    labels : torch.Tensor
        [T] int
    blank : int

    Returns
    -------
    labels, first, last : list of int
        Of each run: its label, and its first and last index.

    Example
    -------
    >>> runs_of_labels(torch.tensor([0, 2, 2, 0, 2, 3]))
    ([2, 2, 3], [1, 4, 5], [2, 4, 5])
    """
    values, counts = torch.unique_consecutive(labels, return_counts=True)
    last = counts.cumsum(0) - 1
    kept = values != blank
    runs = values[kept], (last - counts + 1)[kept], last[kept]
    return tuple(run.tolist() for run in runs)


def not_repeated(tokens, tokenizer):
    """Which tokens do not repeat the end of the token before them.

    Where a model wavers between two ways to cut a word, it may tell both: "burning",
    then "ning".

    Arguments
    ---------
    tokens : list of int
    tokenizer : transformers.PreTrainedTokenizerBase

    Returns
    -------
    list of bool
        False for a token of two letters or more that goes on with a word, and with
        which the last longer one ends.

    Example
    -------
    >>> from transformers import AutoTokenizer
    >>> tokenizer = AutoTokenizer.from_pretrained("recipes/sample/llm")
    >>> words = ["\u2581nations", "ations", "\u2581an"]
    >>> tokens = tokenizer.convert_tokens_to_ids(words)
    >>> not_repeated(tokens, tokenizer)
    [True, False, True]
    """
    texts = [tokenizer.decode([token]) for token in tokens]
    kept, last = [], None
    for index, text in enumerate(texts):
        repeats = (
            last is not None
            and 1 < len(text) < len(texts[last].strip())
            and texts[last].endswith(text)
            # No blank between: the decoder knows how its tokens tell words apart.
            and tokenizer.decode([tokens[last], tokens[index]]) == texts[last] + text
        )
        kept.append(not repeats)
        last = last if repeats else index
    return kept


def peaks(probabilities, threshold, min_distance):
    """The indices of the highest probabilities, the likeliest first, none too near.

    Arguments
    ---------
    probabilities : torch.Tensor
        [T]
    threshold : float
        Least probability.
    min_distance : int
        Least distance of two of them.

    Returns
    -------
    list of int
        In order.

    Example
    -------
    >>> peaks(torch.tensor([0.1, 0.8, 0.9, 0.1, 0.7]), 0.5, 2)
    [2, 4]
    """
    indices = torch.nonzero(probabilities >= threshold).squeeze(1)
    order = probabilities[indices].argsort(descending=True, stable=True)
    taken = torch.zeros(len(probabilities), dtype=torch.bool)
    chosen = []
    for index in indices[order].tolist():
        if not taken[index]:
            chosen.append(index)
            taken[max(index - min_distance + 1, 0) : index + min_distance] = True
    return sorted(chosen)
