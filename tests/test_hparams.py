"""YAMLs and command lines: what --help tells, what is refused, what is found where."""

import os
import re
import subprocess
import sys

import pytest

from ssr_plugin import shipped
from ssr_plugin.encoders.encoder import SpeechEncoder
from ssr_plugin.hparams import (
    find_yaml,
    parse_command_line,
    plain_keys,
    read_yaml,
    resolve_shipped,
    yamls,
)
from ssr_plugin.hparams_help import describe
from ssr_plugin.llm.text_llm import TextLLM
from ssr_plugin.registry import get_registry

import runs

STAGES = ["distill.yaml", "evaluate.yaml", "finetune.yaml", "segmenter.yaml"]
LARGE = ["librispeech_1b.yaml", "librispeech_8b.yaml", "mls_8b.yaml"]
YAMLS = sorted([*STAGES, *LARGE])


def shipped_yaml(name):
    """The text of a YAML of the package, and its plain keys."""
    text = read_yaml(runs.PROJECT / "hparams" / name)
    return text, plain_keys(text)


def dotted(settings, prefix=""):
    """The dotted names of all keys, those in other keys, too."""
    for key, value in settings.items():
        yield f"{prefix}{key}"
        if isinstance(value, dict):
            yield from dotted(value, f"{prefix}{key}.")


def parse(*words, yaml="distill.yaml"):
    return parse_command_line([yaml, *map(str, words)], "train.py")


def refused(*words, yaml="distill.yaml"):
    """The message of what a command line is refused with."""
    with pytest.raises(ValueError) as error:
        parse(*words, yaml=yaml)
    message = str(error.value)
    assert "\n" not in message
    return message


def script(name, *words):
    """A recipe's script in a process of its own."""
    return subprocess.run(
        [sys.executable, runs.PROJECT / "recipes" / name, *words],
        capture_output=True,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(runs.PROJECT)},
        cwd=runs.PROJECT,
        timeout=120,
    )


# --- Help --------------------------------------------------------------------------


def test_the_package_ships_the_yamls_of_all_stages():
    assert yamls() == YAMLS


@pytest.mark.parametrize("name", YAMLS)
def test_help_lists_each_plain_key_and_no_other(name, capsys):
    text, settings = shipped_yaml(name)
    with pytest.raises(SystemExit) as stopped:
        parse("--help", yaml=name)
    assert stopped.value.code == 0
    printed = capsys.readouterr().out
    listed = re.findall(r"^  --([\w.]+)", printed, re.MULTILINE)
    # Names of components alone are left out: their options have the names.
    missing = set(dotted(settings)) - set(listed)
    assert all(any(x.startswith(f"{key}.") for x in listed) for key in missing)
    assert set(listed) <= set(dotted(settings)) and len(listed) == len(set(listed))
    object_keys = set(re.findall(r"^(\w+):", text, re.MULTILINE)) - settings.keys()
    assert not object_keys & set(listed)
    assert name == "evaluate.yaml" or {"stage", "checkpointer"} <= object_keys
    assert "Made of the above" not in printed


def test_help_of_a_yaml_shows_head_sections_defaults_and_comments(capsys):
    with pytest.raises(SystemExit):
        parse("--number_of_epochs", "ten", "--help")
    printed = " ".join(capsys.readouterr().out.split())
    assert printed.startswith(
        "usage: train.py distill.yaml [--key value ...] Stage 1, "
    )
    for text in (
        "--number_of_epochs 10 how often all training data are gone through",
        "--connector_options.ssr.form token token: pool each segment, then layers",
        "--aligner_options.files.source <data_folder>/alignments TextGrid, CTM,",
        "--train_splits [train*] names or globs",
        "Alignment: --aligner_options of each aligner",
        # A comment of two lines.
        "ctc (any Hugging Face CTC model), files, trained (a char_ctc or unity2 of",
        "--resample True False sets",
        "--test_only",
    ):
        assert text in printed


