"""What a job's language says of its other keys: which aligner, and whose times."""

from __future__ import annotations

from typing import Any

from ssr_plugin.hparams import Job
from ssr_plugin.languages import AUTO, first_language, is_english

#: The aligner of English, which needs no model to be trained or fetched.
ENGLISH_ALIGNER = "pocketsphinx"
# In place of an aligner's name, in the segmenter "asr": the recogniser's own times.
_OWN_TIMES = "own"


def with_language(job: Job, said: str | None = None) -> Job:
    """A job whose language is said, and what follows from English.

    ``language`` is the YAML's; where that is null, the data set's; or else English. Of
    English ``aligner: auto`` is pocketsphinx. So are ``times: auto`` of the segmenter
    ``asr``; of other languages they are the recogniser's own.

    Arguments
    ---------
    job : ssr_plugin.hparams.Job
        Of a YAML with the key ``language``; another is left as it is.
    said : str or None
        What the data set says that it is.

    Returns
    -------
    ssr_plugin.hparams.Job

    Raises
    ------
    ValueError
        If that is no language, or pocketsphinx is named for another than English.

    Example
    -------
    >>> from ssr_plugin.hparams import make_job
    >>> job = make_job("hparams/distill.yaml", {})
    >>> settings = with_language(job).settings
    >>> settings["language"], settings["aligner"]
    ('en', 'pocketsphinx')
    >>> settings = with_language(job, "de").settings
    >>> settings["language"], settings["aligner"]
    ('de', 'auto')
    """
    if "language" not in job.settings:
        return job
    language = first_language(job.settings["language"], said)
    changes: dict[str, Any] = {"language": language}
    aligner = job.settings["aligner"]
    if is_english(language):
        if aligner == AUTO:
            changes["aligner"] = ENGLISH_ALIGNER
    else:
        check_aligner(aligner, language)
    job = job.with_more(changes)
    heard = (job.settings.get("segmenter_options") or {}).get("asr") or {}
    if job.settings.get("segmenter") == "asr" and heard.get("times") == AUTO:
        times = times_of(heard.get("language"))
        job = job.with_more({"segmenter_options": {"asr": {"times": times}}})
    return job


def times_of(language: str | None) -> str:
    """Whose times a recogniser's words have, where that is left to the language.

    Arguments
    ---------
    language : str or None
        BCP-47 code; None where the recogniser finds out.

    Returns
    -------
    str
        As ``times`` of :class:`ssr_plugin.segmenters.asr.ASRSegmenter`.

    Example
    -------
    >>> times_of("en"), times_of("de"), times_of(None)
    ('pocketsphinx', 'own', 'own')
    """
    english = language is not None and is_english(language)
    return ENGLISH_ALIGNER if english else _OWN_TIMES


def check_aligner(name: str, language: str) -> None:
    """Refuses the aligner of English for another language.

    Arguments
    ---------
    name : str
        Of an aligner.
    language : str
        BCP-47 code.

    Raises
    ------
    ValueError

    Example
    -------
    >>> check_aligner("pocketsphinx", "fr")
    Traceback (most recent call last):
        ...
    ValueError: aligner: pocketsphinx knows English alone, and the language is 'fr': ...
    """
    if name == ENGLISH_ALIGNER and not is_english(language):
        raise ValueError(
            f"aligner: {ENGLISH_ALIGNER} knows English alone, and the language is "
            f"'{language}': take auto (one is trained first, from the transcripts), "
            f"ctc with a model of that language, or files that were aligned elsewhere"
        )
