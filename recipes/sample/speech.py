"""Speech from two synthesisers of Debian, flite and espeak-ng, with what they know.

Both are called through their C libraries, since only these tell when each word and each
phone is spoken. Their times are exact: nothing is aligned afterwards.
"""

import ctypes
import dataclasses
import fractions
import functools
import re

import numpy as np
from scipy.signal import resample_poly

SAMPLE_RATE = 16000

_PHONE_LINE = (
    "aa ae ah ao aw ax ay b ch d dh eh er ey f g hh ih iy jh k l m n ng ow oy p r s "
    "sh t th uh uw v w y z zh"
)
#: The phones of both synthesisers, in flite's (CMU) names.
PHONES = tuple(_PHONE_LINE.split())

#: espeak-ng's names for them, after dropping its marks for stress and variants.
_ESPEAK_PHONES = {
    **{phone: phone for phone in "bdfgklmnprstvwz"},
    **{"tS": "ch", "dZ": "jh", "S": "sh", "Z": "zh", "T": "th", "D": "dh", "N": "ng"},
    **{"j": "y", "h": "hh", "r-": "r", "t#": "t", "t2": "t", ";": "y"},
    **{"eI": "ey", "aI": "ay", "OI": "oy", "aU": "aw", "oU": "ow", "@U": "ow"},
    **{"i:": "iy", "i": "iy", "I": "ih", "I2": "ih", "I#": "ih", "E": "eh", "E2": "eh"},
    **{"a": "ae", "aa": "ae", "a#": "ax", "A:": "aa", "A@": "aa", "A": "aa"},
    **{
        "0": "aa",
        "02": "aa",
        "O2": "aa",
        "0#": "aa",
        "O:": "ao",
        "O@": "ao",
        "O": "ao",
    },
    **{"o@": "ao", "V": "ah", "U": "uh", "U@": "uh", "u:": "uw", "u": "uw"},
    **{
        "@": "ax",
        "@2": "ax",
        "@5": "ax",
        "@-": "ax",
        "3": "er",
        "3:": "er",
        "VR": "er",
    },
    **{"e@": "eh", "i@": "ih", "i@3": "ih", "I@": "ih", "aI@": "ay", "aI3": "ay"},
    **{
        "aU@": "aw",
        "aI2": "ay",
        "IR": "er",
        "@L": "l",
        "n-": "n",
        "m-": "m",
        "w#": "w",
    },
}


@dataclasses.dataclass(frozen=True)
class Voice:
    """One way to speak.

    Arguments
    ---------
    engine : str
        "flite" or "espeak".
    name : str
        The engine's name for the voice ("rms", "en-us+f2").
    rate : float
        Speed as a factor of the engine's own (about 175 words a minute).
    pitch : float
        Pitch as a factor of the voice's own.
    size : float
        Factor on all frequencies, formants included, as a smaller (> 1) or larger
        (< 1) speaker would have them. Speed is kept.
    """

    engine: str
    name: str
    rate: float = 1.0
    pitch: float = 1.0
    size: float = 1.0


@dataclasses.dataclass(frozen=True)
class Spoken:
    """One sentence as samples at 16 kHz, with its words and phones.

    Arguments
    ---------
    samples : numpy.ndarray
        [S], float.
    words, phones : list of tuple
        (name, start, end) in seconds. A phone's name is None where the two engines
        have no name in common for it.
    """

    samples: np.ndarray
    words: list
    phones: list


def speak(text, voice):
    """Speaks one sentence, without silence before or after it.

    Arguments
    ---------
    text : str
        Words in lower case between single blanks.
    voice : Voice
        Who speaks.

    Returns
    -------
    Spoken
        The sentence.

    Raises
    ------
    ValueError
        If the engine speaks other words than those of the text.
    """
    engine = {"flite": _flite, "espeak": _espeak}[voice.engine]
    # Playing faster by `size` shifts all frequencies; the engine slows down for it.
    rate, samples, words, phones = engine(
        text, voice.name, voice.rate / voice.size, voice.pitch / voice.size
    )
    if len(words) != len(text.split()):
        raise ValueError(f"{voice} spoke {words} for '{text}'")
    # flite names homographs by their sound: "red" for "read".
    words = [(w, *times) for w, (_, *times) in zip(text.split(), words, strict=True)]
    played = rate * voice.size
    ratio = fractions.Fraction(SAMPLE_RATE / played).limit_denominator(400)
    samples = resample_poly(samples / 32768.0, ratio.numerator, ratio.denominator)
    scale = rate * float(ratio) / SAMPLE_RATE
    first, last = words[0][1] * scale, words[-1][2] * scale
    start = max(0, round((first - 0.02) * SAMPLE_RATE))
    samples = samples[start : round((last + 0.03) * SAMPLE_RATE)].astype(np.float32)

    def moved(spans):
        shift = start / SAMPLE_RATE
        return [(n, s * scale - shift, e * scale - shift) for n, s, e in spans]

    return Spoken(samples, moved(words), moved(phones))