@pytest.mark.parametrize("name", YAMLS)
def test_every_key_of_a_yaml_that_has_a_value_has_a_comment(name):
    text, settings = shipped_yaml(name)
    head, sections = describe(text, settings)
    assert len(head.splitlines()) > 3
    for title, entries in sections:
        for key, default, comment in entries:
            assert comment or (not default and "." in key), f"{title}: {key}"


def test_describe_takes_comments_above_a_key_and_marks_in_quotes():
    text = (
        "# Above the first.\nseed: 1\n"
        "mark: 'a # b'   # a mark\n"
        "url: http://x#y\n\n# --- Rest, of all: ---\n"
        "# Of the list,\n# which is long.\nsizes: [1, 2]\n"
    )
    head, sections = describe(text, plain_keys(text))
    assert head == ""
    assert sections == [
        (
            "",
            [
                ("seed", "1", "Above the first."),
                ("mark", "a # b", "a mark"),
                ("url", "http://x#y", ""),
            ],
        ),
        ("Rest, of all:", [("sizes", "[1, 2]", "Of the list, which is long.")]),
    ]


def test_help_without_a_yaml_lists_the_shipped_ones(capsys):
    with pytest.raises(SystemExit) as stopped:
        parse_command_line(["--help"], "train.py")
    assert stopped.value.code == 0
    printed = capsys.readouterr().out
    assert "train.py YAML [--key value ...]" in printed and "--device" in printed
    assert all(name in printed for name in YAMLS)


@pytest.mark.slow
@pytest.mark.parametrize(
    "name, yaml",
    [
        ("librispeech/train.py", "distill.yaml"),
        ("librispeech/evaluate.py", "evaluate.yaml"),
    ],
)
def test_the_scripts_of_recipes_have_a_help(name, yaml):
    process = script(name, f"hparams/{yaml}", "--help")
    assert process.returncode == 0 and not process.stderr, process.stderr
    assert process.stdout.startswith(f"usage: {name.rpartition('/')[2]} hparams/{yaml}")
    assert "  --data_folder recipes/sample/corpus" in process.stdout


@pytest.mark.slow
def test_prepare_scripts_have_a_help():
    process = script("template/prepare.py", "--help")
    assert process.returncode == 0 and "--valid_share" in process.stdout


def test_help_refusals_and_processes_that_align_wait_for_no_torch():
    """Its import takes seconds."""
    code = f"""
import runpy, sys
from ssr_plugin.evaluation.run_evaluation import main as evaluate
from ssr_plugin.training.run_training import main as train

sys.path.insert(0, {str(runs.PROJECT / "recipes" / "librispeech")!r})
for main, yaml, wrong in (
    (train, "distill.yaml", ["--lr", "fast"]),
    (evaluate, "evaluate.yaml", ["--num_shown", "few"]),
):
    for words in ["--help"], wrong:
        try:
            main(None, [yaml, *words])
        except SystemExit:
            pass
# As multiprocessing does in a process that it spawns.
for name in "train.py", "evaluate.py":
    runpy.run_path(sys.path[0] + "/" + name, run_name="__mp_main__")
assert not {{"torch", "transformers", "speechbrain"}} & set(sys.modules)
"""
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


# --- What is refused ---------------------------------------------------------------


@pytest.mark.parametrize(
    "words, message",
    [
        (
            ["--number_of_epochs", "ten"],
            "--number_of_epochs: expected a whole number, such as 10, not 'ten'",
        ),
        (["--number_of_epochs", "1.5"], "expected a whole number, such as 10, not 1.5"),
        (["--number_of_epochs", "True"], "a whole number, such as 10, not True"),
        (["--lr", "fast"], "--lr: expected a number, such as 0.001, not 'fast'"),
        (["--resample", "no"], "--resample: expected True or False, not 'no'"),
        (
            ["--speed_perturbation", "1.1"],
            "--speed_perturbation: expected a list, such as [1.0], not 1.1",
        ),
        (
            ["--speed_perturbation", "[fast]"],
            "--speed_perturbation: expected a list of numbers",
        ),
        (["--connector", "[ssr]"], "--connector: expected text, such as 'ssr'"),
        (["--seed", "null"], "--seed: expected a whole number, such as 1234, not null"),
        (["--connector_options", "3"], "options in braces, {key: value}, not 3"),
        (
            ["--connector_options.ssr.num_layers", "two"],
            "--connector_options.ssr.num_layers: expected a whole number",
        ),
        (
            # The YAML has no such key, the connector has such an option.
            ["--connector_options", "{qformer: {num_heads: two}}"],
            "connector_options.qformer.num_heads: expected a whole number, such as 4",
        ),
        (["--ckpt_interval_minutes", "x"], "--ckpt_interval_minutes: expected a num"),
        (["--debug_batches", "x"], "--debug_batches: invalid int value: 'x'"),
    ],
)
def test_a_value_of_another_kind_is_refused_with_what_is_expected(words, message):
    assert message in refused(*words)


