"""Damaged input for every reader: no traceback, no hang, and the file is named.

Each target writes a good file and reads it. The file is then damaged, by bytes or,
where it is JSON, by its values, and read again. A reader may take what is left, or
refuse it with an error of the user's input that names the file. Anything else is a
failure: another error, a message without the file, a gigabyte more of memory than any
input before took, or more than ten seconds (of the processor's time: the machine may be
busy; or two minutes in all).

Targets take turns of a second of the processor's time, so that quick readers get more
inputs, on a busy machine, too.

Usage: python benchmarks/fuzz.py [--seconds 300] [--seed 0] [--target NAME]
"""

import argparse
import collections
import copy
import importlib.util
import itertools
import json
import logging
import math
import os
import pathlib
import random
import subprocess
import sys
import tempfile
import time
import warnings

import numpy as np
import soundfile
import torch
from safetensors.torch import save_file

from ssr_plugin.alignment.cache import Alignments, index_cache
from ssr_plugin.alignment.formats import read_file
from ssr_plugin.alignment.record import Alignment, Unit
from ssr_plugin.data.audio import read_audio
from ssr_plugin.data.audio_headers import audio_duration
from ssr_plugin.data.common_voice import CommonVoice
from ssr_plugin.data.datasets import CSVDataSet
from ssr_plugin.data.ffmpeg import find_ffmpeg
from ssr_plugin.data.gigaspeech import GigaSpeech
from ssr_plugin.data.hugging_face import HuggingFaceDataSet
from ssr_plugin.data.kaldi import KaldiFolder
from ssr_plugin.data.lhotse_cuts import LhotseManifests
from ssr_plugin.data.listing import tidy
from ssr_plugin.data.manifest import read_manifest, write_manifest
from ssr_plugin.data.mls import MultilingualLibriSpeech
from ssr_plugin.data.prepare import _read_state
from ssr_plugin.data.shards import Shards, ShardSample, write_list, write_shard
from ssr_plugin.data.text_files import read_documents
from ssr_plugin.data.voxpopuli import VoxPopuli
from ssr_plugin.demo.uploads import Limits, read_upload
from ssr_plugin.encoders.feature_cache import FeatureCache, _frames_of_file
from ssr_plugin.evaluation.harness.records import Records
from ssr_plugin.evaluation.report.compare_runs import read_metrics as read_evaluation
from ssr_plugin.hparams import make_job
from ssr_plugin.hub import safetensors_map, safetensors_shapes
from ssr_plugin.inference.pretrained import read_metrics, read_settings
from ssr_plugin.inference.speech_files import load_speech
from ssr_plugin.llm.tuning import _read_adapter_settings
from ssr_plugin.media_fragments import MediaFragment
from ssr_plugin.problems import TooManyProblems
from ssr_plugin.segmenters.trained import read_settings as read_segmenter
from ssr_plugin.training.checkpoints import AtomicCheckpointer
from ssr_plugin.training.fsdp import ShardedModel
from ssr_plugin.training.history import History
from ssr_plugin.training.run_folder import check_settings
from ssr_plugin.training.shard_dataset import read_alignment
from ssr_plugin.training.text_data import _kept_documents

# What the commands end with in one line.
ALLOWED = (ValueError, OSError, ImportError, TooManyProblems)
#: Of the processor's time, and of all time, s.
LONGEST, LONGEST_WAIT = 10.0, 120.0
#: Of memory, MB.
MOST_MEMORY = 1000.0
# A turn of a target, of the processor's time, s.
_TURN = 1.0

