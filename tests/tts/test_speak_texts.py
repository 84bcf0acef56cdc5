"""Speaking text sets: what is said, by whom, and what had better not be."""

import json
import re
import shutil

import pytest
import soundfile

from ssr_plugin import build
from ssr_plugin.cli import main
from ssr_plugin.cli.speak import read_texts
from ssr_plugin.data.manifest import read_manifest
from ssr_plugin.problems import TooManyProblems
from ssr_plugin.tts.speak_texts import speak
from ssr_plugin.tts.synthesizers import CommandSynthesizer, SynthesisError
from ssr_plugin.tts.text_normalization import reads_badly, spoken_form, transcript_of

TEXTS = {f"set-{i}": f"The cat sat on mat {i}." for i in range(20)}


@pytest.fixture
def parrot(tmp_path, write_audio):
    """A synthesiser that notes each call and says one tone to all."""
    tone, calls = (
        write_audio(tmp_path / "tone.wav", sample_rate=8000),
        tmp_path / "calls",
    )
    script = tmp_path / "parrot.sh"
    script.write_text(
        f'case "$1" in *fail*) exit 3;; *nothing*) exit 0;; esac\n'
        f'echo "$2 $1" >> {calls}\ncp {tone} "$3"\n'
    )
    made = CommandSynthesizer(
        f"sh {script} {{text}} {{voice}} {{wav}}", ["a", "b", "c"]
    )
    made.calls = lambda: calls.read_text().splitlines() if calls.exists() else []
    return made


# --- What is said ------------------------------------------------------------------


@pytest.mark.parametrize(
    "text, says",
    [
        ("My body cast a shadow.", "my body cast a shadow"),
        ("It’s 5 o'clock -- already?", "it's five o'clock already"),
        ("A well-known (old) trick", "a well known old trick"),
        ("3.5 % of it", "three point five percent of it"),
        (
            "Dr. Bo, in 1984: $21",
            "doctor bo in nineteen eighty four twenty one dollars",
        ),
    ],
)
def test_a_transcript_says_what_is_said(text, says):
    assert spoken_form(text) == transcript_of(text) == says


def test_what_cannot_be_said_has_no_spoken_form_but_others_may_have_said_it():
    assert spoken_form("a/b") is None
    assert transcript_of("a/b") == "a b"


@pytest.mark.parametrize(
    "text, reason",
    [
        ('Plain words, and marks: (yes) "no"; 5% of $3!', None),
        ("3.5 % of it", None),
        ("the % of it", "symbols: %"),
        ("x^2 + 1", "numbers"),
        ("fill the ____ in", "symbols"),
        ("word " * 101, "longer than 100 words"),
        ("1 2 3", "no words"),
        ("", "no words"),
        ("f(x) = {a}", "symbols"),
    ],
)
def test_what_reads_badly_aloud_says_why(text, reason):
    found = reads_badly(text)
    assert found == reason or found.startswith(reason)


def test_how_long_a_text_may_be_is_the_users_to_say():
    assert reads_badly("one two three", max_words=2)


# --- Speaking ----------------------------------------------------------------------


def test_each_text_has_a_recording_and_a_row(tmp_path, parrot):
    skipped = speak({**TEXTS, "bad": "x^2"}, tmp_path / "out", parrot)
    rows = read_manifest(tmp_path / "out" / "manifest.csv")
    assert list(rows) == sorted(TEXTS)
    for row in rows.values():
        info = soundfile.info(row["wav"])
        assert info.samplerate == 16000
        assert row["duration"] == pytest.approx(info.duration)
        assert row["wrd"].startswith("the cat sat on mat ")
    assert list(skipped) == ["bad"]
    assert json.loads((tmp_path / "out" / "skipped.json").read_text()) == skipped


def test_what_is_given_to_the_synthesiser_is_what_the_transcript_says(tmp_path, parrot):
    texts = {
        "a": "3.5 % of it, i.e. $20.50.",
        "b": "Dr. Smith ran 5 km in 1984.",
        "c": "He came 2nd, at 50 °C.",
        "d": "About 5 ¢ of it.",
    }
    assert speak(texts, tmp_path / "out", parrot) == {"d": "symbols: ¢"}
    rows = read_manifest(tmp_path / "out" / "manifest.csv")
    given = {transcript_of(call.partition(" ")[2]) for call in parrot.calls()}
    assert given == {row["wrd"] for row in rows.values()}
    assert rows["a"]["wrd"].startswith("three point five percent of it that is twenty")
    said = " ".join(parrot.calls())
    assert not any(character.isdigit() or character in "%$°" for character in said)


def test_the_id_chooses_the_voice(tmp_path, parrot):
    def voices(folder, texts, **options):
        speak(texts, tmp_path / folder, parrot, **options)
        rows = read_manifest(tmp_path / folder / "manifest.csv")
        return {name: row["spk_id"] for name, row in rows.items()}

    all_of_them = voices("one", TEXTS)
    assert set(all_of_them.values()) == {"a", "b", "c"}
    few = dict(list(TEXTS.items())[5:9])
    assert voices("two", few).items() <= all_of_them.items()
    assert voices("three", TEXTS, seed=1) != all_of_them


