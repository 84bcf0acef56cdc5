"""Makes named parts for a YAML, with the sizes and ids that encoder and LLM have.

Each function takes the ``options`` of all parts of a kind, by name, and gives the part
in use its own, so that a YAML keeps the settings of several and one key swaps them.
"""

import pathlib

from ssr_plugin.registry import get_registry
from ssr_plugin.segmenters.trained import load_segmenter


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
    encoder : ssr_plugin.encoders.encoder.SpeechEncoder
    llm : ssr_plugin.llm.text_llm.TextLLM
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


def segmenters(name, encoder, llm, options=None):
    """The segmenter that makes a connector's targets, and the one to do without text.

    Arguments
    ---------
    name : str
        Of a segmenter, or the folder of a trained one (``hparams/segmenter.yaml``).
    encoder : ssr_plugin.encoders.encoder.SpeechEncoder
    llm : ssr_plugin.llm.text_llm.TextLLM
    options : dict
        Of each segmenter, by name.

    Returns
    -------
    dict
        "forced": a segmenter that reads the transcript. "predicted": one that reads
        frames alone; None where ``name`` is that of a forced one.

    Raises
    ------
    ValueError
        If it is neither a name nor such a folder, or the name of one that must be
        trained first.
    """
    table = get_registry().segmenters
    if pathlib.Path(name).is_dir():
        predicted = load_segmenter(name, encoder, llm)
    elif "/" in str(name):
        raise ValueError(
            f"segmenter: there is no folder '{name}': train one with "
            f"hparams/segmenter.yaml, or give one of {', '.join(table.names())}"
        )
    elif getattr(table.get(name), "trained", False):
        raise ValueError(
            f"segmenter '{name}' must be trained first (hparams/segmenter.yaml "
            f"--segmenter {name}); then give the folder of that run here"
        )
    else:
        predicted = segmenter(name, encoder, llm, options)
        if predicted.forced:
            return {"forced": predicted, "predicted": None}
    return {
        "forced": segmenter("forced", encoder, llm, options),
        "predicted": predicted,
    }


def connector(name, encoder, llm, options=None):
    """The connector of that name, from an encoder's frames to an LLM's embeddings.

    Arguments
    ---------
    name : str
    encoder : ssr_plugin.encoders.encoder.SpeechEncoder
    llm : ssr_plugin.llm.text_llm.TextLLM
    options : dict
        Of each connector, by name.

    Returns
    -------
    torch.nn.Module
    """
    return _make(
        get_registry().connectors, name, options, input_size=encoder.width, llm=llm
    )


def task(name, options=None, **given):
    """The evaluation task of that name.

    Arguments
    ---------
    name : str
    options : dict
        Of each task, by name.
    **given
        What is not the user's to say.

    Returns
    -------
    ssr_plugin.evaluation.harness.benchmark.Task
    """
    return _make(get_registry().tasks, name, options, **given)


def synthesizer(name, options=None):
    """The synthesiser of speech of that name.

    Arguments
    ---------
    name : str
    options : dict
        Its own.

    Returns
    -------
    ssr_plugin.tts.synthesizers.CommandSynthesizer
    """
    return _make(get_registry().synthesizers, name, {name: options})