UNITS = (Unit("the", 0.1, 0.3, 0), Unit("cat", 0.3, 0.7, 4))
ALIGNMENT = Alignment("a", "the cat", UNITS, "word", 1.0)
SPEECH_LM = {
    "format": 1,
    "version": "0",
    "encoder": {"source": "a", "weights": "b", "layer": -1, "window": "none"},
    "llm": {"source": "a", "weights": "b"},
    "connector": {"name": "ssr", "options": {"num_layers": 2}},
    "forced": {},
    "segmenter": {"name": "fixed", "options": {}},
    "lm_fusion": {"steps": 1, "weight": 0.7, "inverse_temperature": 2.0},
    "gate": None,
}
SEGMENTER = {
    "segmenter": "boundary",
    "options": {"width": 8},
    "encoder": {"source": "a", "weights": "b", "layer": -1},
    "llm": {"source": "a", "weights": "b"},
}
ADAPTERS = {
    "peft_type": "LORA",
    "r": 4,
    "lora_alpha": 8,
    "lora_dropout": 0.0,
    "target_modules": ["q_proj"],
}
METRICS = {
    "model": {"source": "a"},
    "benchmarks": {"copa": {"metric": "acc", "conditions": {"text": {"acc": 50.0}}}},
    "train": {"epochs": 3},
}
STATE = {
    "fingerprint": "0",
    "manifests": {"train": {"utterances": 1, "digest": "0"}},
    "skipped": {"train": {"a": "missing audio"}},
}


def write_json(path, content):
    path.write_text(json.dumps(content))


def write_sound(path, **kind):
    noise = np.random.default_rng(0).standard_normal(8000) / 10
    soundfile.write(path, noise, 16000, **kind)


def read_sound(path):
    """As preparation and use do."""
    try:
        audio_duration(str(path))
    finally:
        samples = read_audio(path, 16000)
    assert samples.isfinite().all() and len(samples) < 10_000_000


def write_by_ffmpeg(path):
    """What libsndfile does not read."""
    wav = path.with_suffix(".wav")
    write_sound(wav)
    line = [find_ffmpeg(), "-v", "error", "-nostdin", "-y", "-i", wav, path]
    subprocess.run(line, check=True)


def read_sent(path):
    """As the page of ``ssr demo`` does: a message names no folder."""
    try:
        read_upload(path, Limits(), path.parent)
    except ValueError as error:
        assert str(path.parent) not in str(error)
        raise ValueError(f"{path}: {error}") from error


def read_part(path):
    """A part of a sound, which the file names."""
    part = path.read_text(encoding="utf-8", errors="surrogateescape")
    read_audio(f"{path.parent / 'a.wav'}{part}", 16000)


def read_csv(path):
    dataset = CSVDataSet(path.parent)
    return [list(dataset.utterances(split)) for split in dataset.splits()]


def write_cache(path):
    line = {"key": "k", "alignment": ALIGNMENT.to_json()}
    path.write_text(f"{json.dumps(line)}\n" * 3)


def read_cache(path):
    lines, _ = index_cache(path.parent)
    alignments = Alignments(lines)
    return [alignments[name] for name in alignments]


def write_speech(path):
    times = {"tokens": [1, 2], "starts": [0.0, 0.1], "ends": [0.1, 0.2]}
    rest = {"text": "a", "segmentation": "forced", "hypothesis": None, "seconds": 1.0}
    speech = {"one": {**times, **rest}}
    save_file({"one": torch.zeros(2, 4)}, path, {"speech": json.dumps(speech)})


def write_settings(path):
    path.parent.joinpath("checkpoints", "CKPT+1").mkdir(parents=True, exist_ok=True)
    make_job("segmenter.yaml", {}).save(path.parent)


def read_run_settings(path):
    settings = make_job("segmenter.yaml", {}).settings
    check_settings(path.parent, settings)


def write_checkpoint(path):
    folder = path.parent.parent
    checkpointer = AtomicCheckpointer(folder, {"history": History(folder, [])})
    if checkpointer.find_checkpoint() is None:
        checkpointer.save_checkpoint(name="a")


def read_checkpoint(path):
    folder = path.parent.parent
    history = History(folder, [])
    AtomicCheckpointer(folder, {"history": history}).recover_if_possible()


class Encoder:
    """What a cache of frames asks of an encoder."""

    source = "a"

    def identity(self):
        return {"weights": "b"}


def int8_cache(path):
    cache = FeatureCache(path.parent, Encoder(), torch.int8)
    cache.folder = path.parent
    cache._keys = {name: name for name in ("one", "two")}
    return cache


def write_int8_cache(path):
    frames = {"one": torch.randn(5, 4), "two": torch.randn(3, 4)}
    if not any(path.parent.glob("*.safetensors")):
        int8_cache(path)._write(frames)
        next(path.parent.glob("features-*")).rename(path)


def read_int8_cache(path):
    cache = int8_cache(path)
    cache._index()
    return [cache.get(name) for name in ("one", "two") if name in cache]


