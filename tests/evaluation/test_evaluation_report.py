"""Reports and comparisons, made of answers that are known."""

import pytest

from ssr_plugin.cli import main
from ssr_plugin.evaluation.harness.conditions import make_conditions
from ssr_plugin.evaluation.harness.items import ChoiceItem, PromptItem, SpokenText
from ssr_plugin.evaluation.harness.metric import Metric
from ssr_plugin.evaluation.harness.records import Records
from ssr_plugin.evaluation.harness.summary import summarise_choices, summarise_metric
from ssr_plugin.evaluation.report import evaluation_report as report
from ssr_plugin.evaluation.report.compare_runs import compare_runs
from ssr_plugin.evaluation.report.document import Sound
from ssr_plugin.evaluation.report.examples import show_transcripts, show_won_and_lost
from ssr_plugin.metrics.colours import condition_colour

RIGHT, WRONG = [-1.0, -2.0], [-2.0, -1.0]


def told_of(conditions):
    """What ``metrics.json`` says of conditions."""
    return {
        x.name: {"title": x.title, "segmentation": x.segmentation} for x in conditions
    }


def make_run(folder, predicted, count=40):
    """An evaluation in which so many of the predicted answers are right."""
    items, records = [], []
    for i in range(count):
        spoken = SpokenText(f"THING {i}", "x.wav")
        items.append(ChoiceItem(str(i), (spoken,), (" a|b", " <c>"), 0))
        records.append(
            {
                "key": str(i),
                "id": str(i),
                "target": 0,
                "cluster": str(i),
                "conditions": {
                    "text": {"log_likelihoods": RIGHT},
                    "cascade": {
                        "log_likelihoods": RIGHT if i % 2 else WRONG,
                        "readings": [f"thin {i}"],
                    },
                    "predicted": {
                        "log_likelihoods": RIGHT if i < predicted else WRONG,
                        "readings": [f"thing {i}"],
                    },
                },
            }
        )
    conditions = make_conditions(["text", "cascade", "predicted"])
    summary = {
        **summarise_choices(records, conditions, "acc"),
        "benchmark": "toy",
        "about": "A toy.",
        "notes": ["by hand"],
        "skipped": {"99": "no audio"},
    }
    metrics = {
        "model": "a model",
        "command": "evaluate.py x.yaml",
        "versions": report.versions(),
        "conditions": told_of(conditions),
        "benchmarks": {"toy": summary},
    }
    examples = show_won_and_lost("toy", items, records, "acc", 3)
    report.write_report(folder, metrics, examples)
    Records(folder / "answers" / "toy.jsonl").add(records)
    return folder


def test_items_won_and_lost_are_shown_with_what_was_heard(tmp_path):
    text = (make_run(tmp_path, predicted=30) / "report.md").read_text()
    assert "predicted right, cascade wrong (15 of 40)" in text
    assert "cascade right, predicted wrong (5 of 40)" in text
    assert "text right, predicted wrong (10 of 40)" in text
    assert "predicted right, text wrong" not in text
    assert "[THING 0]" in text and "cascade: thin 0" in text
    assert "99: no audio" in text and "by hand" in text


def test_what_an_item_and_its_choices_sound_like_can_be_played():
    asked = SpokenText("ASKED", "b.wav", seconds=2.0)
    context = (SpokenText("SHOWN", "a.wav"), "shown", asked)
    choices = (SpokenText("ONE", "c.wav"), SpokenText("TWO", "d.wav"))
    item = ChoiceItem("1", context, choices, 0)
    answers = {"text": RIGHT, "forced": WRONG}
    record = {
        "id": "1",
        "target": 0,
        "conditions": {name: {"log_likelihoods": x} for name, x in answers.items()},
    }
    blocks = show_won_and_lost("toy", [item], [record], "acc", 3)
    sounds = [block for block in blocks if isinstance(block, Sound)]
    # The first content is an example, as it stands before many items.
    assert sounds == [
        Sound("b.wav", "heard", 2.0),
        Sound("c.wav", "choice 1"),
        Sound("d.wav", "choice 2"),
    ]


def test_the_page_says_what_its_conditions_are_and_shows_their_colours(tmp_path):
    folder = make_run(tmp_path, predicted=30)
    assert (
        "| text | the transcript as text, the best to hope for |"
        in (folder / "report.md").read_text()
    )
    page = (folder / "report.html").read_text()
    for name in ("text", "cascade", "predicted"):
        assert f"background: {condition_colour(name)}" in page
    assert condition_colour("base") not in page


def test_a_table_says_how_sure_and_how_much_is_kept(tmp_path):
    lines = (make_run(tmp_path, predicted=30) / "report.md").read_text().splitlines()
    head = next(line for line in lines if line.startswith("| benchmark |"))
    row = lines[lines.index(head) + 2]
    assert (
        head == "| benchmark | metric | items | chance | text | cascade | predicted |"
    )
    assert row.startswith("| toy | acc | 40 | 50 | 100.0 (100 to 100) | 50.0 (")
    kept = next(line for line in lines if "share of the text's gain" in line)
    assert lines[lines.index(kept) + 2].startswith("| toy | 0.0 (")
    assert "| 50.0 (" in lines[lines.index(kept) + 2]