# --------------------------------------------------------------------------- flite


class _Wave(ctypes.Structure):
    _fields_ = [
        ("type", ctypes.c_char_p),
        ("sample_rate", ctypes.c_int),
        ("num_samples", ctypes.c_int),
        ("num_channels", ctypes.c_int),
        ("samples", ctypes.POINTER(ctypes.c_short)),
    ]


class _VoiceHead(ctypes.Structure):
    _fields_ = [("name", ctypes.c_char_p), ("features", ctypes.c_void_p)]


@functools.cache
def _flite_library():
    library = ctypes.CDLL("libflite.so.1", mode=ctypes.RTLD_GLOBAL)
    for needed in ("libflite_cmulex.so.1", "libflite_usenglish.so.1"):
        ctypes.CDLL(needed, mode=ctypes.RTLD_GLOBAL)
    pointer, text, number = ctypes.c_void_p, ctypes.c_char_p, ctypes.c_float
    for name, result, *arguments in (
        ("flite_synth_text", pointer, text, pointer),
        ("utt_relation", pointer, pointer, text),
        ("utt_wave", ctypes.POINTER(_Wave), pointer),
        ("delete_utterance", None, pointer),
        ("relation_head", pointer, pointer),
        ("item_next", pointer, pointer),
        ("item_prev", pointer, pointer),
        ("item_daughter", pointer, pointer),
        ("item_as", pointer, pointer, text),
        ("item_feat_string", text, pointer, text),
        ("item_feat_float", number, pointer, text),
        ("feat_set_float", None, pointer, text, number),
    ):
        function = getattr(library, name)
        function.restype, function.argtypes = result, arguments
    library.flite_init()
    return library


@functools.cache
def _flite_voice(name):
    library = _flite_library()
    register = getattr(
        ctypes.CDLL(f"libflite_cmu_us_{name}.so.1"), f"register_cmu_us_{name}"
    )
    register.restype, register.argtypes = ctypes.c_void_p, [ctypes.c_void_p]
    return library, register(None)


def _flite(text, name, rate, pitch):
    library, voice = _flite_voice(name)
    features = ctypes.cast(voice, ctypes.POINTER(_VoiceHead)).contents.features
    library.feat_set_float(features, b"duration_stretch", 1 / rate)
    library.feat_set_float(features, b"f0_shift", pitch)
    utterance = library.flite_synth_text(text.encode(), voice)

    def items(item):
        while item:
            yield item
            item = library.item_next(item)

    def span(segment):
        before = library.item_prev(segment)
        start = library.item_feat_float(before, b"end") if before else 0.0
        return start, library.item_feat_float(segment, b"end")

    words, phones = [], []
    for word in items(library.relation_head(library.utt_relation(utterance, b"Word"))):
        segments = [
            library.item_as(segment, b"Segment")
            for syllable in items(
                library.item_daughter(library.item_as(word, b"SylStructure"))
            )
            for segment in items(library.item_daughter(syllable))
        ]
        spans = [span(segment) for segment in segments]
        said = library.item_feat_string(word, b"name").decode()
        words.append((said, spans[0][0], spans[-1][1]))
        for segment, times in zip(segments, spans, strict=True):
            phone = library.item_feat_string(segment, b"name").decode()
            phones.append((phone if phone in PHONES else None, *times))
    wave = library.utt_wave(utterance).contents
    sample_rate = wave.sample_rate
    samples = np.ctypeslib.as_array(wave.samples, (wave.num_samples,)).astype(float)
    library.delete_utterance(utterance)
    return sample_rate, samples, words, phones


# ----------------------------------------------------------------------- espeak-ng


class _EventId(ctypes.Union):
    _fields_ = [("number", ctypes.c_int), ("string", ctypes.c_char * 8)]