def sharded_checkpoint(path):
    """Of several processes: a folder within it, of torch.distributed.checkpoint."""
    folder = path.parent.parent.parent
    return AtomicCheckpointer(folder, {"tuned": ShardedModel(torch.nn.Linear(2, 3))})


def write_sharded_checkpoint(path):
    if sharded_checkpoint(path).find_checkpoint() is None:
        sharded_checkpoint(path).save_checkpoint(name="a")


def corpus_of_shards(path):
    return path.parent if path.name == "shards.json" else path.parent.parent


def write_shards(path):
    sample = ShardSample(
        *("a", "the cat", "anna", 1.0, 16000, ALIGNMENT.to_json(), b"sound", ".wav"),
        frames=np.ones((3, 2), np.int8),
        scale=np.ones(2, np.float16),
    )
    folder = corpus_of_shards(path)
    entry = write_shard(folder / "train", "000000", [sample] * 2, {})
    write_list(folder, {"train": [entry]}, {"train": 0}, {})


def read_shards(path):
    corpus = Shards(corpus_of_shards(path))
    for name in corpus.splits():
        split = corpus[name]
        for row in range(len(split)):
            read_alignment(split, row, split.record(row))
            split.frames(row)
            split.audio_file(row)


def write_hugging_face(path):
    import datasets

    if path.is_file():
        return
    sound = path.parent / "a.wav"
    write_sound(sound)
    rows = {"audio": [str(sound)] * 2, "text": ["the cat", "a cat"]}
    dataset = datasets.Dataset.from_dict(rows)
    dataset = dataset.cast_column("audio", datasets.Audio())
    dataset.save_to_disk(path.parent)


def write_ctm(path):
    path.write_text("a 1 0.1 0.2 the\na 1 0.3 0.4 cat\n")


def write_textgrid(path):
    from ssr_plugin.alignment.writers import write_textgrid

    write_textgrid(path, ALIGNMENT)


def tensors(path):
    save_file({"a": torch.zeros(3, 4), "b": torch.zeros(5, 4)}, path)


LHOTSE = {
    "id": "a",
    "recording_id": "a",
    "start": 0.0,
    "duration": 1.0,
    "channel": 0,
    "text": "the cat",
    "alignment": {"word": [["the", 0.1, 0.2], ["cat", 0.3, 0.4]]},
}
CUT = {
    "id": "c",
    "type": "MonoCut",
    "start": 0.5,
    "duration": 1.0,
    "channel": 0,
    "supervisions": [LHOTSE],
    "recording": {
        "id": "a",
        "sources": [{"type": "file", "channels": [0], "source": "a.wav"}],
        "sampling_rate": 16000,
        "num_samples": 32000,
        "duration": 2.0,
    },
}
COMMON_VOICE = (
    "client_id\tpath\tsentence\tup_votes\tdown_votes\nann\ta.mp3\tthe cat\t2\t0\n"
)


def lister(make_dataset, split):
    """A reader of a corpus's lists: all its utterances, as preparing lists them."""

    def read(path):
        for utterance in make_dataset(path).utterances(split):
            tidy(utterance.text)
            MediaFragment.parse(utterance.wav)

    return read


def write_with(text, others):
    """Writes a text, and other files beside it, by name."""

    def write(path):
        for name, content in {path.name: text, **others}.items():
            (path.parent / name).parent.mkdir(parents=True, exist_ok=True)
            (path.parent / name).write_text(content)

    return write


GIGASPEECH = {
    "audios": [
        {
            "aid": "POD1",
            "path": "audio/podcast/P0000/POD1.opus",
            "subsets": ["{XS}"],
            "segments": [
                {
                    "sid": "POD1_1",
                    "speaker": "N/A",
                    "begin_time": 0.5,
                    "end_time": 1.5,
                    "text_tn": "THE CAT <COMMA> SAT",
                    "subsets": ["{XS}"],
                }
            ],
        }
    ]
}
VOXPOPULI = (
    "id\traw_text\tnormalized_text\tspeaker_id\tsplit\n"
    "2013-a\tThe cat.\tthe cat\t7\ttrain\n"
)

INDEX = {"metadata": {}, "weight_map": {"a": "model-1.safetensors"}}

