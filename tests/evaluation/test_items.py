"""Items, the share that is right, and how sure a figure is."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ssr_plugin.evaluation.harness.choice_rules import share_right
from ssr_plugin.evaluation.harness.items import Item, Spoken
from ssr_plugin.evaluation.harness.measures import Measure
from ssr_plugin.evaluation.harness.summary import summarise, summarise_measure
from ssr_plugin.metrics.intervals import interval, kept_share, resample_means


@pytest.mark.parametrize(
    "choices, answer, says",
    [((" a",), 0, "two or more"), ((" a", " "), 0, "empty"), ((" a", " b"), 2, "is 2")],
)
def test_an_item_that_is_none_is_refused_by_name(choices, answer, says):
    with pytest.raises(ValueError, match=f"'q7'.*{says}"):
        Item("q7", ("x",), choices, answer)


def test_what_is_heard_is_known():
    heard, told = Spoken("the cat", "cat.wav"), Spoken("the dog")
    choice = Spoken("sat", "sat.wav")
    item = Item("1", ("Say:", told, heard, " so"), (choice, Spoken("lay")), 0)
    assert item.heard() == [heard, choice]


@given(st.lists(st.integers(-3, 3), min_size=2, max_size=6), st.data())
def test_fewer_ways_are_the_mean_over_all_draws(scores, data):
    answer = data.draw(st.integers(0, len(scores) - 1))
    ways = data.draw(st.integers(2, len(scores)))
    others = [i for i in range(len(scores)) if i != answer]
    each = []
    for drawn in itertools.combinations(others, ways - 1):
        best = max(scores[i] for i in (answer, *drawn))
        tied = sum(scores[i] == best for i in (answer, *drawn))
        each.append((scores[answer] == best) / tied)
    assert share_right(scores, answer, ways) == pytest.approx(np.mean(each))


def test_ties_count_as_half():
    assert share_right([-1.0, -1.0], 0) == 0.5
    assert share_right([-1.0] * 4, 3) == 0.25


def test_more_ways_than_choices_are_refused():
    with pytest.raises(ValueError, match="no 5 ways"):
        share_right([0.0] * 4, 0, ways=5)


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


def make_record(name, **sums):
    return {
        "id": name,
        "answer": 0,
        "cluster": name,
        "counts": dict.fromkeys(sums, [1, 4]),
        "sums": sums,
    }


def test_the_rule_divides_by_tokens_only_if_it_says_so():
    record = make_record("1", text=[-2.0, -4.0])
    for rule, accuracy in (("sum", 100.0), ("mean", 0.0)):
        figures = summarise([record], ["text"], rule)
        assert figures["columns"]["text"]["accuracy"] == accuracy


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
    columns = summarise(records, ["none", "text", "predicted", "forced"], "sum")
    columns = columns["columns"]
    assert columns["forced"]["segments"] == "forced"
    assert columns["predicted"]["segments"] == "predicted"
    assert columns["text"]["segments"] is columns["none"]["segments"] is None
    assert columns["forced"]["kept"] == pytest.approx(50.0)
    assert columns["predicted"]["kept"] == pytest.approx(0.0)
    low, high = columns["forced"]["kept_interval"]
    assert low < 50 < high
    assert "kept" not in columns["text"]


def test_a_ratio_of_sums_weighs_long_items_more():
    wer = Measure("wer", "%", "", factor=100)
    perplexity = Measure("loss", "", "", exponential=True)
    records = [
        {"cluster": name, "measured": {"text": {"wer": sides, "loss": sides}}}
        for name, sides in (("a", [3, 3]), ("b", [0, 27]))
    ]
    (found,) = summarise_measure(records, ["text"], wer)["columns"].values()
    assert found["wer"] == pytest.approx(10.0)
    assert found["interval"] == pytest.approx([0.0, 100.0])
    (found,) = summarise_measure(records, ["text"], perplexity)["columns"].values()
    assert found["loss"] == pytest.approx(math.exp(0.1))


def test_a_measure_of_nothing_is_none():
    records = [{"cluster": "a", "measured": {"text": {"wer": [0, 0]}}}]
    figures = summarise_measure(records, ["text", "forced"], Measure("wer", "%", ""))
    assert figures["columns"] == {
        "text": {"segments": None, "wer": None, "interval": None}
    }


def test_a_column_that_an_item_lacks_is_left_out():
    records = [
        make_record("1", text=[0, -1], cascade=[0, -1]),
        make_record("2", text=[0, -1]),
    ]
    assert set(summarise(records, ["text", "cascade"], "sum")["columns"]) == {"text"}


def test_by_gain_a_choice_that_is_likely_anyway_is_not_chosen_for_it():
    sums = {"none": [-9.0, -1.0], "text": [-5.0, -1.0], "forced": [-8.0, -0.5]}
    sums |= {"untouched none": [-1.0, -9.0], "untouched": [-5.0, -5.0]}
    record = {**make_record("1"), "sums": sums}
    columns = ["none", "text", "forced", "untouched"]
    found = summarise([record], columns, "gain")["columns"]
    accuracies = [found[column]["accuracy"] for column in columns]
    # Who hears nothing gains nothing; an LLM is measured against itself.
    assert accuracies == [50.0, 100.0, 100.0, 0.0]