@pytest.mark.parametrize(
    "key, value, message",
    [
        ("number_of_epochs", 0, "expected 1 or more, not 0"),
        ("lr", 0.0, "expected above 0, not 0.0"),
        ("lr", ".nan", "expected above 0, not NaN"),
        ("lr", ".inf", "expected above 0, not Infinity"),
        ("warmup", 1.5, "expected from 0 to 1, not 1.5"),
        ("predicted_share", -0.1, "expected from 0 to 1, not -0.1"),
        ("batch_seconds", 0, "expected above 0, not 0"),
        ("num_shown", -1, "expected 0 or more, not -1"),
        ("speed_perturbation", "[1.0, 0.0]", "expected above 0, not [1.0, 0.0]"),
        ("valid_share", ".nan", "expected a finite number, not NaN"),
        ("segmenter_options", "{forced: {leading_space: 3}}", "expected True or False"),
    ],
)
def test_a_number_out_of_range_is_refused_with_the_range(key, value, message):
    assert message in refused(f"--{key}", str(value))


@pytest.mark.parametrize(
    "words, message",
    [
        (["--numbr_of_epochs", 3], "--numbr_of_epochs: .*mean '--number_of_epochs'"),
        (["--devce", "cpu"], "has no such key .did you mean '--device'"),
        (["--encoder", "x"], "--encoder: .* has no such key"),
        (
            ["--connector_options", "{ssr: {num_layer: 1}}"],
            "connector_options: ssr: there is no option 'num_layer'; known: form, .*"
            "mean 'num_layers'",
        ),
        (
            ["--connector_options.srs.form", "token"],
            "connector_options: there is no connector 'srs'; .*mean 'ssr'",
        ),
        (
            # What encoder and LLM give is no option.
            ["--connector_options.ssr.input_size", 3],
            "there is no option 'input_size'",
        ),
        (
            ["--segmenter_options", "{subword_ctc: {widht: 64}}"],
            "segmenter_options: subword_ctc: .*mean 'width'",
        ),
        (["--connector", "srs"], "unknown connector 'srs'; .*mean 'ssr'"),
        (["--aligner", "file"], "unknown aligner 'file'; .*mean 'files'"),
        # A name of an earlier version.
        (["--noise", 0.1], "--noise: .* no such key: it is called '--frame_noise' now"),
    ],
)
def test_an_unknown_name_is_refused_with_a_similar_one(words, message):
    assert re.search(message, refused(*words))


@pytest.mark.parametrize(
    "yaml, words, message",
    [
        (
            "finetune.yaml",
            ["--tuning_options", "{lora: {alhpa: 1}}"],
            "--tuning_options.lora: there is no 'alhpa'; .*mean 'alpha'",
        ),
        (
            "finetune.yaml",
            ["--templates", "{mine: {forma: x}}"],
            "--templates.mine: there is no 'forma'; .*mean 'format'",
        ),
        (
            "segmenter.yaml",
            ["--forced_options.silense", "next"],
            "--forced_options: there is no 'silense'; .*mean 'silence'",
        ),
        (
            "evaluate.yaml",
            ["--benchmark_options.copa.max_item", 3],
            "benchmark_options: copa: there is no option 'max_item'; .*'max_items'",
        ),
        (
            "evaluate.yaml",
            ["--benchmark_options.mmlu.shots", "many"],
            "--benchmark_options.mmlu.shots: expected a whole number",
        ),
    ],
)
def test_options_of_all_yamls_are_checked(yaml, words, message):
    assert re.search(message, refused(*words, yaml=yaml))


