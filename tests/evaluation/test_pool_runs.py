"""Runs that are pooled: as one run of all their items, and how sure that is."""

import json

import pytest

from ssr_plugin.cli import main
from ssr_plugin.evaluation.harness.conditions import make_conditions
from ssr_plugin.evaluation.harness.metric import Metric
from ssr_plugin.evaluation.harness.records import Records
from ssr_plugin.evaluation.harness.summary import summarise_gain, summarise_metric
from ssr_plugin.evaluation.report.pool_runs import pool_runs

NLL = Metric("nll", "nats", "Loss.")
WER = Metric("wer", "%", "Word errors.", factor=100)
CONDITIONS = ["none", "text", "cascade", "predicted"]


def make_record(name, predicted, speaker="anna", errors=1, tokens=4, model="m"):
    """An utterance whose text takes 8 nats off, the cascade 6."""
    losses = {"none": 10.0, "text": 2.0, "cascade": 4.0, "predicted": predicted}
    conditions = {k: {"metrics": {"nll": [x, tokens]}} for k, x in losses.items()}
    conditions["predicted"]["metrics"]["wer"] = [errors, 10]
    record = {"key": f"{model} {name}", "id": name, "cluster": name}
    return record | {"speaker": speaker, "conditions": conditions}


def make_run(folder, records, nll=NLL):
    conditions = make_conditions(CONDITIONS)
    summaries = {
        **summarise_gain(records, conditions, nll),
        "nll": summarise_metric(records, conditions, nll),
        "wer": summarise_metric(records, conditions, WER),
    }
    metrics = {
        "model": f"model of {folder.name}",
        "benchmarks": {
            f"toy {title}": {**summary, "benchmark": "toy"}
            for title, summary in summaries.items()
        },
    }
    folder.mkdir()
    (folder / "metrics.json").write_text(json.dumps(metrics))
    Records(folder / "answers" / "toy.jsonl").add(records)
    return folder


def test_a_pooled_figure_is_that_of_all_items(tmp_path):
    few = [make_record("a", predicted=2.0, errors=0)]
    many = [make_record(f"b{i}", predicted=6.0, speaker="bert") for i in range(3)]
    folders = [make_run(tmp_path / "1", few), make_run(tmp_path / "2", many)]
    found = pool_runs(folders)["benchmarks"]

    def figure(metric, condition="predicted"):
        return found[f"toy {metric}"]["conditions"][condition]

    # Of 4 x 8 nats, 8 + 3 x 4 are taken off: no mean of the two runs' figures.
    assert figure("gain_kept")["gain_kept"] == pytest.approx(100 * 20 / 32)
    assert figure("gain_kept", "cascade")["gain_kept"] == pytest.approx(75.0)
    assert figure("ahead")["ahead"] == pytest.approx(100 * 20 / 32 - 75)
    assert figure("nll", "text")["nll"] == pytest.approx(0.5)
    assert figure("wer")["wer"] == pytest.approx(100 * 3 / 40)
    by_run = [figure("gain_kept")["runs"][str(x)]["gain_kept"] for x in folders]
    assert by_run == pytest.approx([100.0, 50.0])
    one = make_run(tmp_path / "one", few + many)
    for title, summary in pool_runs([one])["benchmarks"].items():
        for condition, expected in summary["conditions"].items():
            pooled = found[title]["conditions"][condition]
            assert {**pooled, "runs": None} == {**expected, "runs": None}


def test_speakers_are_drawn_whole_unless_utterances_are_asked_for(tmp_path):
    """Two kinds of speakers, each read alike throughout, tell less than utterances."""
    records = [
        make_record(f"{who}-{i}", 2.0 + 4 * (who % 2), speaker=str(who))
        for who in range(12)
        for i in range(20)
    ]
    folder = make_run(tmp_path / "run", records)

    def width(**options):
        summary = pool_runs([folder], **options)["benchmarks"]["toy ahead"]
        low, high = summary["conditions"]["predicted"]["interval"]
        return summary["clusters"], summary["by"], high - low

    speakers, utterances = width(), width(by="utterance")
    assert speakers[:2] == (12, "speaker") and utterances[:2] == (240, "item")
    # By the square root of 20, as many as each speaker has.
    assert speakers[2] / utterances[2] == pytest.approx(20**0.5, rel=0.15)


