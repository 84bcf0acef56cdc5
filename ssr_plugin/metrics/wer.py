"""Word error rate: one rule for all that is called WER, and Whisper's beside it.

``wer`` takes words as they are, in lower case and without punctuation. ``wer_whisper``
first makes both texts alike by the normaliser that Whisper was measured with (Radford
et al., arXiv 2212.04356, appendix C), by the package ``whisper-normalizer``: "Mr." is
"mister", "colour" is "color", "twenty one" is "21" and "uh" is nothing. Papers that
report "WER with Whisper's normaliser" mean that one.
"""

import functools

from speechbrain.utils.edit_distance import count_ops, op_table

from ssr_plugin.alignment.record import sayable

#: The names of the two rates, in ``metrics.json``.
WER, WER_WHISPER = "wer", "wer_whisper"


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


def whisper_words(text, language="en"):
    """The words of a text after Whisper's normaliser.

    Arguments
    ---------
    text : str
    language : str
        "en" has a normaliser of its own; all others share a simpler one.

    Returns
    -------
    list of str

    Example
    -------
    >>> whisper_words("Uh, Mr. Brown's colour is twenty-one")
    ['mister', 'brown', 'is', 'color', 'is', '21']
    >>> whisper_words("Öl, bitte!", language="de")
    ['öl', 'bitte']
    """
    return _whisper_normalizer(language == "en")(text).split()


@functools.cache
def _whisper_normalizer(english):
    # Imported here: its tables are read from files.
    from whisper_normalizer.basic import BasicTextNormalizer
    from whisper_normalizer.english import EnglishTextNormalizer

    return EnglishTextNormalizer() if english else BasicTextNormalizer()


def word_errors(reference, hypothesis, language="en"):
    """Errors and words of one transcript, by both rules.

    Arguments
    ---------
    reference, hypothesis : str
    language : str
        Of :func:`whisper_words`.

    Returns
    -------
    dict
        Under "wer" and "wer_whisper" the words that are wrong, missing or too many (the
        least that can be), and the words of the reference.

    Example
    -------
    >>> word_errors("MISTER CAT", "The Mr. cat, there.")
    {'wer': (3, 2), 'wer_whisper': (2, 2)}
    """
    pairs = {
        WER: [plain_words(text) for text in (reference, hypothesis)],
        WER_WHISPER: [
            whisper_words(text, language) for text in (reference, hypothesis)
        ],
    }
    return {
        name: (sum(count_ops(op_table(said, written)).values()), len(said))
        for name, (said, written) in pairs.items()
    }


class WordErrorRate:
    """WER of all words of many transcripts, by both rules.

    Arguments
    ---------
    language : str
        Of :func:`whisper_words`.

    Example
    -------
    >>> rate = WordErrorRate()
    >>> rate.add("The cat.", "the cat")
    >>> rate.add("It's", "it is")
    >>> rate.summary("retrieval_")
    {'retrieval_wer': 66.66..., 'retrieval_wer_whisper': 0.0}
    """

    def __init__(self, language="en"):
        self.language = language
        self.sums = {WER: [0, 0], WER_WHISPER: [0, 0]}

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
            "wer" and "wer_whisper", %; None without any words.
        """
        return {
            prefix + name: 100 * wrong / words if words else None
            for name, (wrong, words) in self.sums.items()
        }
