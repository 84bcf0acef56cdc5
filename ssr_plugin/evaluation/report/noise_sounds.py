"""An utterance in each noise, to be played in the report."""

import pathlib

import soundfile

from ssr_plugin.data.audio import read_audio
from ssr_plugin.evaluation.report.document import Heading, Sound
from ssr_plugin.files import atomic_path, digest


def noise_sounds(folder, noises, item, sample_rate):
    """What each noise sounds like.

    Arguments
    ---------
    folder : path-like
        Of the evaluation; ``noise/`` in it gets the recordings.
    noises : list of DistortedSet
        Of :mod:`ssr_plugin.data.distorted_set`.
    item : Item
        Whose last recording is heard: those before are examples.
    sample_rate : int
        Of the encoder, Hz.

    Returns
    -------
    list
        Blocks of :mod:`ssr_plugin.evaluation.report.document`.
    """
    wav = str(item.recordings()[-1].wav)
    blocks = [Heading("What noise sounds like"), Sound(wav, f"{item.id}, clean")]
    for noise in noises:
        name = noise.distortion.name
        file = f"{name.replace(' ', '_')}-{digest(noise.identity(), wav)}.flac"
        path = pathlib.Path(folder) / "noise" / file
        if not path.is_file():
            noise.distortion.prepare(sample_rate)
            samples = noise(wav, read_audio(wav, sample_rate), sample_rate)
            # Louder than a file can hold, it is made softer as a whole.
            samples = samples / samples.abs().max().clamp_min(1.0)
            with atomic_path(path) as partial:
                soundfile.write(partial, samples.numpy(), sample_rate, format="FLAC")
        blocks.append(Sound(str(path), f"{item.id}, {name}"))
    return blocks
