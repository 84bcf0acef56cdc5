"""sWUGGY and sBLIMP, in the layout of ZeroSpeech 2021."""

import types

import pytest
import torch

from ssr_plugin import SpeechLM
from ssr_plugin.evaluation.benchmarks.zerospeech import SBLIMP, SWUGGY
from ssr_plugin.evaluation.harness.answering import answer_items
from ssr_plugin.evaluation.harness.choice_metrics import share_right
from ssr_plugin.evaluation.harness.conditions import make_conditions
from ssr_plugin.evaluation.harness.items import spelling
from ssr_plugin.evaluation.harness.summary import summarise_choices

LEXICAL = """id,filename,voice,frequency,word,phones,length,correct
1,aa,A,7,cat,K AE T,3,1
1,ab,A,,cag,K AE G,3,0
1,ba,B,7,cat,K AE T,3,1
1,bb,B,,cag,K AE G,3,0
2,cb,A,,sag,S AE G,3,0
2,ca,A,9,sat,S AE T,3,1
"""
SYNTACTIC = """id,filename,voice,type,subtype,transcription,correct
1,aa,A,agreement,one,The cats sit.,1
1,ab,A,agreement,one,The cats sits.,0
1,ba,A,agreement,two,A cat sits.,1
1,bb,A,agreement,two,A cat sit.,0
"""


ALL = ["text", "cascade", "predicted", "forced"]


@pytest.fixture
def folder(tmp_path, write_audio):
    for part, text in (("lexical", LEXICAL), ("syntactic", SYNTACTIC)):
        place = tmp_path / part / "dev"
        for i, name in enumerate(("aa", "ab", "ba", "bb", "ca", "cb")):
            write_audio(place / f"{name}.wav", 0.5 + 0.1 * i, seed=i)
        (place / "gold.csv").write_text(text)
    return tmp_path


@pytest.fixture(scope="module")
def lm(tiny_speech_lm_folder):
    return SpeechLM.from_pretrained(tiny_speech_lm_folder)


def test_a_pair_is_a_word_and_its_like_in_one_voice(folder):
    items = SWUGGY(folder).items(align=None)
    assert [item.id for item in items] == ["1-A", "1-B", "2-A"]
    assert [item.cluster for item in items] == ["1", "1", "2"]
    for item in items:
        stems = [choice.wav.rpartition("/")[2] for choice in item.choices]
        assert item.target == 0 and [s[1:] for s in stems] == ["a.wav", "b.wav"]
    assert [choice.text for choice in items[2].choices] == ["sat", "sag"]


def test_a_non_word_is_not_spelled_and_is_judged_by_its_sound(lm, folder):
    path = folder / "lexical" / "dev" / "gold.csv"
    # As the release has it: phones, and neither a spelling nor a frequency.
    path.write_text(LEXICAL.replace(",cag,", ",,").replace(",sag,", ",,"))
    swuggy = SWUGGY(folder)
    items = swuggy.items(align=None)
    assert [[x.text for x in item.choices] for item in items][1:] == [
        ["cat", ""],
        ["sat", ""],
    ]
    assert spelling(items[0].choices[1]) == "K AE G"
    conditions, notes = swuggy.conditions(make_conditions(ALL), lm, items)
    assert [x.name for x in conditions] == ["cascade", "predicted"]
    assert "no text, forced: the set does not tell all that is said" in notes
    assert swuggy.partners(conditions, lm, items) == []
    records, _ = answer_items(lm, items, conditions, align=None)
    (first, *_) = records
    assert set(first["conditions"]) <= {"cascade", "predicted"}
    assert len(first["conditions"]["predicted"]["log_likelihoods"]) == 2
    summary = swuggy.metrics(records, conditions, seed=0)["swuggy"]
    assert summary["items"] == 3 and "kept" not in summary["conditions"]["predicted"]
    assert swuggy.examples(items, records, 5) == []


def test_pmi_needs_something_that_is_said_before_the_choices(lm, folder):
    swuggy = SWUGGY(folder, metric="pmi")
    items = swuggy.items(align=None)
    conditions, _ = swuggy.conditions(make_conditions(["text"]), lm, items)
    with pytest.raises(ValueError, match="pmi takes off what 'none' gives, and noth"):
        swuggy.partners(conditions, lm, items)
    with pytest.raises(ValueError, match="'sum' is none of acc, acc_norm, pmi"):
        SWUGGY(folder, metric="sum")


