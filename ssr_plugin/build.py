"""Makes named components for a YAML, with the sizes that encoder and LLM have.

Each function takes the ``options`` of all components of a kind, by name, and gives the
one in use its own, so that a YAML keeps the settings of several and one key swaps them.
"""

from __future__ import annotations

import inspect
import os
import pathlib
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, TypedDict, TypeVar

from ssr_plugin.problems import did_you_mean
from ssr_plugin.registry import Table, get_registry
from ssr_plugin.segmenters.base import (
    FrameSegmenter,
    HearingSegmenter,
    Segmenter,
    TrainableSegmenter,
    TranscriptSegmenter,
)
from ssr_plugin.segmenters.trained import load_segmenter, read_settings

if TYPE_CHECKING:
    from ssr_plugin.alignment.base import Aligner
    from ssr_plugin.connectors.base import Connector
    from ssr_plugin.data.datasets import DataSet
    from ssr_plugin.encoders.encoder import SpeechEncoder
    from ssr_plugin.evaluation.harness.benchmark import Benchmark
    from ssr_plugin.llm.text_llm import TextLLM
    from ssr_plugin.tts.synthesizers import Synthesizer

Made = TypeVar("Made")
#: Options by the name of their component, as a YAML gives them.
Options = Mapping[str, Mapping[str, Any] | None] | None
# What a component is given of encoder, LLM and data set; no options.
_GIVEN = {"input_size", "llm", "frame_rate", "dataset", "data_folder", "splits"}


class SegmenterPair(TypedDict):
    """The segmenter for training targets, and the one for audio alone."""

    forced: TranscriptSegmenter
    predicted: FrameSegmenter | HearingSegmenter | None


def options_of(component: Callable[..., Any]) -> dict[str, Any] | None:
    """The options that a component takes, and what they are by default.

    Arguments
    ---------
    component : callable
        A class hands what it does not name on to those it is derived from.

    Returns
    -------
    dict or None
        Default by name, ``inspect.Parameter.empty`` where there is none. None if the
        component takes anything, so that nothing can be told.

    Example
    -------
    >>> options_of(get_registry().segmenters.get("fixed"))
    {'vectors_per_second': 5.0}
    """
    calls = [component]
    if isinstance(component, type):
        scopes = [vars(each) for each in component.__mro__]
        calls = [scope["__init__"] for scope in scopes if "__init__" in scope]
        if calls == [object.__init__]:
            return {}
    options: dict[str, Any] = {}
    for call in calls:
        parameters = inspect.signature(call).parameters.values()
        for one in parameters:
            if one.kind in (one.POSITIONAL_OR_KEYWORD, one.KEYWORD_ONLY):
                options.setdefault(one.name, one.default)
        if not any(one.kind == one.VAR_KEYWORD for one in parameters):
            return {k: x for k, x in options.items() if k not in {"self", *_GIVEN}}
    return None


def check_options(
    kind: str,
    name: str,
    component: Callable[..., Any],
    options: Iterable[str],
    given: Iterable[str] = (),
) -> None:
    """Refuses an option that a component does not take.

    Arguments
    ---------
    kind : str
        What the component is, for the message.
    name : str
        The component's.
    component : callable
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
    >>> component = get_registry().segmenters.get("fixed")
    >>> check_options("segmenter", "fixed", component, ["vector_per_second"])
    Traceback (most recent call last):
        ...
    ValueError: segmenter_options: fixed: there is no option 'vector_per_second'; known:
    vectors_per_second (did you mean 'vectors_per_second'?)
    """
    known = options_of(component)
    if known is None:
        return
    names = [key for key in known if key not in given]
    for key in options:
        if key not in names:
            raise ValueError(
                f"{options_key(kind)}: {name}: there is no option '{key}'; known: "
                f"{', '.join(names) or 'none'}{did_you_mean(key, names)}"
            )


def check_required(
    kind: str,
    name: str,
    component: Callable[..., Any],
    options: Mapping[str, Any],
    given: Iterable[str] = (),
) -> None:
    """Refuses a component that lacks an option without a default.

    Arguments
    ---------
    kind, name, component, given
        Of :func:`check_options`.
    options : dict
        Name -> value; None stands for nothing.

    Raises
    ------
    ValueError
        Names the option.

    Example
    -------
    >>> ctc = get_registry().aligners.get("ctc")
    >>> check_required("aligner", "ctc", ctc, {"source": None})
    Traceback (most recent call last):
        ...
    ValueError: aligner 'ctc' needs the option 'source' (aligner_options.ctc.source)
    """
    for key, default in (options_of(component) or {}).items():
        lacks = default is inspect.Parameter.empty and key not in given
        if lacks and options.get(key) is None:
            raise ValueError(
                f"{kind} '{name}' needs the option '{key}' "
                f"({options_key(kind)}.{name}.{key})"
            )


def options_key(kind: str) -> str:
    """The key of a YAML that has the options of a kind of component.

    Example
    -------
    >>> options_key("data set")
    'dataset_options'
    """
    return f"{kind.replace(' ', '')}_options"