@pytest.mark.parametrize(
    "words, message",
    [
        (["--seed"], "--seed: no value is given"),
        (["--seed", "--lr", 1], "--seed: no value is given"),
        (["seed", 5], "'seed' belongs to no key: write --key value"),
        (["--lr", 0.1, "seed", 5], "--lr 0.1: 'seed' after it .*mean '--seed'"),
        (["--train_splits", "a", "b"], "--train_splits a: 'b' after it belongs to no"),
        (["--train_splits", "[a, b"], "--train_splits: '.a, b' is no YAML"),
        (["--device"], "--device: expected one argument"),
        (["--debug", "yes"], "'yes' belongs to no key|unrecognized"),
    ],
)
def test_words_out_of_place_are_named(words, message):
    assert re.search(message, refused(*words))


def test_a_command_line_without_a_yaml_gets_an_example():
    for argv in ([], ["--seed", "3"]):
        with pytest.raises(ValueError, match=r"name a YAML, such as: ssr train hp"):
            parse_command_line(argv, "ssr train")


@pytest.mark.parametrize("text", ["a: [1", "just text", ""])
def test_a_file_that_is_no_yaml_with_keys_is_named(tmp_path, text):
    (tmp_path / "my.yaml").write_text(text)
    assert refused(yaml=str(tmp_path / "my.yaml")).startswith(f"{tmp_path}/my.yaml is")


def test_values_of_other_allowed_kinds_are_accepted():
    for words in (
        ["--lr", "1"],
        ["--lr", "1e-4"],
        ["--train_splits", "train-clean-100"],
        ["--connector_options", "null"],
        ["--connector_options", "{qformer: null}"],
        ["--segmenter_options", "{subword_ctc: {width: 64, beam_size: 4}}"],
    ):
        parse(*words)
    for words in (
        ["--text_heldout", "null"],
        ["--text_source", "[a.txt, b.txt]"],
        ["--tuning_options.lora.target_modules", "[q_proj]"],
        ["--templates", "{mine: {format: '{speech}', share: 1}}"],
    ):
        parse(*words, yaml="finetune.yaml")
    text = {"path": "wikitext", "column": "text"}
    job = parse("--text_source", text, yaml="finetune.yaml")
    assert job.settings["text_source"] == job.load()["text_source"] == text
    parse("--benchmark_options.copa.data", "/data", yaml="evaluate.yaml")


# --- What is made of a line --------------------------------------------------------


def test_keys_inside_others_are_set_one_by_one_or_together():
    one = ["--connector_options.ssr.form", "frame"]
    both = [*one, "--connector_options", "{ssr: {num_layers: 4}}"]
    assert parse(*both).overrides == {
        "connector_options": {"ssr": {"form": "frame", "num_layers": 4}}
    }
    options = parse(*both).settings["connector_options"]["ssr"]
    assert (options["form"], options["num_layers"], options["dropout"]) == (
        "frame",
        4,
        0.2,
    )


def test_of_two_values_of_a_key_the_last_counts():
    assert parse("--seed", 1, "--seed=2").settings["seed"] == 2


def test_a_key_of_text_keeps_what_yaml_takes_for_numbers_and_dates():
    for text in ("2024", "1e3", "true", "a=b", "2024-01-01", "C: x: y"):
        assert parse(f"--output_folder={text}").settings["output_folder"] == text


def test_a_list_in_several_words_is_one_list():
    assert parse("--test_splits", "[a,", "b]").settings["test_splits"] == ["a", "b"]


def test_references_in_a_yaml_follow_overrides():
    settings = parse("--data_folder", "/data", "--encoder_source", "my/ctc").settings
    options = settings["aligner_options"]
    assert options["files"]["source"] == "/data/alignments"
    assert options["ctc"]["source"] == "my/ctc"


def test_options_of_speechbrain_are_its_own_unless_the_yaml_has_them():
    job = parse("--device", "cpu", "--debug", "--max_grad_norm", "2")
    assert job.run_opts["device"] == "cpu" and job.run_opts["debug"]
    assert "max_grad_norm" not in job.run_opts.overridden_args
    assert job.overrides == {"max_grad_norm": 2}