def test_what_is_there_is_not_spoken_again(tmp_path, parrot):
    speak(TEXTS, tmp_path / "out", parrot)
    before = (tmp_path / "out" / "manifest.csv").read_bytes()
    (tmp_path / "out" / "manifest.csv").unlink()
    next((tmp_path / "out" / "audio").glob("set-7-*")).unlink()
    speak(TEXTS, tmp_path / "out", parrot)
    assert len(parrot.calls()) == len(TEXTS) + 1
    assert (tmp_path / "out" / "manifest.csv").read_bytes() == before


def test_a_changed_text_or_voice_is_spoken_anew(tmp_path, parrot):
    speak({"a": "one"}, tmp_path / "out", parrot)
    speak({"a": "two"}, tmp_path / "out", parrot)
    parrot.voices = ["z"]
    speak({"a": "two"}, tmp_path / "out", parrot)
    assert len(parrot.calls()) == 3
    (row,) = read_manifest(tmp_path / "out" / "manifest.csv").values()
    assert (row["wrd"], row["spk_id"]) == ("two", "z")


def test_one_failure_is_left_out_and_many_stop(tmp_path, parrot):
    texts = {**TEXTS, "f": "fail", "n": "nothing"}
    skipped = speak(texts, tmp_path / "out", parrot, max_skipped_share=0.2)
    assert "failed" in skipped["f"] and "no speech" in skipped["n"]
    with pytest.raises(TooManyProblems, match="2 of 22"):
        speak(texts, tmp_path / "out", parrot)


def test_silence_is_no_speech(tmp_path):
    soundfile.write(tmp_path / "silence.wav", [0.0] * 8000, 16000)
    mute = CommandSynthesizer(f"cp {tmp_path / 'silence.wav'} {{wav}}")
    with pytest.raises(SynthesisError, match="silence"):
        mute.speak("hello", "default", 16000)


@pytest.mark.parametrize(
    "line",
    [
        "sh -c 'echo {text}'",
        'sh -c "cp a {wav}; echo \\"{text}\\""',
        "sh -c {text}",
        "/usr/bin/env bash -xec {text}",
        "bash -xec 'say {text}'",
        "python3 -c 'print(\"{text}\")'",
        "perl -e {text}",
        "env 'X={text}' sh",
    ],
)
def test_no_command_line_runs_what_stands_in_a_text(line):
    with pytest.raises(SynthesisError, match="a program would run .* of its own"):
        CommandSynthesizer(line)


@pytest.mark.parametrize("place", ["{text}", "--text={text}", ""])
def test_a_text_reaches_the_program_as_it_is(tmp_path, write_audio, place):
    tone = write_audio(tmp_path / "tone.wav")
    script = tmp_path / "say.sh"
    script.write_text(
        f'cat > {tmp_path}/in\necho "$1" > {tmp_path}/arg\ncp {tone} "$2"'
    )
    made = CommandSynthesizer(f"sh {script} {place or 'none'} {{wav}}")
    text = f"$(touch {tmp_path}/run) `touch {tmp_path}/run`; touch {tmp_path}/run {{x}}"
    made.speak(text, "default", 16000)
    found = (tmp_path / ("arg" if place else "in")).read_text().rstrip("\n")
    assert found == place.replace("{text}", "") + text
    assert not (tmp_path / "run").exists()


def test_a_text_is_taken_for_no_option(parrot):
    parrot.speak("-o x", "a", 16000)
    assert parrot.calls() == ["a  -o x"]


@pytest.mark.parametrize(
    "line, message",
    [
        ("sh say.sh {txt}", "there is no {txt}; known: {voice}, {wav}, {text}"),
        ("sh say.sh {}", "there is no {}; known"),
        ("sh say.sh {text.__class__}", "there is no {text.__class__}"),
        ("sh say.sh {text", "expected '}'"),
        ("sh 'say.sh", "No closing quotation"),
        ("", "is empty: name a program"),
    ],
)
def test_a_malformed_command_line_is_told(line, message):
    with pytest.raises(SynthesisError, match=re.escape(message)):
        CommandSynthesizer(line)


@pytest.mark.parametrize("name, program", [("espeak", "espeak-ng"), ("flite", "flite")])
def test_known_synthesisers_speak(name, program):
    if shutil.which(program) is None:
        pytest.skip(f"{program} is not installed")
    made = build.synthesizer(name)
    for voice in made.voices:
        short, long = (
            made.speak(text, voice, 16000)
            for text in ("-yes 'no'", "The cat sat on the mat, and nobody said a word.")
        )
        assert 1600 < len(short) < len(long) < 160000


# --- The command -------------------------------------------------------------------


def ssr_speak(source, folder, parrot, *options):
    line = ["speak", str(source), "--output", str(folder), "--synthesizer", "command"]
    return main([*line, "--command", " ".join(parrot.command), *options])


