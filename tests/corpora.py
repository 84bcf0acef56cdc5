"""Made-up miniatures of published corpora, in their own layouts."""

import io
import json

import numpy as np
import soundfile

RATE = 16000


def tone(seconds=0.3, pitch=200.0):
    time = np.arange(round(seconds * RATE)) / RATE
    return 0.3 * np.sin(2 * np.pi * pitch * time)


def write(path, samples=None):
    """An audio file of the type of its ending."""
    path.parent.mkdir(parents=True, exist_ok=True)
    options = {}
    if path.suffix == ".opus":
        options = {"format": "OGG", "subtype": "OPUS"}
    soundfile.write(path, tone() if samples is None else samples, RATE, **options)
    return path


def lines(path, *rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes("".join(f"{row}\n" for row in rows).encode())
    return path


def make_mls(folder, suffix=".opus"):
    """German, with one book each of two speakers of train, and one of dev and test."""
    root = folder / f"mls_german{'_opus' if suffix == '.opus' else ''}"
    books = {"train": ("11_101", "12_102"), "dev": ("13_103",), "test": ("14_104",)}
    for split, names in books.items():
        texts, segments = [], []
        for book in names:
            for number in range(3):
                name = f"{book}_{number:06d}"
                write(
                    root / split / "audio" / book.replace("_", "/") / f"{name}{suffix}"
                )
                texts.append(f"{name}\tgrüße an {name[:2]} nummer {number}")
                segments.append(f"{name}\thttp://a/{book}.mp3\t{number}.0\t{number}.3")
        lines(root / split / "transcripts.txt", *texts)
        lines(root / split / "segments.txt", *segments)
    limited = root / "train" / "limited_supervision"
    lines(limited / "9hr" / "handles.txt", "11_101_000000", "12_102_000001")
    lines(limited / "1hr" / "0" / "handles.txt", "11_101_000001")
    lines(limited / "1hr" / "1" / "handles.txt", "12_102_000000")
    lines(root / "metainfo.txt", " SPEAKER | GENDER | PARTITION ", " 11 | M | train ")
    return root


CV_HEADER = (
    "client_id\tpath\tsentence_id\tsentence\tsentence_domain\tup_votes\tdown_votes"
)


def make_common_voice(folder, locale="de"):
    """Clips 1 to 7 of speakers a, b (train), c (dev), d (test)."""
    root = folder / "cv-corpus-17.0-2024-03-15" / locale

    def row(number, speaker, sentence, votes="2\t0"):
        path = f"common_voice_{locale}_{number}.mp3"
        write(root / "clips" / path)
        return f"{speaker * 8}\t{path}\ts{number}\t{sentence}\t\t{votes}"

    train = [
        row(1, "a", "Das ist, sagte er, ein Test."),
        row(2, "b", 'Er sagte ""nein"" und ging.'),
    ]
    more = [row(3, "a", '"Ja, ja."', "3\t1"), row(4, "c", "Von der Sprecherin.")]
    dev, test = row(5, "c", "Guten Morgen."), row(6, "d", "Guten Abend.")
    other = row(7, "e", "Noch nicht gehört.", "0\t0")
    lists = {"train": train, "dev": [dev], "test": [test], "other": [other]}
    lists |= {"validated": [*train, *more, dev, test], "invalidated": []}
    for name, rows in lists.items():
        lines(root / f"{name}.tsv", CV_HEADER, *rows)
    lines(root / "reported.tsv", "sentence\tsentence_id\tlocale\treason")
    lines(root / "clip_durations.tsv", "clip\tduration[ms]")
    return root


def make_gigaspeech(folder):
    """Two recordings of 4 s, with segments of a second, of known pitch."""
    pitches = (220, 330, 440, 550)
    samples = np.concatenate([tone(1.0, pitch) for pitch in pitches])

    def segment(sid, start, text, *subsets, speaker="N/A", **changes):
        return {
            "sid": sid,
            "speaker": speaker,
            "begin_time": start,
            "end_time": start + 1.0,
            "text_tn": text,
            "subsets": [f"{{{name}}}" for name in subsets],
            **changes,
        }

    sets = ("XS", "S", "M", "L", "XL")
    pod = [
        segment("POD1_S0000001", 0.0, "WELL <COMMA> I THINK SO <PERIOD>", *sets),
        segment("POD1_S0000002", 1.0, "<MUSIC>", *sets),
        segment("POD1_S0000003", 2.0, "DO YOU <QUESTIONMARK>", "M", "L", "XL"),
        segment("POD1_S0000004", 3.0, "STOP <EXCLAMATIONPOINT>", *sets, speaker="ann"),
    ]
    you = [segment("YOU1_S0000001", 1.0, "FOR DEVELOPMENT", "DEV")]
    you += [segment("YOU1_S0000002", 2.0, "FOR TESTS <PERIOD>", "TEST")]
    audios = []
    for aid, place, segments in (
        ("POD1", "podcast/P0000", pod),
        ("YOU1", "youtube/P0000", you),
    ):
        path = f"audio/{place}/{aid}.opus"
        write(folder / path, samples)
        subsets = sorted({name for one in segments for name in one["subsets"]})
        audios.append(
            {
                "title": "a title",
                "path": path,
                "aid": aid,
                "sample_rate": RATE,
                "channels": 1,
                "duration": 4.0,
                "format": "opus",
                "subsets": subsets,
                "segments": segments,
            }
        )
    content = {"dataset": "GigaSpeech", "language": "EN", "audios": audios}
    (folder / "GigaSpeech.json").write_text(json.dumps(content))
    return folder, pitches


def make_voxpopuli(folder):
    root = folder / "transcribed_data" / "de"
    header = "id\traw_text\tnormalized_text\tspeaker_id\tsplit\tgender"
    for split, speakers in {"train": ("101", "102", "None"), "test": ("103",)}.items():
        rows = []
        for number, speaker in enumerate(speakers):
            name = f"20131007-0900-PLENARY-7-de_20131007-17:0{number}:27_{split}"
            write(root / "2013" / f"{name}.ogg")
            raw = "" if number == 1 else f'Der Saal "{number}" ist voll!'
            text = f"der saal {number} ist voll"
            rows.append(f"{name}\t{raw}\t{text}\t{speaker}\t{split}\tfemale")
        lines(root / f"asr_{split}.tsv", header, *rows)
    (root / "asr_de.tsv.gz").write_bytes(b"the list that all was made of")
    return root


def make_kaldi(folder):
    """train: two files and one in an archive, with segments; test: files alone."""
    train = folder / "data" / "train"
    samples = np.concatenate([tone(1.0, pitch) for pitch in (220, 330, 440, 550)])
    write(folder / "audio" / "rec1.flac", samples)
    content = io.BytesIO()
    soundfile.write(content, samples, RATE, format="WAV")
    (folder / "raw.ark").write_bytes(b"rec2 " + content.getvalue() + b"rec3 ")
    wavs = [f"rec1 {folder}/audio/rec1.flac", f"rec2 {folder}/raw.ark:5"]
    lines(train / "wav.scp", *wavs)
    parts = ["u1 rec1 0.0 1.0", "u2 rec1 1.0 2.0", "u3 rec2 2.0 3.0"]
    lines(train / "segments", *parts)
    lines(train / "text", "u1 good morning", "u2 good evening", "u3 good night")
    lines(train / "utt2spk", "u1 ann", "u2 ann", "u3 bob")
    test = folder / "data" / "test"
    write(test / "t1.wav")
    lines(test / "wav.scp", "t1 t1.wav")
    lines(test / "text", "t1 hello")
    return folder / "data"
