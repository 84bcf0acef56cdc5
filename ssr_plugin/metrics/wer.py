"""Error rates of transcripts: one rule for all that is called WER or CER.

``wer`` takes words as they are, in lower case and without punctuation. ``wer_whisper``
first makes both texts alike by the normaliser that Whisper was measured with (Radford
et al., arXiv 2212.04356, appendix C), by the package ``whisper-normalizer``: "Mr." is
"mister", "colour" is "color", "twenty one" is "21" and "uh" is nothing. Papers that
report "WER with Whisper's normaliser" mean that one.

Of languages that put no blanks between words (Chinese, Japanese, Thai, ...), errors are
counted in characters: the rates are then ``cer`` and ``cer_whisper``, and every name
that is made of them says so. Which of the two it is follows from the language alone
(:func:`ssr_plugin.languages.has_words`), so it is the same for all texts of a corpus.
"""

import functools
import unicodedata

from speechbrain.utils.edit_distance import count_ops, op_table

from ssr_plugin.alignment.record import sayable
from ssr_plugin.languages import ENGLISH, has_words, is_english

#: The names of the rates, in ``metrics.json``.
WER, WER_WHISPER = "wer", "wer_whisper"
CER, CER_WHISPER = "cer", "cer_whisper"


def rate_names(language=ENGLISH):
    """The names of a language's two rates: the plain one, and the one as Whisper's.

    Arguments
    ---------
    language : str
        BCP-47 code.

    Returns
    -------
    tuple of str

    Example
    -------
    >>> rate_names("de"), rate_names("zh-CN")
    (('wer', 'wer_whisper'), ('cer', 'cer_whisper'))
    """
    return (WER, WER_WHISPER) if has_words(language) else (CER, CER_WHISPER)


def rate_of(metrics, prefix=""):
    """The plain rate of a summary, by whichever name it has.

    Arguments
    ---------
    metrics : dict
        A summary of :class:`WordErrorRate` among other things.
    prefix : str
        Comes before the rate's name.

    Returns
    -------
    name : str
        "WER" or "CER".
    value : float or None

    Example
    -------
    >>> rate_of({"retrieval_cer": 12.5, "cosine": 0.5}, "retrieval_")
    ('CER', 12.5)
    """
    name = CER if prefix + CER in metrics else WER
    return name.upper(), metrics.get(prefix + name)


def plain_words(text):
    """The words of a text: lower case, without punctuation.

    Arguments
    ---------
    text : str

    Returns
    -------
    list of str

    Example
    -------
    >>> plain_words("The CAT's mat -- twice!")
    ['the', 'cats', 'mat', 'twice']
    """
    words = ("".join(x for x, _ in sayable(word)) for word in text.split())
    return [word for word in words if word]


def plain_characters(text):
    """The characters of a text: lower case, without punctuation and blanks.

    Arguments
    ---------
    text : str

    Returns
    -------
    list of str

    Example
    -------
    >>> plain_characters("\u4f60\u597d\uff0c GPU\u3002")
    ['\u4f60', '\u597d', 'g', 'p', 'u']
    """
    # A letter and its mark are one character again, where there is one for both.
    return list(unicodedata.normalize("NFC", "".join(plain_words(text))))


def whisper_words(text, language=ENGLISH):
    """The words of a text after Whisper's normaliser; of some languages, the letters.

    Arguments
    ---------
    text : str
    language : str
        BCP-47 code. English has a normaliser of its own; all others share a simpler
        one, which parts the letters where there are no blanks between words.

    Returns
    -------
    list of str

    Example
    -------
    >>> whisper_words("Uh, Mr. Brown's colour is twenty-one")
    ['mister', 'brown', 'is', 'color', 'is', '21']
    >>> whisper_words("Öl, bitte!", language="de")
    ['öl', 'bitte']
    >>> whisper_words("\u4f60\u597d\u3002", language="zh")
    ['\u4f60', '\u597d']
    """
    normalizer = _whisper_normalizer(is_english(language), not has_words(language))
    return normalizer(text).split()


@functools.cache
def _whisper_normalizer(english, split_letters):
    # Imported here: its tables are read from files.
    from whisper_normalizer.basic import BasicTextNormalizer
    from whisper_normalizer.english import EnglishTextNormalizer

    if english:
        return EnglishTextNormalizer()
    return BasicTextNormalizer(split_letters=split_letters)


def count_errors(said, written):
    """The least words that are wrong, missing or too many.

    Arguments
    ---------
    said, written : list of str

    Returns
    -------
    int

    Example
    -------
    >>> count_errors(["the", "cat"], ["a", "cat", "sat"])
    2
    """
    return sum(count_ops(op_table(said, written)).values())


def word_errors(reference, hypothesis, language=ENGLISH):
    """Errors and words of one transcript, by both rules.

    Arguments
    ---------
    reference, hypothesis : str
    language : str
        BCP-47 code.

    Returns
    -------
    dict
        Under the names of :func:`rate_names` the words, or characters, that are wrong,
        missing or too many (the least that can be), and those of the reference.

    Example
    -------
    >>> word_errors("MISTER CAT", "The Mr. cat, there.")
    {'wer': (3, 2), 'wer_whisper': (2, 2)}
    >>> word_errors("\u4f60\u597d", "\u4f60 \u4e0d\u597d", "zh")
    {'cer': (1, 2), 'cer_whisper': (1, 2)}
    """
    plain = plain_words if has_words(language) else plain_characters
    texts = (reference, hypothesis)
    pairs = [
        [plain(text) for text in texts],
        [whisper_words(text, language) for text in texts],
    ]
    return {
        name: (count_errors(said, written), len(said))
        for name, (said, written) in zip(rate_names(language), pairs, strict=True)
    }


class WordErrorRate:
    """WER, or CER, of many transcripts together, by both rules.

    Arguments
    ---------
    language : str
        BCP-47 code.

    Example
    -------
    >>> rate = WordErrorRate()
    >>> rate.add("The cat.", "the cat")
    >>> rate.add("It's", "it is")
    >>> rate.summary("retrieval_")
    {'retrieval_wer': 66.66..., 'retrieval_wer_whisper': 0.0}
    """

    def __init__(self, language=ENGLISH):
        self.language = language
        self.sums = {name: [0, 0] for name in rate_names(language)}

    def add(self, reference, hypothesis):
        """Adds a transcript."""
        errors = word_errors(reference, hypothesis, self.language)
        for name, (wrong, words) in errors.items():
            self.sums[name][0] += wrong
            self.sums[name][1] += words

    def summary(self, prefix=""):
        """The rates over all transcripts so far.

        Arguments
        ---------
        prefix : str
            Comes before their names.

        Returns
        -------
        dict
            By the names of :func:`rate_names`, %; None without any words.
        """
        return {
            prefix + name: 100 * wrong / words if words else None
            for name, (wrong, words) in self.sums.items()
        }
