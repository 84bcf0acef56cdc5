"""The command ``ssr``: what it prints, what it writes, what it says when it cannot."""

import configparser
import io
import json
import os
import pathlib
import re
import runpy
import shutil
import subprocess
import sys

import pytest
import torch
from safetensors import safe_open

from ssr_plugin import SpeechLM, __version__
from ssr_plugin.alignment.formats import read_file
from ssr_plugin.cli import main
from ssr_plugin.cli.parser import COMMANDS
from ssr_plugin.data import read_ahead
from ssr_plugin.inference.speech_files import load_speech


@pytest.fixture(scope="module")
def lm(tiny_speech_lm_folder):
    return SpeechLM.from_pretrained(tiny_speech_lm_folder)


@pytest.fixture
def talks(tmp_path, write_audio):
    """A folder with two recordings, one of them a folder below."""
    write_audio(tmp_path / "talks" / "a.wav", 1.0, seed=1)
    write_audio(tmp_path / "talks" / "more" / "b.flac", 2.0, seed=2)
    (tmp_path / "talks" / "a.txt").write_text("the cat\nsat\n")
    (tmp_path / "talks" / "more" / "b.lab").write_text("a mat")
    return tmp_path / "talks"


@pytest.fixture
def ssr(tiny_speech_lm_folder, capsys):
    """``ssr(command, ...)``: exit status and printed lines of the command."""

    def run(command, *arguments):
        line = [command, *map(str, arguments)]
        if command != "align":
            line += ["--model", str(tiny_speech_lm_folder), "--device", "cpu"]
        status = main(line)
        return status, capsys.readouterr().out.splitlines()

    return run


def error(*line):
    """The message that the command ends with."""
    with pytest.raises(SystemExit) as stopped:
        main([str(x) for x in line])
    message = str(stopped.value)
    assert message.startswith("error: ")
    return message


# --- The command itself ------------------------------------------------------------