def test_an_utterance_that_two_models_heard_is_drawn_as_one(tmp_path):
    folders = [
        make_run(
            tmp_path / model,
            [make_record(str(i), 3.0, str(i % 3), model=model) for i in range(9)],
        )
        for model in ("one", "two")
    ]
    for by, clusters in (("speaker", 3), ("utterance", 9)):
        summary = pool_runs(folders, by=by)["benchmarks"]["toy ahead"]
        assert (summary["items"], summary["clusters"]) == (18, clusters)


def test_one_speaker_tells_nothing_of_others(tmp_path):
    folder = make_run(tmp_path / "1", [make_record(str(i), i / 9) for i in range(9)])
    for by, known in (("speaker", False), ("utterance", True)):
        summary = pool_runs([folder], by=by)["benchmarks"]["toy ahead"]
        figure = summary["conditions"]["predicted"]
        assert figure["ahead"] is not None and bool(figure["interval"]) == known


def test_items_without_a_speaker_are_drawn_by_themselves(tmp_path):
    records = [make_record(str(i), i / 9) for i in range(9)]
    for record in records:
        del record["speaker"]
    summary = pool_runs([make_run(tmp_path / "1", records)])["benchmarks"]["toy ahead"]
    assert summary["by"] == "item" and summary["clusters"] == 9


def test_the_command_shows_all_together_then_each_run(tmp_path, capsys):
    folders = [
        make_run(tmp_path / str(n), [make_record(f"{n}-{i}", n) for i in range(3)])
        for n in (2, 6)
    ]
    line = ["pool", *map(str, folders), "--by", "utterance", "--save", str(tmp_path)]
    assert main(line) == 0
    text = capsys.readouterr().out
    rows = [row for row in text.splitlines() if row.startswith("| predicted |")]
    shown = [row.split(" | ")[1].split(" ")[0] for row in rows]
    assert shown == ["75.0", "100.0", "50.0"]
    assert "## toy: 6 items\n" in text and "With so few items they are rough" in text
    assert f"{folders[1]}: model of 6" in text
    heads = [row for row in text.splitlines() if row.startswith("| condition")]
    assert set(heads) == {
        "| condition | gain kept, % | ahead, points | nll, nats | wer, % |"
    }
    assert (tmp_path / "pool.md").read_text().strip() == text.strip()
    assert (tmp_path / "pool.html").is_file()
    expected = json.loads(json.dumps(pool_runs(folders, "utterance")))
    assert json.loads((tmp_path / "pool.json").read_text()) == expected


def test_a_gain_is_compared_over_the_items_that_both_answered(tmp_path, capsys):
    """Of what two runs of other items would say, their figures tell nothing."""
    one, two = (
        make_run(
            tmp_path / model,
            [
                *(make_record(str(i), loss, model=model) for i in range(4)),
                make_record(model, 10.0),
            ],
        )
        for model, loss in (("one", 6.0), ("two", 4.0))
    )
    assert main(["compare", str(one), str(two)]) == 0
    rows = capsys.readouterr().out.splitlines()
    found = [row for row in rows if row.startswith("| predicted |")]
    # 4 of 8 nats are kept, then 6 of 8; the cascade keeps 6.
    assert found[0] == "| predicted | 40.0 | 60.0 | +25.0 (+25.0 to +25.0) |"
    assert found[1] == "| predicted | -35.0 | -15.0 | +25.0 (+25.0 to +25.0) |"


def test_what_cannot_be_pooled_is_named_in_one_line(tmp_path):
    records = [make_record(str(i), 3.0) for i in range(3)]
    one = make_run(tmp_path / "one", records)
    same = make_run(tmp_path / "same", records)
    others = [make_record(str(i), 3.0, model="other") for i in range(3)]
    other = make_run(tmp_path / "other", others, Metric("nll", "nats", "Another."))
    cut = make_run(tmp_path / "cut", others)
    Records(cut / "answers" / "toy.jsonl").keep([others[0]["key"]])
    (tmp_path / "none").mkdir()
    for folder, told in (
        (same, "'.*one' and '.*same' both have the answer of the same model to '0'"),
        (other, "toy nll was measured in several ways"),
        (cut, "'.*cut' has 1 answers of toy, and its metrics.json is of 3"),
        (tmp_path / "none", "'.*none' holds no evaluation"),
        (one, "'.*one' and '.*one' both have the answer of the same model to '0'"),
    ):
        with pytest.raises(SystemExit, match=f"^error: {told}[^\n]*$"):
            main(["pool", str(one), str(folder)])
    with pytest.raises(ValueError, match="by: 'word' is none of speaker, utterance"):
        pool_runs([one], by="word")
