"""What is heard in the spoken parts of items: each recording is read once."""

import dataclasses

from ssr_plugin.alignment.base import AlignmentItem
from ssr_plugin.data.audio import read_audio
from ssr_plugin.evaluation.harness.conditions import SEGMENTS


def align_parts(items, align, problems):
    """The alignment of each part that is heard.

    Arguments
    ---------
    items : list of Item or Prompt
    align : callable
        As :meth:`ssr_plugin.evaluation.harness.benchmark.Task.items` is given it.
    problems : ssr_plugin.problems.Problems
        Where items are noted that have a part without alignment.

    Returns
    -------
    dict
        By part; a part that several items share is aligned once.
    """
    found, names = {}, {}
    for item in items:
        for place, part in enumerate(map(_sounds, item.heard())):
            if part.alignment is not None:
                found[part] = part.alignment
            else:
                names.setdefault(part, f"{item.id}/{place}")
    if names:
        rows = [AlignmentItem(name, x.wav, x.text) for x, name in names.items()]
        made = align(rows)
        found |= {part: made[name] for part, name in names.items() if name in made}
    for item in items:
        if not all(part in found for part in map(_sounds, item.heard())):
            problems.add(item.id, "a spoken part has no alignment")
    return found


def hear_parts(lm, items, columns, alignments, problems):
    """What a model hears in the spoken parts of some items.

    Arguments
    ---------
    lm : ssr_plugin.inference.speech_lm.SpeechLM
    items : list of Item or Prompt
    columns : list of str
        For which it is heard.
    alignments : dict
        Of :func:`align_parts`; used where a column is forced.
    problems : ssr_plugin.problems.Problems
        Where items are noted of which a part cannot be heard.

    Returns
    -------
    dict
        By "predicted" and "forced", as the columns need them: by item's id a list of
        Speech, one of each of :meth:`Item.heard`. Encoded once, whatever is needed.
    """
    needed = {SEGMENTS[column] for column in columns if column in SEGMENTS}
    ways = [way for way in ("predicted", "forced") if way in needed]
    if not ways:
        return {}
    parts = list(dict.fromkeys(_sounds(x) for item in items for x in item.heard()))
    cuts = [
        [alignments[part] if way == "forced" else None for way in ways]
        for part in parts
    ]
    found = dict(zip(parts, _embed(lm, parts, cuts), strict=True)) if parts else {}
    heard = {way: {} for way in ways}
    for item in items:
        own = [found[_sounds(part)] for part in item.heard()]
        wrong = [speech for speech in own if isinstance(speech, ValueError)]
        if wrong:
            problems.add(item.id, wrong[0])
            continue
        for place, way in enumerate(ways):
            heard[way][item.id] = [speech[place] for speech in own]
    return heard


def _sounds(part):
    """A part without what does not sound."""
    return dataclasses.replace(part, written=None)


def _embed(lm, parts, cuts):
    """Each part in all its cuts, or the error that there was."""
    try:
        return lm.embed_cuts([read_part(lm, part) for part in parts], cuts)
    except ValueError as error:
        if len(parts) == 1:
            return [error]
    # One bad part never breaks the others.
    return [_embed(lm, [part], [own])[0] for part, own in zip(parts, cuts, strict=True)]


def read_part(lm, part):
    """The audio of a part of an item.

    Arguments
    ---------
    lm : ssr_plugin.inference.speech_lm.SpeechLM
    part : Spoken

    Returns
    -------
    samples : torch.Tensor
        [S] float32, as much as is to be heard.
    rate : int
        That of the encoder, Hz.
    """
    rate = lm.encoder.sample_rate
    samples = read_audio(part.wav, rate)
    if part.seconds is not None:
        samples = samples[: round(part.seconds * rate)]
    return samples, rate
