"""Makes named parts for a YAML, with the sizes and ids that encoder and LLM have.

Each function takes the ``options`` of all parts of a kind, by name, and gives the part
in use its own, so that a YAML keeps the settings of several and one key swaps them.
"""

import inspect
import pathlib

from ssr_plugin.problems import did_you_mean
from ssr_plugin.registry import get_registry
from ssr_plugin.segmenters.trained import load_segmenter, read_settings

# What a part is given of encoder, LLM and data set; no options.
_GIVEN = {"input_size", "llm", "tokenizer", "frame_rate", "dataset", "splits"}


def options_of(part):
    """The options that a part takes, and what they are by default.

    Arguments
    ---------
    part : callable
        A class hands what it does not name on to those it is derived from.

    Returns
    -------
    dict or None
        Default by name, ``inspect.Parameter.empty`` where there is none. None if the
        part takes anything, so that nothing can be told.

    Example
    -------
    >>> options_of(get_registry().segmenters.get("fixed"))
    {'vectors_per_second': 5.0}
    """
    calls = [part]
    if inspect.isclass(part):
        if part.__init__ is object.__init__:
            return {}
        calls = [vars(c)["__init__"] for c in part.__mro__ if "__init__" in vars(c)]
    found = {}
    for call in calls:
        parameters = inspect.signature(call).parameters.values()
        for one in parameters:
            if one.kind in (one.POSITIONAL_OR_KEYWORD, one.KEYWORD_ONLY):
                found.setdefault(one.name, one.default)
        if not any(one.kind == one.VAR_KEYWORD for one in parameters):
            return {k: x for k, x in found.items() if k not in {"self", *_GIVEN}}
    return None


def check_options(kind, name, part, options, given=()):
    """Refuses an option that a part does not take.

    Arguments
    ---------
    kind : str
        What the part is, for the message.
    name : str
        The part's.
    part : callable
    options : iterable of str
        Their names.
    given : iterable of str
        Names of what is not the user's to say.

    Raises
    ------
    ValueError
        Names the option and the known ones.

    Example
    -------
    >>> part = get_registry().segmenters.get("fixed")
    >>> check_options("segmenter", "fixed", part, ["vector_per_second"])
    Traceback (most recent call last):
        ...
    ValueError: segmenter_options: fixed: there is no option 'vector_per_second'; known:
    vectors_per_second (did you mean 'vectors_per_second'?)
    """
    known = options_of(part)
    if known is None:
        return
    known = [key for key in known if key not in given]
    for key in options:
        if key not in known:
            raise ValueError(
                f"{kind}_options: {name}: there is no option '{key}'; known: "
                f"{', '.join(known) or 'none'}{did_you_mean(key, known)}"
            )


def _make(table, name, options, **given):
    part = table.get(name)
    own = (options or {}).get(name) or {}
    check_options(table.kind, name, part, own, given)
    try:
        return part(**given, **own)
    except TypeError as error:
        # An option that a part of an extension hands on to what does not take it.
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


def is_trainable(name):
    """Whether a segmenter is named that must be trained before it is of use.

    Arguments
    ---------
    name : str
        Of a segmenter, or the folder of a trained one.

    Returns
    -------
    bool

    Example
    -------
    >>> is_trainable("subword_ctc"), is_trainable("fixed"), is_trainable("results/x")
    (True, False, False)
    """
    table = get_registry().segmenters
    if name not in table.names() or pathlib.Path(name).is_dir():
        return False
    return getattr(table.get(name), "trained", False)


def is_trained_folder(name):
    """Whether a segmenter is named by the folder of a trained one.

    Arguments
    ---------
    name : str

    Returns
    -------
    bool

    Raises
    ------
    ValueError
        If there is no such folder, or no trained segmenter in it, or it is the name of
        one that must be trained first.

    Example
    -------
    >>> is_trained_folder("forced")
    False
    """
    table = get_registry().segmenters
    if pathlib.Path(name).is_dir():
        read_settings(name)
        return True
    if "/" in str(name):
        raise ValueError(
            f"segmenter: there is no folder '{name}': train one with "
            f"hparams/segmenter.yaml, or give one of "
            f"{', '.join(table.names())}"
        )
    if is_trainable(name):
        raise ValueError(
            f"segmenter '{name}' must be trained first (hparams/segmenter.yaml "
            f"--segmenter {name}); then give the folder of that run here"
        )
    return False


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
    if is_trained_folder(name):
        predicted = load_segmenter(name, encoder, llm)
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