def _make(table: Table[Made], name: str, options: Options, **arguments: Any) -> Made:
    component = table.get(name)
    chosen = (options or {}).get(name) or {}
    check_options(table.kind, name, component, chosen, arguments)
    check_required(table.kind, name, component, chosen, arguments)
    try:
        made = component(**arguments, **chosen)
    except TypeError as error:
        # An option that a component of an extension hands on to what does not take it.
        if "unexpected keyword argument" not in str(error):
            raise
        raise ValueError(
            f"{options_key(table.kind)}: {name}: {error}; given: {', '.join(chosen)}"
        ) from error
    if not isinstance(made, table.base):
        raise ValueError(
            f"{table.kind} '{name}' gives {type(made).__name__}, which is no "
            f"{table.base.__name__}"
        )
    return made


def aligner(name: str, options: Options = None) -> Aligner:
    """The aligner of that name.

    Example
    -------
    >>> aligner("pocketsphinx").name
    'pocketsphinx'
    """
    return _make(get_registry().aligners, name, options)


def dataset(
    name: str, data_folder: str | os.PathLike[str], options: Options = None
) -> DataSet:
    """The data set of that name.

    Arguments
    ---------
    name : str
    data_folder : path-like
        Where it lies; of some, a name.
    options : dict
        Of each data set, by name.

    Returns
    -------
    ssr_plugin.data.datasets.DataSet

    Example
    -------
    >>> folder = getfixture("tmp_path")
    >>> _ = (folder / "train.csv").write_text("wav,said\\na.wav,good morning\\n")
    >>> dataset("csv", folder, {"csv": {"columns": {"text": "said"}}}).splits()
    ['train']
    """
    return _make(get_registry().datasets, name, options, data_folder=data_folder)


def segmenter(
    name: str, encoder: SpeechEncoder, llm: TextLLM, options: Options = None
) -> Segmenter:
    """The segmenter of that name, for an encoder's frames and an LLM's tokenizer.

    Arguments
    ---------
    name : str
    encoder : ssr_plugin.encoders.encoder.SpeechEncoder
    llm : ssr_plugin.llm.text_llm.TextLLM
    options : dict
        Of each segmenter, by name.

    Returns
    -------
    ssr_plugin.segmenters.base.Segmenter
    """
    made = _make(
        get_registry().segmenters,
        name,
        options,
        input_size=encoder.width,
        llm=llm,
        frame_rate=encoder.frame_rate,
    )
    made.use_encoder(encoder)
    return made


def is_trainable(name: str) -> bool:
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
    return table.makes(name, TrainableSegmenter)


def is_trained_folder(name: str | os.PathLike[str]) -> bool:
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
    if is_trainable(str(name)):
        raise ValueError(
            f"segmenter '{name}' must be trained first (hparams/segmenter.yaml "
            f"--segmenter {name}); then give the folder of that run here"
        )
    table.get(str(name))
    return False


def segmenters(
    name: str | os.PathLike[str],
    encoder: SpeechEncoder,
    llm: TextLLM,
    options: Options = None,
) -> SegmenterPair:
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
        frames, or listens to audio; None where ``name`` is that of a forced one.

    Raises
    ------
    ValueError
        If it is neither a name nor such a folder, or the name of one that must be
        trained first, or one that is trained but cannot do without a transcript.
    """
    chosen: Segmenter
    if is_trained_folder(name):
        chosen = load_segmenter(name, encoder, llm)
    else:
        chosen = segmenter(str(name), encoder, llm, options)
    if isinstance(chosen, TranscriptSegmenter):
        return {"forced": chosen, "predicted": None}
    if not isinstance(chosen, FrameSegmenter | HearingSegmenter):
        raise ValueError(
            f"segmenter: {type(chosen).__name__} needs a transcript, and cannot cut "
            f"audio alone: use it as an aligner (aligner: trained, with the "
            f"segmenter's folder as its source)"
        )
    forced = segmenter("forced", encoder, llm, options)
    assert isinstance(forced, TranscriptSegmenter)
    return {"forced": forced, "predicted": chosen}


def connector(
    name: str, encoder: SpeechEncoder, llm: TextLLM, options: Options = None
) -> Connector:
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
    ssr_plugin.connectors.base.Connector
    """
    return _make(
        get_registry().connectors, name, options, input_size=encoder.width, llm=llm
    )


def benchmark(name: str, options: Options = None, **arguments: Any) -> Benchmark:
    """The benchmark of that name.

    Arguments
    ---------
    name : str
    options : dict
        Of each benchmark, by name.
    **arguments
        What is not the user's to say.

    Returns
    -------
    ssr_plugin.evaluation.harness.benchmark.Benchmark
    """
    return _make(get_registry().benchmarks, name, options, **arguments)


def synthesizer(name: str, options: Mapping[str, Any] | None = None) -> Synthesizer:
    """The synthesiser of speech of that name.

    Arguments
    ---------
    name : str
    options : dict
        Of that synthesiser.

    Returns
    -------
    ssr_plugin.tts.synthesizers.Synthesizer
    """
    return _make(get_registry().synthesizers, name, {name: options})
