"""Forced segments hold for every kind of fast tokenizer."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from tokenizers import (
    AddedToken,
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
    trainers,
)
from transformers import ByT5Tokenizer, PreTrainedTokenizerFast

from ssr_plugin.alignment.record import Alignment, Unit
from ssr_plugin.segmenters.base import Needs, SegmentationError
from ssr_plugin.segmenters.forced import ForcedSegmenter, apply_case

CORPUS = [
    "a hello world, hello there, seven old birds saw the house.",
    "the hello of a world; seven worlds, seven houses!",
] * 5
BYTES = [f"<0x{i:02X}>" for i in range(256)]


def train(tokenizer, alphabet=(), special=("<s>",)):
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        initial_alphabet=list(alphabet),
        special_tokens=list(special),
        show_progress=False,
    )
    tokenizer.train_from_iterator(CORPUS, trainer)
    return tokenizer


def byte_level(trim_offsets):
    """GPT-2, SmolLM (trimmed offsets) and Llama 3, Qwen (not trimmed)."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.post_processor = processors.ByteLevel(trim_offsets=trim_offsets)
    return train(tokenizer, pre_tokenizers.ByteLevel.alphabet())


def metaspace():
    """SentencePiece as T5 and new Llama-2 files have it; a blank stands before all."""
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always")
    tokenizer.decoder = decoders.Metaspace(prepend_scheme="always")
    return train(tokenizer, special=["<unk>", "<s>"])


def byte_fallback(prepend):
    """SentencePiece as Llama 2, Mistral (prepend) and Gemma (not) have it."""
    blank = normalizers.Replace(" ", "▁")
    # To learn pieces that begin with a blank, words must be split before it.
    learner = Tokenizer(models.BPE(unk_token="<unk>"))
    learner.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always")
    train(learner, special=["<unk>", "<s>", *BYTES])
    model = json.loads(learner.to_str())["model"]
    tokenizer = Tokenizer(
        models.BPE(
            model["vocab"],
            [tuple(merge) for merge in model["merges"]],
            unk_token="<unk>",
            byte_fallback=True,
            fuse_unk=True,
        )
    )
    steps = [normalizers.Prepend("▁"), blank] if prepend else [blank]
    tokenizer.normalizer = normalizers.Sequence(steps)
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
    )
    return tokenizer


MAKERS = {
    "byte-level": lambda: byte_level(trim_offsets=True),
    "byte-level, untrimmed": lambda: byte_level(trim_offsets=False),
    "metaspace": metaspace,
    "byte-fallback": lambda: byte_fallback(prepend=True),
    "byte-fallback, no prefix": lambda: byte_fallback(prepend=False),
}


@pytest.fixture(scope="module", params=MAKERS)
def tokenizer(request):
    made = MAKERS[request.param]()
    # A template that adds a first token must not show in the segments.
    template = processors.TemplateProcessing(
        single="<s> $A", special_tokens=[("<s>", made.token_to_id("<s>"))]
    )
    if made.post_processor is not None:
        template = processors.Sequence([made.post_processor, template])
    made.post_processor = template
    made.add_special_tokens([AddedToken("<s>", special=True)])
    return PreTrainedTokenizerFast(tokenizer_object=made, bos_token="<s>")


def aligned(text, *units, duration=3.0):
    """Units are (word, start, end), in the order of the text."""
    found, place = [], 0
    for word, start, end in units:
        place = text.index(word, place)
        found.append(Unit(word, start, end, place))
        place += len(word)
    return Alignment("utt-1", text, tuple(found), "word", duration)


def make_segmenter(tokenizer, **options):
    return ForcedSegmenter(6, SimpleNamespace(tokenizer=tokenizer), 50.0, **options)


def texts(tokenizer, tokens):
    return [tokenizer.decode([token]).strip() for token in tokens]


def test_forced_segments_have_the_first_word_as_inside_a_sentence(tokenizer):
    segmenter = make_segmenter(tokenizer)
    inside = tokenizer("a hello world", add_special_tokens=False).input_ids
    tokens, _ = segmenter.tokenize("hello world")
    assert tokens == inside[-len(tokens) :]
    assert texts(tokenizer, tokens) == ["hello", "world"]