#: Name -> (file name, how it is written, how it is read).
TARGETS = {
    **{
        f"audio {suffix}": (f"a.{suffix}", write_sound, read_sound)
        for suffix in ("wav", "flac", "mp3", "ogg", "aiff", "au", "w64", "caf")
    },
    "audio opus": (
        "a.opus",
        lambda path: write_sound(path, format="OGG", subtype="OPUS"),
        read_sound,
    ),
    "alignment json": (
        "a.json",
        lambda path: write_json(path, [{"id": "a", "words": [["the", 0.1, 0.3]]}]),
        read_file,
    ),
    "alignment record": (
        "a.jsonl",
        lambda path: write_json(path, ALIGNMENT.to_json()),
        read_file,
    ),
    "alignment lhotse": ("a.json", lambda path: write_json(path, LHOTSE), read_file),
    "alignment ctm": ("a.ctm", write_ctm, read_file),
    "alignment textgrid": ("a.TextGrid", write_textgrid, read_file),
    "alignment cache": ("part-1.jsonl", write_cache, read_cache),
    "manifest": (
        "train.csv",
        lambda path: write_manifest(path, [("a", 1.0, "a.wav", "anna", "the cat")]),
        read_manifest,
    ),
    "csv": (
        "all.csv",
        lambda path: path.write_text("wav,speaker,text\na.wav,anna,the cat\n"),
        read_csv,
    ),
    "lhotse cuts": (
        "cuts.jsonl",
        lambda path: write_json(path, CUT),
        lister(LhotseManifests, "cuts"),
    ),
    "common voice": (
        "train.tsv",
        write_with(COMMON_VOICE, {"clips/a.mp3": ""}),
        lister(lambda path: CommonVoice(path.parent), "train"),
    ),
    "kaldi segments": (
        "train/segments",
        write_with("u r 0.5 1.5\n", {"wav.scp": "r r.wav\n", "text": "u the cat\n"}),
        lister(lambda path: KaldiFolder(path.parent), "train"),
    ),
    "kaldi wav.scp": (
        "train/wav.scp",
        write_with("u u.wav\n", {"text": "u the cat\n", "utt2spk": "u ann\n"}),
        lister(lambda path: KaldiFolder(path.parent), "train"),
    ),
    "mls": (
        "train/transcripts.txt",
        write_with("1_2_3\tdie katze\n", {"train/audio/1/2/1_2_3.flac": ""}),
        lister(lambda path: MultilingualLibriSpeech(path.parent.parent), "train"),
    ),
    "mls handles": (
        "train/limited_supervision/9hr/handles.txt",
        write_with("1_2_3\n", {"../../transcripts.txt": "1_2_3\tdie katze\n"}),
        lister(lambda path: MultilingualLibriSpeech(path.parents[3]), "limited-9h"),
    ),
    "voxpopuli": (
        "asr_train.tsv",
        write_with(VOXPOPULI, {}),
        lister(lambda path: VoxPopuli(path.parent), "train"),
    ),
    "media fragment": (
        "part",
        lambda path: (
            write_sound(path.parent / "a.wav"),
            path.write_text("#t=0.125,0.25&channel=0"),
        ),
        read_part,
    ),
    "upload": ("mine.wav", write_sound, read_sent),
    "text": (
        "a.txt",
        lambda path: path.write_text("The cat.\n\nIt sat.\n"),
        lambda path: list(read_documents(str(path))),
    ),
    "text cache": (
        "a.json",
        lambda path: write_json(path, [[1, 2], [3]]),
        _kept_documents,
    ),
    "shards.json": ("shards.json", write_shards, read_shards),
    **{
        f"shard {suffix}": (f"train/000000.{suffix}", write_shards, read_shards)
        for suffix in ("tar", "index.npy")
    },
    "prepare.json": (
        "prepare.json",
        lambda path: write_json(path, STATE),
        lambda path: _read_state(path.parent, "0"),
    ),
    "speech_lm.json": (
        "speech_lm.json",
        lambda path: write_json(path, SPEECH_LM),
        lambda path: read_settings(path.parent),
    ),
    "segmenter.json": (
        "segmenter.json",
        lambda path: write_json(path, SEGMENTER),
        lambda path: read_segmenter(path.parent),
    ),
    "adapter_config.json": (
        "adapter_config.json",
        lambda path: write_json(path, ADAPTERS),
        _read_adapter_settings,
    ),
    "metrics.json": (
        "metrics.json",
        lambda path: write_json(path, METRICS),
        lambda path: (read_metrics(path.parent), read_evaluation(path.parent)),
    ),
    "answers": (
        "answers.jsonl",
        lambda path: write_json(path, {"key": "a", "losses": [1.0]}),
        lambda path: list(Records(path)),
    ),
    "safetensors": ("model.safetensors", tensors, safetensors_shapes),
    "safetensors index": (
        "model.safetensors.index.json",
        lambda path: write_json(path, INDEX),
        lambda path: safetensors_map(path.parent),
    ),
    "feature cache": ("features-1.safetensors", tensors, _frames_of_file),
    "int8 cache": ("features-1.safetensors", write_int8_cache, read_int8_cache),
    "speech": ("a.safetensors", write_speech, load_speech),
    "hyperparams.yaml": ("hyperparams.yaml", write_settings, read_run_settings),
    "yaml": (
        "hyperparams.yaml",
        write_settings,
        lambda path: make_job(path, {"seed": 1}),
    ),
    "CKPT.yaml": ("CKPT+a/CKPT.yaml", write_checkpoint, read_checkpoint),
    "history": ("CKPT+a/history.ckpt", write_checkpoint, read_checkpoint),
    **{
        f"sharded checkpoint {name}": (
            f"CKPT+a/tuned.ckpt/{name}",
            write_sharded_checkpoint,
            lambda path: sharded_checkpoint(path).recover_if_possible(),
        )
        for name in (".metadata", "__0_0.distcp")
    },
}
if find_ffmpeg():
    TARGETS |= {
        f"audio {suffix}": (f"a.{suffix}", write_by_ffmpeg, read_sound)
        for suffix in ("m4a", "webm")
    }
