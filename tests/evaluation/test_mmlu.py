"""MMLU, in the layout of its release and of the Hugging Face hub."""

import shutil
import sys
import types

import pytest

from ssr_plugin.data.manifest import write_manifest
from ssr_plugin.evaluation.benchmarks.mmlu import MMLU
from ssr_plugin.evaluation.harness.items import SpokenText
from ssr_plugin.tts.text_normalization import spoken_form

LAW = (
    '"Who said ""no, never""?",he,she,"it, or not",they,C\nWhat is square?,1,2,3,4,A\n'
)


@pytest.fixture
def folder(tmp_path):
    for split, rows in (("test", 2), ("dev", 5)):
        (tmp_path / split).mkdir()
        text = LAW if split == "test" else ""
        text += "".join(f"example {i},a,b,c,d,{'ABCDA'[i]}\n" for i in range(rows))
        for subject in ("world_law", "anatomy"):
            (tmp_path / split / f"{subject}_{split}.csv").write_text(text)
    return tmp_path


def read(item):
    parts = (p if isinstance(p, str) else p.written for p in item.context)
    return "".join(parts)


def test_the_prompt_is_that_of_the_harness(folder):
    item = MMLU(folder, subjects=["world*"]).items(align=None)[0]
    assert read(item) == (
        "The following are multiple choice questions (with answers) about world law."
        '\n\nWho said "no, never"?\nA. he\nB. she\nC. it, or not\nD. they\nAnswer:'
    )
    assert item.choices == (" A", " B", " C", " D")
    assert item.target == 2


def test_examples_of_the_subject_come_first(folder):
    mmlu = MMLU(folder, shots=5)
    text = read(mmlu.items(align=None)[0])
    assert text.count("Answer:") == 6
    assert "example 3\nA. a\nB. b\nC. c\nD. d\nAnswer: D\n\nexample 4" in text
    assert text.endswith("\nAnswer:")
    assert "5 examples" in mmlu.about


def test_the_question_is_what_is_heard_and_nothing_else(folder):
    item = MMLU(folder, shots=1).items(align=None)[0]
    (part,) = (part for part in item.context if isinstance(part, SpokenText))
    assert part.written == 'Who said "no, never"?'
    assert part.text == "who said no never"
    assert MMLU(folder).texts()[item.id] == part.written


def test_a_question_that_cannot_be_said_is_text_as_it_stands(folder):
    (folder / "test" / "anatomy_test.csv").write_text("Is 2 % of x^2 more?,1,2,3,4,A\n")
    item = MMLU(folder, subjects=["anatomy"]).items(align=None)[0]
    (spoken,) = (x for x in item.context if isinstance(x, SpokenText))
    assert spoken.text == spoken.written == "Is 2 % of x^2 more?"


def speak_all_but(mmlu, folder, write_audio, *left_out):
    """A folder as ``ssr speak`` makes it."""
    rows = [
        (name, 0.5, str(write_audio(folder / f"{name}.wav")), "v", spoken_form(text))
        for name, text in mmlu.texts().items()
        if name not in left_out
    ]
    write_manifest(folder / "manifest.csv", rows)
    return folder


def test_the_questions_of_examples_are_heard_where_they_were_spoken(
    folder, tmp_path, write_audio
):
    lost = "mmlu-anatomy-dev-00001"
    speech = speak_all_but(MMLU(folder), tmp_path / "speech", write_audio, lost)
    mmlu = MMLU(folder, shots=3, speech=speech)
    items = {item.id: item for item in mmlu.items(align=None)}
    heard = [part.text for part in items["mmlu-world_law-00000"].recordings()]
    assert heard == ["example zero", "example one", "example two", "who said no never"]
    heard = [part.text for part in items["mmlu-anatomy-00000"].recordings()]
    assert heard == ["example zero", "example two", "who said no never"]
    # Read as the set writes them, they are what they would be as text.
    texts = MMLU(folder, shots=3).items(align=None)
    assert [read(items[item.id]) for item in texts] == [read(item) for item in texts]
    assert "5 of 6 examples are heard, the rest is text" in mmlu.notes
    assert mmlu.about.startswith("The questions are heard, with 3 examples")


def test_examples_may_be_text_though_the_question_is_heard(
    folder, tmp_path, write_audio
):
    speech = speak_all_but(MMLU(folder), tmp_path / "speech", write_audio)
    mmlu = MMLU(folder, shots=3, speech=speech, spoken_shots=False)
    assert [len(item.recordings()) for item in mmlu.items(align=None)] == [1] * 8
    assert mmlu.about.startswith("The question is heard")


def test_all_examples_are_spoken_however_few_questions_are(folder):
    names = MMLU(folder).texts(max_items=2)
    assert sum("-dev-" in name for name in names) == 10 and len(names) == 12
    shutil.rmtree(folder / "dev")
    assert len(MMLU(folder).texts()) == 8


def test_subjects_are_chosen_by_name_or_glob(folder):
    assert len(MMLU(folder).items(align=None)) == 8
    ids = [item.id for item in MMLU(folder, subjects=["ana*"]).items(align=None)]
    assert ids == [f"mmlu-anatomy-{i:05d}" for i in range(4)]
    with pytest.raises(ValueError, match="is one of physics"):
        MMLU(folder, subjects=["physics"]).items(align=None)


@pytest.mark.parametrize("line", ["q,a,b,c,d", "q,a,b,c,d,E", "q,a,b,c,d,A,x"])
def test_a_bad_row_is_named(folder, line):
    path = folder / "test" / "anatomy_test.csv"
    path.write_text(f"q,a,b,c,d,A\n{line}\n")
    with pytest.raises(ValueError, match="anatomy_test.csv, row 2"):
        MMLU(folder).items(align=None)


def test_too_few_examples_are_named(folder):
    (folder / "dev" / "anatomy_dev.csv").write_text("q,a,b,c,d,A\n")
    with pytest.raises(ValueError, match="1 examples of anatomy, not 5"):
        MMLU(folder, shots=5).items(align=None)
    with pytest.raises(ValueError, match="not between 0 and 5"):
        MMLU(folder, shots=6)


def test_the_hubs_copy_gives_the_same_items(folder, monkeypatch):
    rows = {"dev": [], "test": []}
    for split in rows:
        for docs in MMLU(folder)._docs_of(split).values():
            rows[split] += [{k: doc[k] for k in doc if k != "number"} for doc in docs]
    hub = types.ModuleType("datasets")
    asked = []

    def load_dataset(name, config, split):
        asked.append((name, config))
        return rows[split]

    hub.load_dataset = load_dataset
    monkeypatch.setitem(sys.modules, "datasets", hub)
    items = MMLU("cais/mmlu", shots=5).items(align=None)
    assert items == MMLU(folder, shots=5).items(align=None)
    assert set(asked) == {("cais/mmlu", "all")}


def test_without_folder_and_package_the_mend_is_told(monkeypatch):
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(ValueError, match="pip install ssr-plugin.datasets"):
        MMLU("cais/mmlu").items(align=None)


def test_a_hub_that_has_no_such_set_is_named(monkeypatch):
    hub = types.ModuleType("datasets")

    def load_dataset(name, config, split):
        raise ConnectionError("no way there")

    hub.load_dataset = load_dataset
    monkeypatch.setitem(sys.modules, "datasets", hub)
    with pytest.raises(ValueError, match="cais/mmlu.*no way there"):
        MMLU("cais/mmlu").items(align=None)