def test_the_yaml_need_not_come_first():
    job = parse_command_line(["--seed", "3", "distill.yaml"], "train.py")
    assert job.settings["seed"] == 3


# --- A YAML that is another one with some keys changed ------------------------------


def write_yaml(folder, text):
    (folder / "mine.yaml").write_text(text)
    return folder / "mine.yaml"


def test_a_yaml_of_a_base_has_all_its_keys_and_changes_its_own(tmp_path):
    path = write_yaml(
        tmp_path,
        "# Mine.\n\nbase: distill.yaml\nseed: 7\n"
        "connector_options: {ssr: {num_layers: 4}}\n",
    )
    changed, base = parse(yaml=path).settings, parse().settings
    assert changed["connector_options"]["ssr"].pop("num_layers") == 4
    assert base["connector_options"]["ssr"].pop("num_layers") == 2
    assert changed | {"seed": 1234} == base and changed["seed"] == 7
    assert describe(read_yaml(path), changed)[0] == "Mine."
    assert parse("--seed", 8, yaml=path).settings["seed"] == 8


def test_a_yaml_of_a_base_of_a_base_follows_both(tmp_path):
    write_yaml(tmp_path, "base: distill.yaml\nseed: 7\nlr: 0.1\n")
    (tmp_path / "second.yaml").write_text(f"base: {tmp_path}/mine.yaml\nseed: 8\n")
    settings = parse(yaml=tmp_path / "second.yaml").settings
    assert (settings["seed"], settings["lr"], settings["warmup"]) == (8, 0.1, 0.05)


@pytest.mark.parametrize(
    "text, message",
    [
        ("base: distill.yaml\nsed: 7\n", "mine.yaml: --sed: .*mean '--seed'"),
        ("base: distill.yaml\nlr: fast\n", "mine.yaml: --lr: expected a number"),
        ("base: mine.yaml\nseed: 7\n", "it is its own base"),
        ("base: distil.yaml\n", "no YAML 'distil.yaml'; .*mean 'distill.yaml'"),
        ("base: distill.yaml\nnoise: 0.1\n", "mine.yaml: --noise: .*'--frame_noise'"),
        ("seed: 7\nnoise: 0.1\n", "mine.yaml: the key 'noise' is .*'frame_noise' now"),
    ],
)
def test_a_base_and_its_changes_are_checked(tmp_path, monkeypatch, text, message):
    monkeypatch.chdir(tmp_path)
    write_yaml(tmp_path, text)
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        parse(yaml="mine.yaml")


# --- Before anything is loaded -----------------------------------------------------


@pytest.fixture
def nothing_loads(monkeypatch):
    """Encoder and LLM cannot be loaded."""

    def never(*arguments, **options):
        raise AssertionError("a model was loaded")

    monkeypatch.setattr(SpeechEncoder, "__init__", never)
    monkeypatch.setattr(TextLLM, "__init__", never)