def test_a_text_file_is_spoken_line_by_line(tmp_path, parrot, capsys):
    (tmp_path / "my.txt").write_text("One line.\n\nx = y\nAnother.\n")
    folder = tmp_path / "out"
    assert ssr_speak(tmp_path / "my.txt", folder, parrot, "--voices", "v") == 0
    rows = read_manifest(folder / "manifest.csv")
    assert {name: row["wrd"] for name, row in rows.items()} == {
        "my-00001": "one line",
        "my-00004": "another",
    }
    assert {row["spk_id"] for row in rows.values()} == {"v"}
    assert "2 spoken, 1 left out\n  1: symbols" in capsys.readouterr().out


def test_what_is_spoken_is_the_users_to_say(tmp_path, parrot):
    (tmp_path / "my.txt").write_text("a line\n" * 30 + "a = b\nthree more words\n")
    ssr_speak(tmp_path / "my.txt", tmp_path / "out", parrot, "--max-items", "4")
    assert len(read_manifest(tmp_path / "out" / "manifest.csv")) == 4
    ssr_speak(tmp_path / "my.txt", tmp_path / "out", parrot, "--max-words", "2")
    rows = read_manifest(tmp_path / "out" / "manifest.csv")
    assert "my-00031" not in rows and "my-00032" not in rows and len(rows) == 30


def test_another_language_is_spoken_and_transcribed_in_its_words(tmp_path, parrot):
    lines = ["Am 3. Mai – für 2,50 €!", "Dr. Groß", "um 12:30", "R&B", "Ludwig XIV"]
    (tmp_path / "my.txt").write_text("\n".join(lines), encoding="utf-8")
    folder = tmp_path / "out"
    ssr_speak(tmp_path / "my.txt", folder, parrot, "--language", "de")
    (row,) = read_manifest(folder / "manifest.csv").values()
    assert row["wrd"] == "am dritten mai für zwei euro fünfzig"
    assert "Am dritten Mai – für zwei Euro fünfzig!" in parrot.calls()[0]
    assert list(json.loads((folder / "skipped.json").read_text()).values()) == [
        "abbreviations: Dr.",
        "numbers: 12:30",
        "symbols: &",
        "Roman numbers: XIV",
    ]


def test_a_language_without_number_words_is_spoken_but_for_its_digits():
    assert reads_badly("\u6211\u6709 5 \u672c\u4e66", language="zh") == (
        "numbers: 5 (no words for 'zh')"
    )
    assert reads_badly("\u6211" * 101, language="zh") == "longer than 100 words"
    assert spoken_form("\u4f60\u597d\u3002", "zh") == "\u4f60\u597d"


def test_espeak_has_a_voice_of_the_language_and_others_are_asked_for_one(tmp_path):
    if shutil.which("espeak-ng") is None or shutil.which("flite") is None:
        pytest.skip("espeak-ng and flite are not installed")
    (tmp_path / "my.txt").write_text("Guten Tag.\n")
    line = ["speak", str(tmp_path / "my.txt"), "--output", str(tmp_path / "out")]
    line += ["--language", "de"]
    assert main(line) == 0
    (row,) = read_manifest(tmp_path / "out" / "manifest.csv").values()
    assert row["spk_id"].startswith("de")
    with pytest.raises(SystemExit, match="--language de needs --voices"):
        main([*line, "--synthesizer", "flite"])


def test_a_synthesiser_that_often_fails_ends_it(tmp_path, parrot):
    (tmp_path / "my.txt").write_text("fail\n")
    with pytest.raises(SystemExit, match="error: .*1 of 1"):
        ssr_speak(tmp_path / "my.txt", tmp_path / "out", parrot)


def test_a_benchmark_is_spoken_by_its_ids(tmp_path):
    row = {"premise": "It rained.", "choice1": "a", "choice2": "b", "label": 1}
    row |= {"question": "effect", "idx": 3}
    (tmp_path / "val.jsonl").write_text(json.dumps(row))
    assert read_texts("copa", tmp_path) == {"copa-dev-3": "It rained"}


@pytest.mark.parametrize(
    "arguments, says",
    [
        (["copaa", "data"], "unknown benchmark 'copaa'.*copa"),
        (["continuation", "data"], "speech of its own"),
        (["copa"], "'copa' needs the option 'data'"),
        (["copa", "/no/such"], "no dev.jsonl"),
        (["copa", "data", "--language", "de"], "benchmarks are in English"),
    ],
)
def test_what_is_wrong_is_named(tmp_path, arguments, says):
    with pytest.raises(SystemExit, match=says):
        main(["speak", *arguments, "--output", str(tmp_path / "out")])


def test_a_synthesiser_or_program_that_is_not_there_is_named(tmp_path):
    (tmp_path / "my.txt").write_text("a line\n")
    line = ["speak", str(tmp_path / "my.txt"), "--output", str(tmp_path / "out")]
    with pytest.raises(SystemExit, match="did you mean 'espeak'"):
        main([*line, "--synthesizer", "espek"])
    with pytest.raises(SystemExit, match="needs --command LINE: the program"):
        main([*line, "--synthesizer", "command"])
    with pytest.raises(SynthesisError, match="no program 'nowhere'"):
        CommandSynthesizer("nowhere {text}")
