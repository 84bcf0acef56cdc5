"""Audio as aligners want it: one channel, finite samples, the model's sampling rate."""

from ssr_plugin.alignment.record import AlignmentError
from ssr_plugin.data.resampling import resample
from ssr_plugin.data.samples import AudioError, read_mono


def read_item_audio(item, sample_rate):
    """Reads an utterance's audio, mixed to one channel and resampled.

    Arguments
    ---------
    item : AlignmentItem
    sample_rate : int
        Wanted, in Hz.

    Returns
    -------
    numpy.ndarray
        [samples], float32 in -1..1.

    Raises
    ------
    AlignmentError
        If the file is missing, unreadable, empty or cut short; it names the file.
    """
    try:
        samples, rate = item.samples, item.sample_rate
        if samples is None:
            samples, rate = read_mono(item.wav, whole=True)
    except AudioError as error:
        raise AlignmentError(item.id, str(error)) from None
    return resample(samples, rate, sample_rate)
