"""Formats for a corpus as shards, side by side: Lhotse Shar, WebDataset, and this one.

The same utterances (FLAC audio, a transcript and the times of its words) are written by
each library in its own format, and by this package: WebDataset's, with an index beside
it. Measured are: writing; opening and the first utterance; reading one pass of encoded
audio, transcript and words; and going on from the middle of a pass. For that last, each
library's own means are used: the state of a Lhotse sampler; WebDataset has none, and
what was read is skipped; here an utterance is found by the index. Prints a table, with
the ratio to WebDataset's. Times are the processor's, which other programs change
little.

    pip install lhotse webdataset
    python benchmarks/shards.py --utterances 20000
"""

import argparse
import itertools
import json
import pathlib
import shutil
import tempfile
import time

import numpy as np
import soundfile

from ssr_plugin.data import shards

SHARD_SIZE = 1000
WORDS = 12


def make_audio(folder, seconds):
    """The bytes of a FLAC file of noise: incompressible, as large as speech gets."""
    path = pathlib.Path(folder) / "noise.flac"
    noise = np.random.default_rng(0).standard_normal(round(seconds * 16000))
    soundfile.write(path, 0.02 * noise, 16000)
    return path.read_bytes()


def words_of(seconds):
    """Words with their times, as an aligner gives them."""
    step = seconds / WORDS
    return [(f"word{i}", i * step, (i + 1) * step) for i in range(WORDS)]


class Shar:
    """Lhotse Shar: transcripts and words in JSON lines, audio in tar files."""

    name = "Lhotse Shar"

    def write(self, folder, count, audio, seconds):
        from lhotse import MonoCut, Recording, SupervisionSegment
        from lhotse.shar.writers import SharWriter
        from lhotse.supervision import AlignmentItem

        words = [AlignmentItem(text, a, b - a) for text, a, b in words_of(seconds)]
        fields = {"recording": "flac"}
        with SharWriter(folder, fields=fields, shard_size=SHARD_SIZE) as writer:
            for number in range(count):
                name = f"utterance-{number:08d}"
                supervision = SupervisionSegment(
                    name,
                    name,
                    0.0,
                    seconds,
                    text=" ".join(word.symbol for word in words),
                    alignment={"word": words},
                )
                recording = Recording.from_bytes(audio, name)
                cut = MonoCut(name, 0.0, seconds, 0, [supervision], recording=recording)
                writer.write(cut)

    def samples(self, folder):
        from lhotse import CutSet

        for cut in CutSet.from_shar(in_dir=folder):
            supervision = cut.supervisions[0]
            encoded = cut.recording.sources[0].source
            yield supervision.text, supervision.alignment["word"], encoded

    def _sampler(self, folder):
        from lhotse import CutSet
        from lhotse.dataset import DynamicCutSampler

        return DynamicCutSampler(
            CutSet.from_shar(in_dir=folder), max_cuts=1, shuffle=True, seed=0
        )

    def stop(self, folder, count):
        sampler = self._sampler(folder)
        for _ in itertools.islice(sampler, count):
            pass
        return sampler.state_dict()

    def go_on(self, folder, state, count):
        sampler = self._sampler(folder)
        sampler.load_state_dict(state)
        next(iter(sampler))


class WebDataset:
    """WebDataset: all that belongs to an utterance, side by side in a tar file."""

    name = "WebDataset"

    def write(self, folder, count, audio, seconds):
        import webdataset

        words = words_of(seconds)
        record = {"text": " ".join(text for text, _, _ in words), "words": words}
        pattern = str(pathlib.Path(folder) / "%06d.tar")
        with webdataset.ShardWriter(
            pattern, maxcount=SHARD_SIZE, maxsize=1e12, verbose=0
        ) as writer:
            for number in range(count):
                name = f"utterance-{number:08d}"
                writer.write({"__key__": name, "json": record, "flac": audio})

    def samples(self, folder):
        import webdataset

        paths = sorted(str(path) for path in pathlib.Path(folder).glob("*.tar"))
        for sample in webdataset.WebDataset(paths, shardshuffle=False):
            record = json.loads(sample["json"])
            yield record["text"], record["words"], sample["flac"]

    def stop(self, folder, count):
        return count

    def go_on(self, folder, state, count):
        next(itertools.islice(self.samples(folder), state, None))


class Indexed:
    """WebDataset's tar files, with the index that this package puts beside them."""

    name = "this package"

    def write(self, folder, count, audio, seconds):
        units = [[*word, 0] for word in words_of(seconds)]
        alignment = {"kind": "word", "duration": seconds, "units": units}
        text = " ".join(text for text, *_ in units)

        def samples(first):
            for number in range(first, min(first + SHARD_SIZE, count)):
                yield shards.ShardSample(
                    f"utterance-{number:08d}",
                    text,
                    "",
                    seconds,
                    16000,
                    alignment,
                    audio,
                    ".flac",
                )

        entries = [
            shards.write_shard(
                folder / "train", f"{first // SHARD_SIZE:06d}", samples(first), {}
            )
            for first in range(0, count, SHARD_SIZE)
        ]
        shards.write_list(folder, {"train": entries}, {}, {})

    def samples(self, folder, first=0):
        split = shards.Shards(folder)["train"]
        for row in range(first, len(split)):
            record = split.record(row)
            yield record["text"], record["alignment"]["units"], split.audio_file(row)

    def stop(self, folder, count):
        return count

    def go_on(self, folder, state, count):
        next(self.samples(folder, state))


def measure(kind, folder, count, audio, seconds):
    """How long the processor is busy with each thing, s."""
    times = {}

    def timed(name, work):
        begin = time.process_time()
        result = work()
        times[name] = time.process_time() - begin
        return result

    folder.mkdir()
    timed("writing", lambda: kind.write(folder, count, audio, seconds))
    timed("opening", lambda: next(iter(kind.samples(folder))))
    read = timed("reading", lambda: sum(1 for _ in kind.samples(folder)))
    assert read == count, f"{kind.name}: {read} of {count} utterances were read"
    state = kind.stop(folder, count // 2)
    timed("going on", lambda: kind.go_on(folder, state, count))
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    return times, size


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--utterances", type=int, default=20_000)
    parser.add_argument("--seconds", type=float, default=1.0, help="of an utterance")
    parser.add_argument("--folder", help="where shards are written; a temporary one")
    options = parser.parse_args()
    # Imported before the clock starts.
    import lhotse.dataset  # noqa: F401
    import webdataset  # noqa: F401

    base = pathlib.Path(tempfile.mkdtemp(dir=options.folder))
    try:
        audio = make_audio(base, options.seconds)
        found = {
            kind.name: measure(
                kind,
                base / type(kind).__name__,
                options.utterances,
                audio,
                options.seconds,
            )
            for kind in (Shar(), WebDataset(), Indexed())
        }
    finally:
        shutil.rmtree(base)
    reference, _ = found[WebDataset.name]
    print(f"{options.utterances} utterances of {options.seconds:g} s")
    for name, (times, size) in found.items():
        print(f"{name} ({size / 1e6:.0f} MB)")
        for what, value in times.items():
            ratio = value / reference[what]
            print(f"  {what:10} {value:8.3f} s   {ratio:6.3f} x WebDataset's time")


if __name__ == "__main__":
    main()