def test_nothing_of_a_text_becomes_markup(tmp_path):
    folder = make_run(tmp_path, predicted=30)
    assert " a\\|b" in (folder / "report.md").read_text()
    page = (folder / "report.html").read_text()
    assert "&lt;c&gt;" in page and "<c>" not in page


def test_a_comparison_tells_a_difference_and_how_sure_it_is(tmp_path, capsys):
    one, two = (make_run(tmp_path / n, k) for n, k in (("one", 10), ("two", 30)))
    line = ["compare", str(one), str(two), "--save", str(tmp_path / "both")]
    assert main(line) == 0
    text = capsys.readouterr().out
    (line,) = [line for line in text.splitlines() if line.startswith("| predicted")]
    assert line.startswith("| predicted | 25.0 | 75.0 | +50.0 (+")
    (line,) = [line for line in text.splitlines() if line.startswith("| text")]
    assert line.endswith("+0.0 (+0.0 to +0.0) |")
    assert (tmp_path / "both" / "compare.md").read_text().strip() == text.strip()
    assert (tmp_path / "both" / "compare.html").is_file()


WER = Metric("wer", "%", "Word errors.", factor=100)


def make_measured_run(folder, errors):
    """An evaluation of 20 items of 1 to 20 words, with so many errors in each."""
    records = [
        {
            "key": str(i),
            "id": str(i),
            "cluster": str(i),
            "reference": f"TEXT {i}",
            "conditions": {
                "forced": {
                    "transcript": f"wrote {i}",
                    "readings": [f"read {i}"],
                    "metrics": {"wer": [errors, i + 1]},
                }
            },
        }
        for i in range(20)
    ]
    items = [
        PromptItem(str(i), (SpokenText(f"TEXT {i}", "x.wav"),), f"TEXT {i}")
        for i in range(20)
    ]
    conditions = make_conditions(["forced"])
    summary = {
        **summarise_metric(records, conditions, WER),
        "benchmark": "toy",
        "about": "A toy.",
        "notes": [],
        "skipped": {},
    }
    metrics = {"model": "a model", "command": "x", "versions": report.versions()}
    metrics["conditions"] = told_of(conditions)
    metrics["benchmarks"] = {"toy wer": summary}
    report.write_report(folder, metrics, show_transcripts("toy", items, records, 3))
    Records(folder / "answers" / "toy.jsonl").add(records)
    return folder


def test_what_is_measured_has_a_table_of_its_own(tmp_path):
    text = (make_measured_run(tmp_path, errors=2) / "report.md").read_text()
    (head,) = [line for line in text.splitlines() if line.startswith("| measured")]
    assert head == "| measured | items | forced |"
    (row,) = [line for line in text.splitlines() if line.startswith("| toy wer")]
    # 40 errors in 210 words.
    assert row.startswith("| toy wer, % | 20 | 19.0 (")
    assert "chance" not in text
    assert "20 of 20 with errors" in text and text.count("| forced | read") == 3
    assert (tmp_path / "pictures" / "toy_wer.png").is_file()


def test_a_metric_is_compared_as_the_ratio_that_it_is(tmp_path, capsys):
    one, two = (make_measured_run(tmp_path / str(n), n) for n in (2, 1))
    main(["compare", str(one), str(two)])
    lines = capsys.readouterr().out.splitlines()
    (line,) = [line for line in lines if line.startswith("| forced")]
    assert line.startswith("| forced | 19.0 | 9.5 | -9.5 (-")


def test_only_items_that_both_answered_are_compared(tmp_path):
    one, two = (make_run(tmp_path / str(n), 10, count=n) for n in (20, 40))
    blocks = compare_runs([one, two])
    assert any("20 items in common" in str(block) for block in blocks)


@pytest.mark.parametrize(
    ("written", "told"),
    [
        (
            None,
            "'.*two' holds no evaluation .*metrics.json cannot be read: No such file",
        ),
        ("{", "'.*two' holds no evaluation .*metrics.json is damaged: it is no JSON"),
        ('{"test": {}}', "two' holds .*metrics.json is damaged: model is missing"),
        ('{"model": "a", "benchmarks": [1]}', "metrics.json is damaged: benchmarks: "),
        ('{"model": "a", "benchmarks": {}}', "have no benchmark in common"),
    ],
)
def test_what_cannot_be_compared_is_named_in_one_line(tmp_path, written, told):
    one, two = make_run(tmp_path / "one", 10), tmp_path / "two"
    two.mkdir()
    if written is not None:
        (two / "metrics.json").write_text(written)
    with pytest.raises(SystemExit, match=f"^error: .*{told}[^\n]*$"):
        main(["compare", str(one), str(two)])


def test_there_must_be_two_folders_to_compare(tmp_path):
    one = make_run(tmp_path / "one", 10)
    with pytest.raises(SystemExit, match="^error: name two evaluations or more$"):
        main(["compare", str(one)])
    with pytest.raises(SystemExit, match="^error: there is no folder '.*two'$"):
        main(["compare", str(one), str(tmp_path / "two")])