class _Event(ctypes.Structure):
    _fields_ = [
        ("type", ctypes.c_int),
        ("unique_identifier", ctypes.c_uint),
        ("text_position", ctypes.c_int),
        ("length", ctypes.c_int),
        ("audio_position", ctypes.c_int),
        ("sample", ctypes.c_int),
        ("user_data", ctypes.c_void_p),
        ("id", _EventId),
    ]


_Callback = ctypes.CFUNCTYPE(
    ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.POINTER(_Event)
)
_WORD, _PHONEME = 1, 7
_RATE, _PITCH = 1, 3

#: Words that espeak-ng may join to the word before ("of the", "out of"), without an
#: event of their own, and how many phones at the end of the pair are theirs.
_JOINED = {"the": 2, "of": 2, "a": 1}


@functools.cache
def _espeak_library():
    library = ctypes.CDLL("libespeak-ng.so.1")
    # 2: synchronous retrieval of samples; 1: phoneme events too.
    rate = library.espeak_Initialize(2, 0, None, 1)
    heard = {"samples": [], "events": []}

    @_Callback
    def callback(samples, count, events):
        if samples and count > 0:
            heard["samples"].append(
                np.ctypeslib.as_array(samples, (count,)).astype(float)
            )
        i = 0
        while events[i].type:
            event = events[i]
            if event.type in (_WORD, _PHONEME):
                name = event.id.string.decode("utf-8", "replace")
                place = event.text_position - 1
                heard["events"].append((event.type, event.sample, place, name))
            i += 1
        return 0

    library.espeak_SetSynthCallback(callback)
    return library, rate, heard, callback


def _espeak(text, name, rate, pitch):
    sample_rate, samples, events = espeak_events(text, name, rate, pitch)
    return sample_rate, samples, *_espeak_spans(text, events, sample_rate)


def espeak_events(text, name, rate=1.0, pitch=1.0):
    """Speech of espeak-ng in any of its languages, and when words and phones begin.

    Arguments
    ---------
    text : str
    name : str
        A voice, as "de" or "cmn+f2".
    rate, pitch : float
        Of its usual ones.

    Returns
    -------
    sample_rate : int
        Hz
    samples : numpy.ndarray
        [S], of 16 bits.
    events : list of (int, int, int, str)
        Kind (1: a word, 7: a phone, or a pause, whose name begins with "_"), sample,
        index in the text of the word's first character, and the phone's name.
    """
    library, sample_rate, heard, _ = _espeak_library()
    heard["samples"], heard["events"] = [], []
    if library.espeak_SetVoiceByName(name.encode()):
        raise ValueError(f"espeak-ng has no voice '{name}'")
    library.espeak_SetParameter(_RATE, round(175 * rate), 0)
    # espeak's pitch of 0..100 spans about two octaves around 50.
    library.espeak_SetParameter(
        _PITCH, int(np.clip(50 + 50 * np.log2(pitch), 0, 99)), 0
    )
    data = text.encode() + b"\0"
    library.espeak_Synth(data, len(data), 0, 1, 0, 1, None, None)
    return sample_rate, np.concatenate(heard["samples"]), heard["events"]


def _espeak_spans(text, events, sample_rate):
    """Words and phones of the events, each of which has a start only."""
    phones, owners, place = [], [], None
    for i, (kind, sample, position, name) in enumerate(events):
        if kind == _WORD:
            place = position
            continue
        end = next((e[1] for e in events[i + 1 :] if e[0] == _PHONEME), None)
        known = re.sub(r"[',%=_|]", "", name)
        if place is None or end is None or not known or name.startswith("_"):
            continue
        phones.append((known, sample / sample_rate, end / sample_rate))
        owners.append(place)
    words, offset = [], 0
    starts = {}
    for word in text.split():
        starts[offset] = word
        offset += len(word) + 1
    for position in sorted(starts):
        run = [p for p, o in zip(phones, owners, strict=True) if o == position]
        if run:
            words.append([starts[position], run])
        elif starts[position] in _JOINED and words and len(words[-1][1]) > 2:
            pair, tail = words[-1][1], _JOINED[starts[position]]
            words[-1][1] = pair[:-tail]
            words.append([starts[position], pair[-tail:]])
        else:
            raise ValueError(f"espeak-ng left out '{starts[position]}' in '{text}'")
    return (
        [(word, run[0][1], run[-1][2]) for word, run in words],
        [(_ESPEAK_PHONES.get(p), s, e) for p, s, e in phones],
    )