if importlib.util.find_spec("ijson"):
    TARGETS["gigaspeech"] = (
        "GigaSpeech.json",
        lambda path: write_json(path, GIGASPEECH),
        lister(lambda path: GigaSpeech(path.parent), "xs"),
    )
if importlib.util.find_spec("datasets"):
    TARGETS |= {
        f"hugging face {name}": (
            name,
            write_hugging_face,
            lister(lambda path: HuggingFaceDataSet(path.parent), "train"),
        )
        for name in ("state.json", "dataset_info.json", "data-00000-of-00001.arrow")
    }


# --- Damage --------------------------------------------------------------------------


def damage_bytes(content, chance):
    """Bytes cut short, changed, left out, doubled or put in."""
    content = bytearray(content)
    for _ in range(chance.choice([1, 1, 1, 2, 5, 20])):
        size = len(content)
        at = chance.randrange(size + 1)
        # Most of what is told of a file stands at its beginning.
        at = at if chance.random() < 0.5 else min(at, chance.randrange(128))
        length = chance.choice([1, 1, 2, 4, 16, 256])
        kind = chance.randrange(6)
        if kind == 0:
            del content[at:]
        elif kind == 1 and at < size:
            content[at] ^= 1 << chance.randrange(8)
        elif kind == 2 and at < size:
            content[at] = chance.choice([0, 1, 0x7F, 0x80, 0xFF, chance.randrange(256)])
        elif kind == 3:
            del content[at : at + length]
        elif kind == 4:
            content[at:at] = content[at : at + length]
        else:
            content[at:at] = chance.randbytes(length)
    return bytes(content)


VALUES = [
    *(None, True, 0, -1, 10**9, 10**30, 0.5, 1e308, float("nan"), "", "x", "\ud800"),
    *("../../x", "/dev/zero", [], {}, [[]], [None], {"": None}, [1, 2, 3]),
]