def test_the_help_of_a_command_loads_no_torch():
    code = (
        "import sys\nfrom ssr_plugin.cli import main\n"
        "try: main(['transcribe', '--help'])\nexcept SystemExit: pass\n"
        "assert not {'torch', 'transformers', 'numpy'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


@pytest.mark.parametrize("command", COMMANDS)
def test_the_help_of_each_command_has_an_example(command, capsys):
    with pytest.raises(SystemExit) as stopped:
        main([command, "--help"])
    assert stopped.value.code == 0
    assert f"\n  ssr {command} " in capsys.readouterr().out


def test_the_package_installs_the_command_ssr():
    setup = configparser.ConfigParser()
    setup.read(pathlib.Path(__file__).parents[2] / "setup.cfg")
    scripts = setup["options.entry_points"]["console_scripts"].split("\n")
    assert "ssr = ssr_plugin.cli:main" in scripts


def test_python_m_ssr_plugin_is_the_command_ssr(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["ssr", "--version"])
    with pytest.raises(SystemExit):
        runpy.run_module("ssr_plugin", run_name="__main__")
    assert capsys.readouterr().out == f"{__version__}\n"


@pytest.mark.parametrize("line", [[], ["transcribe"], ["listen"], ["align", "--x"]])
def test_a_malformed_command_line_ends_with_the_usage(line, capsys):
    with pytest.raises(SystemExit) as stopped:
        main(line)
    assert stopped.value.code == 2
    assert "usage: ssr" in capsys.readouterr().err


def test_align_ends_without_traceback_when_its_reader_closes_the_pipe(
    talks, tiny_speech_lm_folder
):
    line = f"-m ssr_plugin align {talks} --aligner even --format text"
    process = subprocess.Popen(
        [sys.executable, *line.split()], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    process.stdout.close()
    assert b"Traceback" not in process.stderr.read()
    assert process.wait() == 1


@pytest.fixture
def bad_name(talks, write_audio):
    """A recording whose file name is Latin-1."""
    path = pathlib.Path(os.fsdecode(os.fsencode(talks) + b"/caf\xe9.wav"))
    try:
        shutil.copy(talks / "a.wav", path)
    except OSError:
        pytest.skip("this file system has no such names")
    shutil.copy(talks / "a.txt", path.with_suffix(".txt"))
    return path


@pytest.mark.parametrize("command", ["transcribe", "generate", "align"])
def test_a_file_name_that_is_not_utf8_loses_no_result(ssr, talks, bad_name, command):
    options = {"generate": ["--prompt", "{audio}"], "align": ["--aligner", "even"]}
    line = [command, talks, *options.get(command, [])]
    status, lines = ssr(*line)
    assert status == 0
    names = {line.split("\t")[0] for line in lines}
    others = {str(talks / "a.wav"), str(talks / "more" / "b.flac")}
    assert names == {*others, str(talks / "caf\\udce9.wav")}
    # In JSON it stands for the very name.
    form = ["--json"] if command != "align" else ["--format", "json"]
    status, lines = ssr(*line, *form)
    assert status == 0
    records = [json.loads(line) for line in lines]
    names = [name for x in records for name in x.get("paths", [x.get("path")])]
    assert sorted(names) == sorted([*others, str(bad_name)])


def test_embed_keeps_recordings_whose_name_is_not_utf8(ssr, talks, bad_name, tmp_path):
    path = tmp_path / "all.safetensors"
    assert ssr("embed", talks, "--output", path)[0] == 0
    assert str(talks / "caf\\udce9.wav") in load_speech(path)


@pytest.mark.parametrize("aligner", ["ctc", "files", "trained"])
def test_an_aligner_that_needs_an_option_says_so(talks, aligner):
    message = error("align", talks, "--aligner", aligner)
    assert f"aligner '{aligner}' needs the option 'source'" in message


# --- Which recordings --------------------------------------------------------------


def test_transcribe_takes_folders_globs_and_files(ssr, talks):
    a, b = talks / "a.wav", talks / "more" / "b.flac"
    for names in ([talks], [a, b], [f"{talks}/**/*"], [a, talks / "more"]):
        _, lines = ssr("transcribe", *names)
        assert [line.split("\t")[0] for line in lines] == [str(a), str(b)]


def test_a_folder_or_glob_without_recordings_is_an_error(
    tmp_path, tiny_speech_lm_folder
):
    for name in (tmp_path, tmp_path / "*.wav"):
        message = error("transcribe", name, "--model", tiny_speech_lm_folder)
        assert message == f"error: there are no audio files in '{name}'"


@pytest.mark.parametrize("command", ["transcribe", "generate", "embed", "export"])
def test_recordings_that_cannot_be_read_are_named_and_the_rest_goes_on(
    ssr, talks, command, caplog, tmp_path
):
    (talks / "bad.wav").write_text("no audio")
    names = [talks, talks / "none.wav"]
    if command in ("generate", "export"):
        names += ["--prompt", "{audio}", "--max-new-tokens", 2]
    if command == "embed":
        names += ["--output", tmp_path / "out.safetensors"]
    status, lines = ssr(command, *names)
    assert status == 1
    assert f"skipped {talks / 'bad.wav'}: cannot read" in caplog.text
    assert f"skipped {talks / 'none.wav'}: there is no audio file" in caplog.text
    if command == "embed":
        assert len(load_speech(tmp_path / "out.safetensors")) == 2
    else:
        assert len(lines) == 2


def test_containers_in_folders_and_globs_are_read(ssr, lm, talks, convert_audio):
    path = convert_audio(talks / "a.wav", talks / "more" / "c.m4a")
    _, lines = ssr("transcribe", talks / "more" / "c.m4a", "--json")
    # The m4a holds what the codec made of the tone: not what the WAV file does.
    assert json.loads(lines[0])["text"] == lm.transcribe(path)
    for name in (talks / "more", f"{talks}/more/*.*"):
        _, lines = ssr("transcribe", name)
        assert [line.split("\t")[0] for line in lines] == [
            str(talks / "more" / "b.flac"),
            str(path),
        ]
    (talks / "more" / "c.txt").write_text("the cat")
    assert len(ssr("align", path, "--aligner", "even")[1]) == 2


def test_containers_in_folders_and_globs_are_named_without_ffmpeg(
    ssr, talks, no_ffmpeg, caplog
):
    path = talks / "more" / "c.m4a"
    path.write_bytes(b"some container")
    (talks / "more" / "c.txt").write_text("the cat")
    for line in (
        ["transcribe", talks],
        ["transcribe", f"{talks}/**/*"],
        ["align", talks, "--aligner", "even", "--num-workers", 1],
    ):
        caplog.clear()
        status, _ = ssr(*line)
        assert status == 1
        assert f"skipped {path}: cannot read {path} without ffmpeg: pip" in caplog.text


# --- Standard input ----------------------------------------------------------------


@pytest.fixture
def give(monkeypatch):
    """``give(bytes)``: what comes in on standard input."""

    def give(content):
        stdin = io.TextIOWrapper(io.BytesIO(content))
        monkeypatch.setattr(sys, "stdin", stdin)

    return give


@pytest.mark.parametrize("name", ["a.wav", "more/b.flac"])
def test_a_dash_is_the_recording_on_standard_input(ssr, lm, talks, give, name):
    content = (talks / name).read_bytes()
    give(content)
    assert ssr("transcribe", "-") == (0, [lm.transcribe(talks / name)])
    give(content)
    _, (line,) = ssr("transcribe", "-", "--json")
    _, (other,) = ssr("transcribe", talks / name, "--json")
    assert json.loads(line) == json.loads(other) | {"path": "-"}


def test_a_dash_may_stand_anywhere_among_files(ssr, talks, give):
    give((talks / "a.wav").read_bytes())
    _, lines = ssr("transcribe", talks / "more", "-")
    paths, texts = zip(*(line.split("\t") for line in lines), strict=True)
    assert paths == (str(talks / "more" / "b.flac"), "-")
    _, lines = ssr("transcribe", talks)
    assert lines[0].split("\t")[1] == texts[1]


def test_a_dash_fills_a_slot_of_a_prompt(ssr, talks, give):
    line = ["--prompt", "the {audio} cat {audio}", "--max-new-tokens", 5, "--json"]
    a, b = talks / "a.wav", talks / "more" / "b.flac"
    expected = json.loads(ssr("generate", a, b, *line)[1][0])
    give(a.read_bytes())
    result = json.loads(ssr("generate", "-", b, *line)[1][0])
    assert result == {"paths": ["-", str(b)], "text": expected["text"]}
    give(b.read_bytes())
    (request,) = ssr("export", a, "-", "--prompt", "the {audio} cat {audio}")[1]
    (other,) = ssr("export", a, b, "--prompt", "the {audio} cat {audio}")[1]
    assert request == other


def test_a_dash_is_embedded_under_its_name(ssr, lm, talks, give, tmp_path):
    give((talks / "a.wav").read_bytes())
    assert ssr("embed", "-", "--output", tmp_path / "x.safetensors") == (0, [])
    ((name, speech),) = load_speech(tmp_path / "x.safetensors").items()
    assert name == "-"
    expected = lm.embed(talks / "a.wav").vectors
    assert torch.allclose(speech.vectors, expected, atol=1e-4)


def test_a_dash_is_aligned_with_the_text_that_is_given(ssr, talks, give, tmp_path):
    line = ["--aligner", "even", "--text", "the cat"]
    expected = ssr("align", talks / "a.wav", *line)
    give((talks / "a.wav").read_bytes())
    assert ssr("align", "-", *line) == expected
    give((talks / "a.wav").read_bytes())
    _, (record,) = ssr("align", "-", *line, "--format", "json")
    assert json.loads(record)["path"] == json.loads(record)["id"] == "-"


def test_a_dash_without_a_transcript_is_named(ssr, talks, give, caplog):
    give((talks / "a.wav").read_bytes())
    status, lines = ssr("align", talks / "a.wav", "-", "--aligner", "even")
    assert status == 1 and len(lines) == 3
    assert "skipped -: standard input has no transcript beside it: give" in caplog.text


@pytest.mark.parametrize(
    "line", [["transcribe", "-"], ["align", "-", "--aligner", "even", "--text", "a"]]
)
def test_standard_input_that_is_no_audio_is_named_by_a_dash(ssr, give, caplog, line):
    for content in (b"", b"no audio"):
        give(content)
        caplog.clear()
        assert ssr(*line) == (1, [])
        assert "skipped -: cannot read - (libsndfile: " in caplog.text


def test_two_dashes_are_refused(tiny_speech_lm_folder):
    for line in (["transcribe", "-", "-"], ["align", "-", "-"]):
        assert "only once" in error(*line)


@pytest.mark.long
@pytest.mark.slow
def test_an_m4a_comes_in_through_a_pipe(talks, tiny_speech_lm_folder, convert_audio):
    path = convert_audio(talks / "a.wav", talks / "c.m4a")
    line = [sys.executable, "-m", "ssr_plugin", "transcribe", "--json"]
    line += ["--model", tiny_speech_lm_folder, "--device", "cpu"]
    piped = subprocess.run([*line, "-"], input=path.read_bytes(), capture_output=True)
    assert piped.returncode == 0, piped.stderr.decode()
    by_path = subprocess.run([*line, path], capture_output=True, check=True)
    assert json.loads(piped.stdout) == json.loads(by_path.stdout) | {"path": "-"}


# --- The model ---------------------------------------------------------------------


def test_a_missing_default_model_says_how_to_train_one(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert "hparams/distill.yaml" in error("transcribe", "a.wav")


def test_an_unknown_device_or_dtype_is_named(tiny_speech_lm_folder, talks):
    line = ["transcribe", talks, "--model", tiny_speech_lm_folder]
    assert "--device tpu9: " in error(*line, "--device", "tpu9")
    assert "it may be float32" in error(*line, "--dtype", "int8")


# --- transcribe --------------------------------------------------------------------


def test_transcribe_prints_the_text_alone_for_one_recording(ssr, lm, talks):
    assert ssr("transcribe", talks / "a.wav") == (0, [lm.transcribe(talks / "a.wav")])


def test_transcribe_json_has_all_fields_of_the_speech(ssr, lm, talks):
    _, lines = ssr("transcribe", talks, "--json")
    speech = lm.embed(talks / "more" / "b.flac", lm_fusion=True)
    record = json.loads(lines[1])
    assert record["path"] == str(talks / "more" / "b.flac")
    assert (record["text"], record["hypothesis"]) == (speech.text, speech.hypothesis)
    assert (record["seconds"], record["segmentation"]) == (2.0, "predicted")
    assert record["lm_fusion"] is True
    assert [token["id"] for token in record["tokens"]] == speech.tokens
    assert [token["start"] for token in record["tokens"]] == speech.starts
    assert [token["end"] for token in record["tokens"]] == speech.ends
    assert "".join(t["text"] for t in record["tokens"]).strip() == speech.text


def test_lm_fusion_is_on_in_transcribe_and_off_in_embed(ssr, talks, tmp_path):
    fused = {"transcribe": {}, "embed": {}}
    for options in ([], ["--no-lm-fusion"]):
        _, (line,) = ssr("transcribe", talks / "a.wav", "--json", *options)
        fused["transcribe"][not options] = json.loads(line)["lm_fusion"]
    for options in ([], ["--lm-fusion"]):
        path = tmp_path / "a.safetensors"
        ssr("embed", talks / "a.wav", "--output", path, *options)
        (speech,) = load_speech(path).values()
        fused["embed"][not options] = speech.lm_fusion
    assert fused == {
        "transcribe": {True: True, False: False},
        "embed": {True: False, False: True},
    }


def test_transcribe_times_are_those_of_words(ssr, lm, talks):
    _, lines = ssr("transcribe", talks / "a.wav", "--times")
    starts, ends, words = zip(*(line.split("\t") for line in lines), strict=True)
    speech = lm.embed(talks / "a.wav", lm_fusion=True)
    assert " ".join(words) == speech.text
    assert float(starts[0]) == speech.starts[0] and float(ends[-1]) == speech.ends[-1]


def test_transcribe_with_a_prompt_prints_what_the_llm_writes(ssr, lm, talks):
    options = {"max_new_tokens": 4, "do_sample": False}
    expected = lm.transcribe(talks / "a.wav", prompt="\nthe", **options)
    line = [talks / "a.wav", "--prompt", r"\nthe", "--max-new-tokens", 4]
    assert "\n".join(ssr("transcribe", *line)[1]) == expected
    assert "has none" in error("transcribe", *line, "--times")


# --- generate ----------------------------------------------------------------------


def test_recordings_fill_the_slots_of_a_prompt_in_order(ssr, lm, talks):
    a, b = talks / "a.wav", talks / "more" / "b.flac"
    expected = lm.generate(
        ["the ", a, "\ncat ", b, " sat"], max_new_tokens=5, do_sample=False
    )
    line = ["--prompt", r"the {audio}\ncat {audio} sat", "--max-new-tokens", 5]
    assert ssr("generate", a, b, *line) == (0, expected.split("\n"))
    assert ssr("generate", a, b, *line, "--stream") == (0, expected.split("\n"))
    _, (record,) = ssr("generate", a, b, *line, "--json")
    assert json.loads(record) == {"paths": [str(a), str(b)], "text": expected}


def test_more_recordings_than_slots_make_more_prompts(ssr, talks):
    line = ["--prompt", "the {audio}", "--max-new-tokens", 5, "--json"]
    _, lines = ssr("generate", talks, *line)
    alone = [ssr("generate", p, *line)[1][0] for p in (talks / "a.wav", talks / "more")]
    assert lines == alone


def test_generate_takes_a_prompt_without_recordings(ssr, lm):
    expected = lm.generate("the cat", max_new_tokens=5, do_sample=False)
    line = ["--prompt", "the cat", "--max-new-tokens", 5]
    assert ssr("generate", *line) == (0, [expected])


def test_the_number_of_files_must_be_a_multiple_of_the_slots(talks):
    message = error("generate", talks / "a.wav", "--prompt", "{audio}{audio}")
    assert "1 recordings for the 2 places" in message
    assert "0 recordings for the 1 places" in error("generate", "--prompt", "{audio}")
    message = error("generate", talks, "--prompt", "{audio}", "--stream")
    assert "--stream is for one prompt, and there are 2" in message


def test_generate_draws_the_same_text_with_the_same_seed(ssr):
    line = ["--prompt", "the", "--max-new-tokens", 20, "--temperature", 5]
    first = ssr("generate", *line, "--seed", 1)
    assert ssr("generate", *line, "--seed", 1) == first
    assert ssr("generate", *line, "--seed", 2) != first


def test_generate_chat_makes_the_prompt_the_users_turn(
    ssr, talks, tiny_llm_folder, tmp_path
):
    llm = shutil.copytree(tiny_llm_folder, tmp_path / "llm")
    template = "{% for m in messages %}the {{ m.content }} cat{% endfor %}"
    (llm / "chat_template.jinja").write_text(template)
    line = [talks / "a.wav", "--max-new-tokens", 5, "--llm-source", llm]
    chat = ssr("generate", *line, "--prompt", "sat {audio}", "--chat")
    assert chat == ssr("generate", *line, "--prompt", "the sat {audio} cat")


@pytest.mark.parametrize("command", ["generate", "export"])
def test_chat_without_a_template_is_refused_before_audio_is_read(
    talks, tiny_speech_lm_folder, monkeypatch, command
):
    monkeypatch.setattr(SpeechLM, "embed_each", pytest.fail)
    line = [talks / "a.wav", "--prompt", "{audio}", "--model", tiny_speech_lm_folder]
    message = error(command, *line, "--chat")
    assert re.fullmatch(
        r"error: --chat: the LLM '.*' has no chat template: .*", message
    )


# --- align -------------------------------------------------------------------------


def test_align_prints_words_with_their_times(ssr, talks):
    line = [talks / "a.wav", "--aligner", "even"]
    status, lines = ssr("align", *line)
    assert status == 0
    assert [line.split("\t")[-1] for line in lines] == ["the", "cat", "sat"]
    _, lines = ssr("align", *line, "--text", "one")
    assert lines == ["0.000\t1.000\tone"]


@pytest.mark.parametrize("form", ["json", "ctm", "textgrid"])
def test_files_that_align_writes_are_read_again(ssr, talks, tmp_path, form):
    ssr("align", talks, "--aligner=even", "--format", form, "--output", tmp_path / "x")
    paths = sorted((tmp_path / "x").iterdir())
    assert [path.stem for path in paths] == ["a", "b"]
    (timed,) = read_file(paths[0])
    assert timed.id == "a"
    assert [word for word, *_ in timed.words()] == ["the", "cat", "sat"]


def test_align_prints_the_path_before_the_words_of_many_recordings(ssr, talks):
    _, lines = ssr("align", talks, "--aligner", "even")
    assert {line.split("\t")[0] for line in lines} == {
        str(talks / "a.wav"),
        str(talks / "more" / "b.flac"),
    }


def test_align_with_pocketsphinx_needs_no_options(ssr, talks):
    status, lines = ssr("align", talks / "a.wav", "--num-workers", 1)
    assert status == 0 and len(lines) == 3


def test_align_warns_of_another_language_and_names_letters_it_cannot_say(
    ssr, talks, caplog
):
    german = "Es war einmal ein Müller, der hatte eine schöne Tochter. " * 2
    line = ["align", talks / "a.wav", "--num-workers", 1, "--text"]
    ssr(*line, german)
    assert "are they in another language?" in caplog.text
    caplog.clear()
    status, lines = ssr(*line, "Доброе утро")
    assert status == 1 and lines == []
    assert "no sounds for its letters 'Добреут': take" in caplog.text


def test_a_recording_that_cannot_be_aligned_is_named(ssr, talks, caplog):
    (talks / "a.txt").unlink()
    (talks / "bad.wav").write_text("no audio")
    (talks / "bad.txt").write_text("the")
    status, lines = ssr("align", talks, "--aligner", "even")
    assert status == 1 and len(lines) == 2
    assert "a.wav: no transcript: give --text, or put it into a.txt" in caplog.text
    assert f"cannot read {talks / 'bad.wav'} (" in caplog.text


def test_aligner_options_reach_the_aligner(talks):
    line = ["align", talks, "--aligner", "ctc", "--aligner-option"]
    assert "/no/such" in error(*line, "source=/no/such/model")
    assert "has no option 'speed'" in error(*line, "speed=9")
    assert "not of the form KEY=VALUE" in error(*line, "speed")
    assert "unknown aligner 'mfa'" in error("align", talks, "--aligner", "mfa")


def test_align_refuses_outputs_that_cannot_be_told_apart(talks, tmp_path):
    assert "--text is the transcript of one" in error("align", talks, "--text", "a")
    assert "give --output" in error("align", talks, "--format", "textgrid")
    shutil.copy(talks / "a.wav", talks / "more" / "a.wav")
    message = error("align", talks, "--output", tmp_path / "x")
    assert "would be written to the same file" in message


# --- embed, export -----------------------------------------------------------------


def test_vectors_that_embed_writes_are_read_again(ssr, lm, talks, tmp_path):
    path = tmp_path / "all.safetensors"
    assert ssr("embed", talks, "--output", path) == (0, [])
    speeches = load_speech(path)
    for name, speech in speeches.items():
        assert torch.allclose(speech.vectors, lm.embed(name).vectors, atol=1e-4)
    assert list(speeches) == [str(talks / "a.wav"), str(talks / "more" / "b.flac")]


def test_embed_tells_how_much_audio_went_through_in_a_second(
    ssr, talks, tmp_path, capsys, tiny_speech_lm_folder
):
    line = ["embed", str(talks), "--model", str(tiny_speech_lm_folder)]
    main([*line, "--output", str(tmp_path / "x.safetensors"), "--device", "cpu"])
    told = capsys.readouterr().err
    assert " x real time" in told
    found = re.search(
        r"^3\.0 s of audio in (\d+\.\d) s: (\d+) times real time$", told, re.MULTILINE
    )
    elapsed, rate = float(found[1]), int(found[2])
    assert elapsed - 0.06 < 3 / rate < elapsed + 0.06


def test_files_that_processes_read_are_written_as_ever(
    ssr, write_audio, tmp_path, monkeypatch
):
    for number in range(20):
        write_audio(tmp_path / "many" / f"{number:02}.wav", 0.5, seed=number)
    started, start = [], read_ahead.ReadAhead._start
    monkeypatch.setattr(
        read_ahead.ReadAhead,
        "_start",
        lambda self: started.append(self._processes) or start(self),
    )
    found = [ssr("transcribe", tmp_path / "many", "--num-workers", n) for n in (0, 2)]
    assert found[0] == found[1] and len(found[0][1]) == 20
    assert max(started) == 2


def test_embed_and_export_write_nothing_if_no_recording_can_be_read(
    tmp_path, tiny_speech_lm_folder
):
    line = [tmp_path / "no.wav", "--model", tiny_speech_lm_folder]
    line += ["--output", tmp_path / "out.safetensors"]
    assert "nothing is written" in error("embed", *line)
    assert "nothing is written" in error("export", "--prompt", "{audio}", *line)
    assert not list(tmp_path.iterdir())


def test_export_writes_prompts_as_a_file_or_as_requests(ssr, lm, talks, tmp_path):
    line = [talks, "--prompt", r"the {audio}\n", "--max-new-tokens", 9]
    ssr("export", *line, "--output", tmp_path / "prompts.safetensors")
    expected = lm.embed_prompts(["the ", talks / "more" / "b.flac", "\n"])
    with safe_open(tmp_path / "prompts.safetensors", "pt") as file:
        assert sorted(file.keys()) == ["000000", "000001"]
        assert torch.allclose(file.get_tensor("000001"), expected, atol=1e-4)
    _, lines = ssr("export", *line)
    requests = [json.loads(line) for line in lines]
    assert [r["max_tokens"] for r in requests] == [9, 9]
    assert requests[0]["model"] == lm.llm.source


def test_export_for_the_chat_api_leaves_the_template_to_the_server(ssr, talks):
    line = ["--prompt", "the cat {audio}", talks / "a.wav", "--api", "chat"]
    (request,) = map(json.loads, ssr("export", *line, "--max-new-tokens", 3)[1])
    (message,) = request["messages"]
    assert message["role"] == "user" and request["max_tokens"] == 3
    assert [part["type"] for part in message["content"]] == ["text", "prompt_embeds"]
    assert message["content"][0]["text"] == "the cat"
    with pytest.raises(SystemExit, match="leave --chat and --output out"):
        ssr("export", *line, "--chat")


# --- plan ---------------------------------------------------------------------------


@pytest.fixture
def config_folders(tmp_path, tiny_encoder_folder, tiny_llm_folder):
    """Words that name encoder and LLM by folders with a config.json and no more."""
    words = []
    for kind, folder in (("encoder", tiny_encoder_folder), ("llm", tiny_llm_folder)):
        (tmp_path / kind).mkdir()
        shutil.copy(folder / "config.json", tmp_path / kind)
        words += [f"--{kind}_source", tmp_path / kind]
    return words


@pytest.mark.filterwarnings("ignore:.*has no feature extractor")
def test_plan_tells_both_stages_of_configurations_alone(config_folders, capsys):
    words = ["plan", "mls_8b.yaml", "--hours", 1000, "--gpus", 2, *config_folders]
    words += ["--noisy_copies.kinds", "[white]"]
    assert main([str(word) for word in words]) == 0
    printed = capsys.readouterr().out
    assert "1000 h of speech" in printed and "2 GPUs of 80 GB" in printed
    assert "an epoch has 2000 h" in printed and "GB of audio in noise" in printed
    for title in ("Stage 1, distillation", "Stage 2, fine-tuning", "Encoder, frozen"):
        assert title in printed
    # 2000 h of 50 frames a second, 32 numbers of 2 bytes each.
    disk = f"{2000 * 3600 * 50 * 32 * 2 / 1e9:.3g} GB of frames"
    assert f"none; with cache_features: True {disk}" in printed
    pattern = r"batch +(\d+) s .*\n +steps +([\d,]+), (\d+) times through"
    stages = re.findall(pattern, printed)
    assert len(stages) == 2
    for numbers in stages:
        batch, steps, epochs = (int(number.replace(",", "")) for number in numbers)
        assert steps == -(-2000 * 3600 // (batch * 2)) * epochs


def test_plan_of_stage_2_goes_by_the_folder_of_stage_1(tiny_speech_lm_folder, capsys):
    words = ["plan", "--hours", 10, "finetune.yaml", "--stage1", tiny_speech_lm_folder]
    assert main([str(word) for word in [*words, "--gpus", 0]]) == 0
    printed = capsys.readouterr().out
    assert "a CPU" in printed and "Stage 1" not in printed
    assert "\n  time " not in printed and "on their way" not in printed
    words = [str(word) for word in [*words, "--gpus", 2, "--parallel", "fsdp"]]
    assert main(words) == 0
    assert "layers and gradients on their way" in capsys.readouterr().out
    message = error(*words, "--quantization", "4bit")
    assert "a quantised LLM is not cut into parts" in message


def test_plan_after_a_yaml_tells_its_keys(capsys):
    with pytest.raises(SystemExit) as stopped:
        main(["plan", "distill.yaml", "--help"])
    assert stopped.value.code == 0
    assert "--number_of_epochs" in capsys.readouterr().out


def test_plan_says_what_it_cannot_tell(tmp_path, config_folders):
    message = error("plan", "distill.yaml", "--output_folder", tmp_path / "no")
    assert "Give --hours" in message
    message = error("plan", "distill.yaml", "--hours", 1, "--llm_source", "/no/llm")
    assert "llm_source: '/no/llm' is neither" in message
    assert "a folder with its config.json alone will do: --llm_source" in message
    assert "--hours: -1 is not above" in error("plan", "distill.yaml", "--hours", -1)
    message = error("plan", "segmenter.yaml", "--hours", 1)
    assert "is of neither stage 1 nor stage 2" in message