@pytest.mark.parametrize(
    "yaml, overrides, message",
    [
        ("distill", {"data_folder": "/no/data"}, "data_folder: there is no '/no/data'"),
        ("distill", {"train_splits": ["train-z"]}, "no split 'train-z'"),
        ("distill", {"encoder_source": "/no/model"}, "encoder_source: '/no/model' is"),
        ("distill", {"llm_source": "/no/model"}, "llm_source: '/no/model' is neither"),
        ("distill", {"segmenter": "/no/segmenter"}, "no folder '/no/segmenter'"),
        ("distill", {"segmenter": "unity2"}, "'unity2' needs a transcript"),
        ("distill", {"output_folder": __file__ + "/x"}, "output_folder: cannot write"),
        ("distill", {"cache_folder": __file__ + "/x"}, "cache_folder: cannot write in"),
        ("distill", {"precision": "fp64"}, "precision: 'fp64' is none of auto"),
        ("distill", {"llm_dtype": "bf16"}, "llm_dtype: dtype is 'bf16'; it may be"),
        ("distill", {"lr": "fast"}, "--lr: expected a number"),
        (
            "distill",
            {"aligner_options": {"files": {"source": "/no/alignments"}}},
            "aligner_options: files: no alignment files in '/no/alignments'",
        ),
        (
            "distill",
            {"aligner": "trained", "aligner_options": {"trained": {"source": "/no"}}},
            "aligner_options: trained: '/no' holds no trained segmenter",
        ),
        ("segmenter", {"segmenter": "ctc"}, "unknown segmenter 'ctc'"),
        ("finetune", {"stage1": "/no/stage1"}, "stage1: there is no folder '/no/stag"),
        ("finetune", {"text_heldout": ["/no.txt"]}, "text_heldout: cannot read the te"),
        ("finetune", {"text_source": ["/no.txt"]}, "text_source: cannot read the text"),
        ("evaluate", {}, "is a YAML for something else: it has no key 'stage'"),
    ],
)
def test_missing_inputs_are_named_before_a_model_is_loaded(
    yaml, overrides, message, small_run, tiny_speech_lm_folder, tmp_path, nothing_loads
):
    arguments = small_run(tmp_path)
    keys = parse(yaml=f"{yaml}.yaml").settings.keys() | {"stage1"}
    arguments = {key: value for key, value in arguments.items() if key in keys}
    if yaml == "finetune":
        arguments |= {"stage1": tiny_speech_lm_folder}
    with pytest.raises(SystemExit) as stopped:
        runs.run("librispeech", runs.arguments(yaml, **(arguments | overrides)))
    printed = str(stopped.value)
    assert printed.startswith("error: ") and message in printed


def test_a_recipe_of_one_data_set_reads_no_other(small_run, tmp_path):
    argv = runs.arguments(**small_run(tmp_path, dataset="csv"))
    with pytest.raises(SystemExit, match="reads LibriSpeech; for another one: ssr tra"):
        runs.run("librispeech", argv)


@pytest.mark.slow
def test_train_ends_a_wrong_value_with_one_line_and_no_traceback():
    process = script("librispeech/train.py", "hparams/distill.yaml", "--lr", "fast")
    assert process.returncode == 1
    assert process.stderr == (
        "error: --lr: expected a number, such as 0.001, not 'fast'\n"
    )


# --- From anywhere -----------------------------------------------------------------


def test_shipped_yamls_are_found_from_any_folder_after_the_users_own(
    tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    for name in ("distill.yaml", "hparams/distill.yaml"):
        assert find_yaml(name) == shipped.folder() / "hparams" / "distill.yaml"
    (tmp_path / "distill.yaml").write_text("seed: 1\n")
    assert find_yaml("distill.yaml").read_text() == "seed: 1\n"
    with pytest.raises(FileNotFoundError, match="no YAML 'my/finetne.yaml'; .*'finetu"):
        find_yaml("my/finetne.yaml")


def test_shipped_files_are_found_from_any_folder_after_the_users_own(
    tmp_path, monkeypatch
):
    corpus = "recipes/sample/corpus"
    monkeypatch.chdir(tmp_path)
    assert resolve_shipped(corpus) == str(shipped.folder() / corpus)
    # What is not shipped, a run's folder above all, is the user's.
    for path in ("tests", "results/distill", "recipes/mine", "openai/whisper-base", ""):
        assert resolve_shipped(path) == path
    settings = parse(yaml="finetune.yaml").settings
    assert settings["data_folder"] == str(shipped.folder() / corpus)
    assert settings["text_heldout"].startswith(str(shipped.folder()))
    files = settings["aligner_options"]["files"]["source"]
    assert files == f"{shipped.folder()}/{corpus}/alignments"
    assert settings["output_folder"] == "results/finetune"
    (tmp_path / corpus).mkdir(parents=True)
    assert resolve_shipped(corpus) == corpus


@pytest.mark.parametrize(
    "name, title",
    [("librispeech", "LibriSpeech"), ("ljspeech", "LJSpeech"), ("csv", "CSVDataSet")],
)
def test_data_sets_of_recipes_are_known_by_name(name, title):
    assert get_registry().datasets.get(name).__name__ == title