def damage_json(text, chance):
    """JSON in which a value is another, or missing, or very deep."""
    try:
        content = json.loads(text)
    except ValueError:
        return None
    content = {"": content}
    for _ in range(chance.choice([1, 1, 2, 4])):
        places = list(_places(content))
        owner, key = chance.choice(places)
        kind = chance.randrange(8)
        if kind == 0 and owner is not content:
            del owner[key]
        elif kind == 1:
            owner[key] = [owner[key]]
        elif kind == 2:
            owner[key] = {"x": owner[key]}
        elif kind == 3 and isinstance(owner, dict) and owner is not content:
            owner[chance.choice(["x", "id", "key", "error", "words"])] = owner.pop(key)
        else:
            owner[key] = copy.deepcopy(chance.choice(VALUES))
    text = json.dumps(content[""])
    if chance.random() < 0.02:
        text = text.replace("1", "[" * 50000 + "]" * 50000, 1)
    return text.encode()


def _places(content):
    keys = content if isinstance(content, dict) else range(len(content))
    for key in list(keys):
        yield content, key
        if isinstance(content[key], dict | list):
            yield from _places(content[key])


# --- Running -------------------------------------------------------------------------


def fuzz(name, folder, chance, count=sys.maxsize, seconds=math.inf):
    """Reads a target's file, damaged ``count`` times, or for so many seconds of work.

    Returns how often it was "taken" and "refused", and the failures.
    """
    file, write, read = TARGETS[name]
    folder = pathlib.Path(folder) / name.replace(" ", "_").replace(".", "_")
    path = folder / file
    folder.mkdir(parents=True, exist_ok=True)
    write(path)
    read(path)
    good = path.read_bytes()
    counts, failures = collections.Counter(), []
    end = work() + seconds
    for _ in range(count):
        if work() > end:
            break
        content = None
        if chance.random() < 0.5:
            content = damage_json(good, chance)
        if content is None:
            content = damage_bytes(good, chance)
        path.write_bytes(content)
        begin, working, memory = time.monotonic(), time.process_time(), peak_memory()
        try:
            read(path)
            counts["taken"] += 1
        except ALLOWED as error:
            counts["refused"] += 1
            if str(folder) not in str(error):
                failures.append((content, f"no file is named: {error!r}"))
        except Exception as error:
            failures.append((content, repr(error)))
        waited, worked = time.monotonic() - begin, time.process_time() - working
        if worked > LONGEST or waited > LONGEST_WAIT:
            failures.append((content, f"took {waited:.0f} s, {worked:.0f} of work"))
        if (more := peak_memory() - memory) > MOST_MEMORY:
            failures.append((content, f"took {more:.0f} MB of memory"))
    path.write_bytes(good)
    return counts, failures


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=300.0, help="in all")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--target", choices=TARGETS, help="only this one")
    options = parser.parse_args(argv)
    quiet()
    names = [options.target] if options.target else list(TARGETS)
    counts = {name: collections.Counter() for name in names}
    failures = collections.defaultdict(collections.Counter)
    end = time.monotonic() + options.seconds
    with tempfile.TemporaryDirectory() as folder:
        for round, name in ((i, name) for i in itertools.count() for name in names):
            if time.monotonic() > end:
                break
            chance = random.Random(f"{options.seed} {name} {round}")
            found, wrong = fuzz(name, folder, chance, seconds=_TURN)
            counts[name] += found + collections.Counter(failed=len(wrong))
            for content, reason in wrong:
                # The places of one fault differ in their figures.
                failures[name][reason[:200].replace(folder, "")] += 1
                keep = pathlib.Path("results/fuzz") / f"{name}.bin".replace(" ", "_")
                keep.parent.mkdir(parents=True, exist_ok=True)
                keep.write_bytes(content)
    total = collections.Counter()
    for name, found in counts.items():
        print(f"{name:22} {found['taken']:8} {found['refused']:8} {found['failed']:8}")
        total += found
    print(f"{'all':22} {total['taken']:8} {total['refused']:8} {total['failed']:8}")
    for name, reasons in failures.items():
        for reason, count in reasons.most_common(8):
            print(f"{name}: {count} x {reason}")
    print(f"most memory: {peak_memory():.0f} MB")
    return int(bool(failures))


def work():
    """The processor's time that this process and those it started took, s."""
    return sum(os.times()[:4])


def peak_memory():
    """Most memory that this process has taken, MB; 0 where that is not told."""
    try:
        import resource
    except ImportError:
        return 0.0
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000


def quiet():
    """Leaves out what readers warn of."""
    logging.disable(logging.WARNING)
    warnings.simplefilter("ignore")


if __name__ == "__main__":
    raise SystemExit(main())
