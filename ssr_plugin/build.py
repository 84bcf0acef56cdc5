"""Makes named parts for a YAML, with the sizes and ids that encoder and LLM have.

Each function takes the ``options`` of all parts of a kind, by name, and gives the part
in use its own, so that a YAML keeps the settings of several and one key swaps them.
"""

from ssr_plugin.registry import get_registry


def _make(table, name, options, **given):
    part = table.get(name)
    own = (options or {}).get(name) or {}
    try:
        return part(**given, **own)
    except TypeError as error:
        # A misspelt option, told apart from a fault inside the part.
        if "unexpected keyword argument" not in str(error):
            raise
        raise ValueError(
            f"{table.kind}_options: {name}: {error}; given: {', '.join(own)}"
        ) from error


def aligner(name, options=None):
    """The aligner of that name.

    Example
    -------
    >>> aligner("pocketsphinx").name
    'pocketsphinx'
    """
    return _make(get_registry().aligners, name, options)


def segmenter(name, encoder, llm, options=None):
    """The segmenter of that name, for an encoder's frame rate and an LLM's tokenizer.

    Arguments
    ---------
    name : str
    encoder : ssr_plugin.models.encoder.SpeechEncoder
    llm : ssr_plugin.models.llm.TextLLM
    options : dict
        Of each segmenter, by name.

    Returns
    -------
    torch.nn.Module
    """
    table = get_registry().segmenters
    given = {"frame_rate": encoder.frame_rate}
    if getattr(table.get(name), "trained", False):
        given |= {"input_size": encoder.width, "llm": llm}
    else:
        given |= {"tokenizer": llm.tokenizer}
    return _make(table, name, options, **given)


def connector(name, encoder, llm, options=None):
    """The connector of that name, from an encoder's frames to an LLM's embeddings.

    Arguments
    ---------
    name : str
    encoder : ssr_plugin.models.encoder.SpeechEncoder
    llm : ssr_plugin.models.llm.TextLLM
    options : dict
        Of each connector, by name.

    Returns
    -------
    torch.nn.Module
    """
    return _make(
        get_registry().connectors, name, options, input_size=encoder.width, llm=llm
    )
