"""Every example script runs as it is, with the bundled recordings or with others."""

import pathlib
import runpy

import pytest

EXAMPLES = pathlib.Path(__file__).parents[1] / "examples"
NAMES = sorted(path.stem for path in EXAMPLES.glob("*.py"))


@pytest.fixture
def example(tiny_speech_lm_folder, capsys):
    """``example(name, ...)``: what the script prints with a tiny model."""

    def run(name, *arguments):
        main = runpy.run_path(str(EXAMPLES / f"{name}.py"))["main"]
        main(str(tiny_speech_lm_folder), *map(str, arguments))
        return capsys.readouterr().out

    return run


def test_there_is_one_for_each_use():
    assert set(NAMES) == {
        "ask",
        "embeddings",
        "few_shot",
        "live",
        "transcribe",
        "vllm_prompt_embeds",
    }


@pytest.mark.parametrize("name", NAMES)
def test_an_example_runs_on_the_bundled_recordings(example, name):
    assert example(name)


@pytest.fixture
def talk(tmp_path, write_audio):
    return write_audio(tmp_path / "a.wav", 1.0)


@pytest.mark.parametrize(
    "name", ["transcribe", "embeddings", "live", "vllm_prompt_embeds"]
)
def test_recordings_can_be_given(example, name, talk):
    assert example(name, talk)


def test_a_question_and_answers_to_choose_from_can_be_given(example, talk):
    printed = example("ask", talk, " the cat", " sat", " a").splitlines()
    assert printed[1] == "asked:  the cat"
    assert [line.split(":")[0] for line in printed[-2:]] == [" sat", " a"]


def test_spoken_examples_can_be_given(example, talk):
    printed = example("few_shot", talk, "the cat", talk)
    assert printed.startswith(
        "one said, [a.wav]:\nand another said, the cat.\none said, [a.wav]:"
    )