def test_forced_segments_without_leading_space_have_the_text_as_it_stands(tokenizer):
    segmenter = make_segmenter(tokenizer, leading_space=False)
    plain = tokenizer("hello world", add_special_tokens=False).input_ids
    assert segmenter.tokenize("hello world")[0] == plain


@pytest.mark.parametrize("text", ["hello world", "HELLO, seven old houses!", "zq 7"])
def test_spans_cover_every_character_that_is_no_blank_in_order(tokenizer, text):
    _, spans = make_segmenter(tokenizer).tokenize(text)
    covered = [i for first, stop in spans for i in range(first, stop)]
    assert covered == sorted(covered)
    blanks = {i for i, character in enumerate(text) if character == " "}
    assert set(covered) | blanks == set(range(len(text)))
    assert all(0 <= first <= stop <= len(text) for first, stop in spans)


def test_no_special_token_gets_a_segment(tokenizer):
    tokens, _ = make_segmenter(tokenizer).tokenize("hello world")
    assert tokenizer.bos_token_id not in tokens


def test_forced_segments_are_cut_where_the_alignment_says(tokenizer):
    alignment = aligned("HELLO WORLD", ("HELLO", 0.5, 1.0), ("WORLD", 1.4, 2.0))
    segments = make_segmenter(tokenizer).segment(alignment, 150)
    assert texts(tokenizer, segments.tokens) == ["hello", "world"]
    assert segments.starts.tolist() == [25, 70]
    assert segments.boundaries.tolist() == [69, 149]


def test_forced_segments_share_out_a_word_of_several_tokens_by_characters(tokenizer):
    # No tokenizer here knows "zzqq" as anything but characters.
    alignment = aligned("zzqq", ("zzqq", 0.0, 2.0), duration=2.0)
    segments = make_segmenter(tokenizer).segment(alignment, 100)
    assert len(segments) in (4, 5), "some have a token for the blank before it"
    assert segments.boundaries[-3:].tolist() == [49, 74, 99]


def test_forced_segments_give_punctuation_the_pause_after_it(tokenizer):
    alignment = aligned("hello, world", ("hello", 0.0, 1.0), ("world", 2.0, 3.0))
    segments = make_segmenter(tokenizer).segment(alignment, 150)
    assert texts(tokenizer, segments.tokens) == ["hello", ",", "world"]
    assert segments.boundaries.tolist() == [49, 99, 149]


@pytest.mark.parametrize(
    ("silence", "starts", "boundaries"),
    [
        ("previous", [25, 100], [99, 149]),
        ("next", [25, 50], [49, 124]),
        ("split", [25, 75], [74, 137]),
        ("drop", [25, 100], [49, 124]),
    ],
)
def test_forced_segments_give_a_pause_where_the_silence_policy_says(
    tokenizer, silence, starts, boundaries
):
    alignment = aligned("hello world", ("hello", 0.5, 1.0), ("world", 2.0, 2.5))
    segmenter = make_segmenter(tokenizer, silence=silence)
    segments = segmenter.segment(alignment, 150)
    assert segments.starts.tolist() == starts
    assert segments.boundaries.tolist() == boundaries


def test_the_tokens_of_one_character_share_its_time():
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=byte_level(True))
    alignment = aligned("語 hello", ("語", 0.0, 1.2), ("hello", 1.2, 2.0), duration=2.0)
    segmenter = make_segmenter(tokenizer, leading_space=False)
    segments = segmenter.segment(alignment, 100)
    assert len(segments) == 4, "three bytes and a word"
    assert segments.boundaries.tolist() == [19, 39, 59, 99]


def test_characters_that_are_several_tokens_keep_the_words_after_them(tokenizer):
    text = "café 語語 hello"
    alignment = aligned(
        text, ("café", 0.0, 1.0), ("語語", 1.0, 2.0), ("hello", 2.0, 3.0)
    )
    segments = make_segmenter(tokenizer).segment(alignment, 150)
    assert (np.diff(segments.boundaries) > 0).all()
    assert texts(tokenizer, segments.tokens)[-1] == "hello"
    assert segments.starts[-1] == 100
    assert segments.boundaries[-1] == 149


@pytest.mark.parametrize("text", ["Straße", "İstanbul", "ﬁne", "HELLO", "ŉ ǰ", ""])
@pytest.mark.parametrize("case", ["lower", "upper", "as_is"])
def test_a_change_of_case_keeps_the_length(text, case):
    changed = apply_case(text, case)
    assert len(changed) == len(text)
    assert changed.lower() == text.lower() or case != "lower"


