"""Items, the share that is right, and how sure a figure is."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ssr_plugin.evaluation.harness.choice_metrics import share_right
from ssr_plugin.evaluation.harness.conditions import make_conditions
from ssr_plugin.evaluation.harness.items import ChoiceItem, SpokenText
from ssr_plugin.evaluation.harness.metric import Metric
from ssr_plugin.evaluation.harness.summary import summarise_choices, summarise_metric
from ssr_plugin.metrics.intervals import interval, kept_share, resample_means


@pytest.mark.parametrize(
    "choices, target, says",
    [((" a",), 0, "two or more"), ((" a", " "), 0, "empty"), ((" a", " b"), 2, "is 2")],
)
def test_an_item_that_is_none_is_refused_by_name(choices, target, says):
    with pytest.raises(ValueError, match=f"'q7'.*{says}"):
        ChoiceItem("q7", ("x",), choices, target)


def test_an_items_recordings_are_its_contents_with_audio():
    heard, read = SpokenText("the cat", "cat.wav"), SpokenText("the dog")
    choice = SpokenText("sat", "sat.wav")
    context = ("Say:", read, heard, " so")
    item = ChoiceItem("1", context, (choice, SpokenText("lay")), 0)
    assert item.recordings() == [heard, choice]


@given(st.lists(st.integers(-3, 3), min_size=2, max_size=6), st.data())
def test_fewer_choices_are_the_mean_over_all_draws(scores, data):
    target = data.draw(st.integers(0, len(scores) - 1))
    num_choices = data.draw(st.integers(2, len(scores)))
    others = [i for i in range(len(scores)) if i != target]
    each = []
    for drawn in itertools.combinations(others, num_choices - 1):
        best = max(scores[i] for i in (target, *drawn))
        tied = sum(scores[i] == best for i in (target, *drawn))
        each.append((scores[target] == best) / tied)
    assert share_right(scores, target, num_choices) == pytest.approx(np.mean(each))


def test_ties_count_as_half():
    assert share_right([-1.0, -1.0], 0) == 0.5
    assert share_right([-1.0] * 4, 3) == 0.25


def test_more_choices_than_there_are_are_refused():
    with pytest.raises(ValueError, match="num_choices: there are no 5 among 4"):
        share_right([0.0] * 4, 0, num_choices=5)


def test_an_interval_is_that_of_the_binomial():
    rng = np.random.default_rng(0)
    values = (rng.random(400) < 0.7).astype(float)[:, None]
    low, high = interval(resample_means(values, [str(i) for i in range(400)])[:, 0])
    half = 1.96 * math.sqrt(0.7 * 0.3 / 400)
    assert high - low == pytest.approx(2 * half, rel=0.1)
    assert low < values.mean() < high


def test_items_of_a_cluster_count_as_one():
    values = np.repeat(np.random.default_rng(0).random(50) < 0.5, 4)[:, None]
    alone, together = (
        interval(resample_means(values, clusters)[:, 0])
        for clusters in (
            [str(i) for i in range(200)],
            [str(i // 4) for i in range(200)],
        )
    )
    assert together[1] - together[0] > 1.5 * (alone[1] - alone[0])


def test_the_same_seed_gives_the_same_interval():
    values = np.random.default_rng(0).random((30, 2))
    names = [str(i) for i in range(30)]
    one, again, other = (resample_means(values, names, seed) for seed in (1, 1, 2))
    assert np.array_equal(one, again) and not np.array_equal(one, other)


def test_a_share_of_no_gain_is_none():
    assert np.isnan(kept_share(60, 50, chance=50))
    assert interval([math.nan] * 10 + [1.0] * 90) is None


UNCONDITIONAL = {"base": "base_none", "base_none": "base_none"}


def make_record(name, **sums):
    return {
        "id": name,
        "target": 0,
        "cluster": name,
        "conditions": {
            condition: {
                "log_likelihoods": values,
                "num_tokens": [1, 4],
                "unconditional": UNCONDITIONAL.get(condition, "none"),
            }
            for condition, values in sums.items()
        },
    }


def test_acc_norm_divides_by_tokens_and_acc_does_not():
    record = make_record("1", text=[-2.0, -4.0])
    for metric, value in (("acc", 100.0), ("acc_norm", 0.0)):
        summary = summarise_choices([record], make_conditions(["text"]), metric)
        assert summary["conditions"]["text"][metric] == value


def test_what_listens_says_how_and_is_measured_against_the_text():
    right, wrong = [0.0, -9.0], [-9.0, 0.0]
    records = [
        make_record(
            str(i),
            none=right if i % 2 else wrong,
            text=right,
            forced=right if i % 4 else wrong,
            predicted=right if i % 2 else wrong,
        )
        for i in range(40)
    ]
    names = ["none", "text", "predicted", "forced"]
    figures = summarise_choices(records, make_conditions(names), "acc")["conditions"]
    assert figures["forced"]["segmentation"] == "forced"
    assert figures["predicted"]["segmentation"] == "predicted"
    assert figures["text"]["segmentation"] is figures["none"]["segmentation"] is None
    assert figures["forced"]["kept"] == pytest.approx(50.0)
    assert figures["predicted"]["kept"] == pytest.approx(0.0)
    low, high = figures["forced"]["kept_interval"]
    assert low < 50 < high
    assert "kept" not in figures["text"]


def make_measured(name, **ratios):
    return {"cluster": name, "conditions": {"text": {"metrics": ratios}}}


def test_a_ratio_of_sums_weighs_long_items_more():
    wer = Metric("wer", "%", "", factor=100)
    perplexity = Metric("loss", "", "", exponential=True)
    records = [
        make_measured(name, wer=ratio, loss=ratio)
        for name, ratio in (("a", [3, 3]), ("b", [0, 27]))
    ]
    text = make_conditions(["text"])
    (figures,) = summarise_metric(records, text, wer)["conditions"].values()
    assert figures["wer"] == pytest.approx(10.0)
    assert figures["interval"] == pytest.approx([0.0, 100.0])
    (figures,) = summarise_metric(records, text, perplexity)["conditions"].values()
    assert figures["loss"] == pytest.approx(math.exp(0.1))


def test_a_metric_of_nothing_is_none():
    conditions = make_conditions(["text", "forced"])
    records = [make_measured("a", wer=[0, 0])]
    summary = summarise_metric(records, conditions, Metric("wer", "%", ""))
    assert summary["conditions"] == {
        "text": {"segmentation": None, "wer": None, "interval": None}
    }


def test_a_condition_that_an_item_lacks_is_left_out():
    records = [
        make_record("1", text=[0, -1], cascade=[0, -1]),
        make_record("2", text=[0, -1]),
    ]
    conditions = make_conditions(["text", "cascade"])
    assert set(summarise_choices(records, conditions, "acc")["conditions"]) == {"text"}


def test_by_pmi_a_choice_that_is_likely_anyway_is_not_chosen_for_it():
    sums = {"none": [-9.0, -1.0], "text": [-5.0, -1.0], "forced": [-8.0, -0.5]}
    sums |= {"base_none": [-1.0, -9.0], "base": [-5.0, -5.0]}
    names = ["none", "text", "forced", "base"]
    record = make_record("1", **sums)
    figures = summarise_choices([record], make_conditions(names), "pmi")["conditions"]
    # Who hears nothing gains nothing; an LLM is measured against itself.
    assert [figures[name]["pmi"] for name in names] == [50.0, 100.0, 100.0, 0.0]