def test_sound_alone_needs_a_segmenter(folder):
    path = folder / "lexical" / "dev" / "gold.csv"
    path.write_text(LEXICAL.replace(",cag,", ",,"))
    without = types.SimpleNamespace(tuned=None, segmenters={"forced": None})
    swuggy = SWUGGY(folder)
    items = swuggy.items(align=None)
    with pytest.raises(ValueError, match="no condition is left.*no segmenter"):
        swuggy.conditions(make_conditions(ALL), without, items)


def test_sentences_are_told_apart_by_type_and_number(folder):
    one, two = SBLIMP(folder).items(align=None)
    assert (one.id, two.id) == ("agreement-one-1-A", "agreement-two-1-A")
    assert [c.text for c in two.choices] == ["a cat sits", "a cat sit"]


def test_each_recording_is_scored_as_it_is_heard(lm, folder):
    items = SWUGGY(folder).items(align=None)
    conditions, _ = SWUGGY(folder).conditions(make_conditions(ALL), lm, items)
    assert [x.name for x in conditions] == ["text", "cascade", "predicted", "forced"]
    conditions = make_conditions(["text", "predicted"])
    records, _ = answer_items(lm, items, conditions, align=None)
    model, llm = lm.llm.load_model(), lm.llm
    for item, record in zip(items, records, strict=True):
        answers = record["conditions"]
        for index, choice in enumerate(item.choices):
            speech = lm.embed(choice.wav)
            start = llm.embed(torch.tensor([llm.start_id]))
            embeds = torch.cat([start, speech.vectors[:-1]])
            logits = model(inputs_embeds=embeds[None]).logits[0].log_softmax(-1)
            ids = torch.tensor(speech.tokens)
            expected = logits.gather(1, ids[:, None]).sum().item()
            found = answers["predicted"]["log_likelihoods"][index]
            assert found == pytest.approx(expected, abs=1e-4)
            assert answers["predicted"]["num_tokens"][index] == len(ids)
        text = lm.score("", [choice.text for choice in item.choices])
        assert answers["text"]["log_likelihoods"] == pytest.approx(text, abs=1e-4)


def test_what_is_heard_as_nothing_is_never_chosen(lm, folder, monkeypatch):
    items = SWUGGY(folder).items(align=None)
    embed_cuts = SpeechLM.embed_cuts

    def deaf(wavs, alignments, **options):
        heard = embed_cuts(lm, wavs, alignments, **options)
        if heard:
            (speech,) = heard[0]
            speech.vectors, speech.tokens = speech.vectors[:0], []
        return heard

    monkeypatch.setattr(lm, "embed_cuts", deaf)
    predicted = make_conditions(["predicted"])
    records, _ = answer_items(lm, items, predicted, align=None)
    assert records[0]["conditions"]["predicted"]["log_likelihoods"][0] is None
    summary = summarise_choices(records[:1], predicted, "acc_norm")
    assert summary["conditions"]["predicted"]["acc_norm"] == pytest.approx(0.0)
    assert share_right([float("-inf")] * 2, 0) == 0.5


@pytest.mark.parametrize(
    "old, new, says",
    [
        ("1,ab,A,,cag", "1,ab,A,7,cat", None),
        ("K AE G,3,0", "K AE G,3,1", "line 3.*1-A"),
        ("2,ca,", "2,zz,", "no recording zz"),
        ("voice", "speaker", "no column voice"),
    ],
)
def test_what_is_wrong_in_the_table_is_named(folder, old, new, says):
    path = folder / "lexical" / "dev" / "gold.csv"
    path.write_text(LEXICAL.replace(old, new, 1))
    if says is None:
        assert len(SWUGGY(folder).items(align=None)) == 3
        return
    with pytest.raises(ValueError, match=says):
        SWUGGY(folder).items(align=None)


def test_a_row_without_a_partner_is_left_out_and_counted(folder):
    path = folder / "lexical" / "dev" / "gold.csv"
    path.write_text(LEXICAL.replace("2,cb,A,,sag,S AE G,3,0\n", ""))
    swuggy = SWUGGY(folder)
    assert len(swuggy.items(align=None)) == 2
    assert swuggy.notes == ["1 rows without a partner"]


def test_fewer_items_are_always_the_same(folder):
    one, two = (SWUGGY(folder, max_items=2).items(align=None) for _ in range(2))
    assert one == two and len(one) == 2


def test_a_folder_without_it_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"lexical.dev.gold\.csv"):
        SWUGGY(tmp_path).items(align=None)