def test_case_changes_the_tokens_not_the_times(tokenizer):
    alignment = aligned("HELLO WORLD", ("HELLO", 0.0, 1.0), ("WORLD", 1.0, 2.0))
    lower, as_is = (
        make_segmenter(tokenizer, text_case=case).segment(alignment, 150)
        for case in ("lower", "as_is")
    )
    assert len(lower) == 2
    assert len(as_is) > 2, "capitals tokenise badly"
    assert 49 in as_is.boundaries
    assert lower.boundaries[-1] == as_is.boundaries[-1] == 149


def test_forced_segments_of_more_tokens_than_frames_name_the_utterance(tokenizer):
    alignment = aligned("hello world", ("hello", 0.0, 0.5), ("world", 0.5, 1.0))
    with pytest.raises(SegmentationError, match="utt-1: 2 tokens do not fit into 1 fr"):
        make_segmenter(tokenizer).segment(alignment, 1)


@pytest.mark.parametrize("text", ["", " ", "..."])
def test_forced_segments_of_a_transcript_with_nothing_spoken_are_an_error(
    tokenizer, text
):
    alignment = Alignment("utt-1", text, (), "word", 1.0)
    with pytest.raises(SegmentationError, match="utt-1: "):
        make_segmenter(tokenizer).segment(alignment, 50)


def test_the_forced_segmenter_refuses_a_slow_tokenizer_with_the_mend():
    with pytest.raises(ValueError, match=r"ByT5Tokenizer.*fast tokenizer \(a tokenize"):
        make_segmenter(ByT5Tokenizer())


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ({"silence": "nxt"}, "silence: 'nxt' is none of previous, next, split, drop"),
        ({"text_case": "title"}, "text_case: 'title' is none of lower, upper, as_is"),
    ],
)
def test_the_forced_segmenter_lists_the_known_values_of_an_option(option, message):
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=byte_level(True))
    with pytest.raises(ValueError, match=message):
        make_segmenter(tokenizer, **option)


def test_the_forced_segmenter_needs_the_transcript():
    assert ForcedSegmenter.needs is Needs.TRANSCRIPT


# --- Other scripts -------------------------------------------------------------------

LETTERS = "ab é你好世これส\u0e31\u05e9\u0645，.😀"


@settings(max_examples=40, deadline=None)
@given(text=st.text(LETTERS, min_size=1, max_size=12))
def test_letters_of_any_script_are_cut_where_they_end(tokenizer, text):
    spoken = [i for i, letter in enumerate(text) if letter.isalnum()]
    assume(spoken)
    # Half a second each, and nothing between them.
    units = [
        Unit(text[i], rank / 2, rank / 2 + 0.5, i) for rank, i in enumerate(spoken)
    ]
    alignment = Alignment("a", text, tuple(units), "char", len(spoken) / 2)
    segmenter = make_segmenter(tokenizer)
    tokens, spans = segmenter.tokenize(text)
    assert spans == sorted(spans)
    # Emoji, which nobody says, have tokens without end.
    assume(len(tokens) <= 25 * len(spoken))
    inside = {i for first, stop in spans for i in range(first, stop)}
    assert inside >= {*spoken}
    segments = segmenter.segment(alignment, num_frames=25 * len(spoken))
    assert segments.tokens.tolist() == tokens
    assert (np.diff(segments.boundaries) > 0).all()
    last = {}
    for boundary, (first, stop) in zip(segments.boundaries, spans, strict=True):
        for i in spoken:
            if first <= i < stop:
                last[i] = boundary + 1
    # Tokens without a letter crowd in beside those with one, with a frame each.
    silent = sum(not any(i in spoken for i in range(*span)) for span in spans)
    for rank, i in enumerate(spoken):
        following = [x for x in spoken if x > i][:1]
        if not following or last[i] != last[following[0]]:
            assert abs(last[i] - 25 * (rank + 1)) <= silent


def test_no_blank_comes_before_a_script_that_has_none(tokenizer):
    segmenter = make_segmenter(tokenizer)
    tokens, spans = segmenter.tokenize("你好")
    plain = tokenizer("你好", add_special_tokens=False, return_offsets_mapping=True)
    assert tokens == plain.input_ids
    assert spans == [tuple(span) for span in plain.offset_mapping]
