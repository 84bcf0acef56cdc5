"""``ssr prepare``: a data set as a corpus of shards, to train on."""

from ssr_plugin.cli.arguments import add_aligner, aligner_arguments

SUMMARY = "make shards of a data set: read, aligned and ready to train on"
USAGE = """
  ssr prepare /data/LibriSpeech shards/librispeech
  ssr prepare clips shards/clips --dataset csv --train-splits train --aligner even
  ssr prepare /data/GigaSpeech shards/m --dataset gigaspeech --train-splits m
  ssr prepare /data/LibriSpeech shards/frames --frames openai/whisper-base --no-audio
  ssr prepare /data/LibriSpeech shards/librispeech --shard 1/4

  ssr train hparams/distill.yaml --data_folder shards/librispeech

A command that was stopped goes on when it is given again. With --shard k/n it does the
k-th of n shares of the work, on this machine or another that has the same folders; when
all are done, the same command without --shard lists what they made. With --ray auto a
Ray cluster shares the work by itself."""


def add_arguments(parser):
    """Adds the arguments of the command."""
    parser.add_argument("data_folder", help="where the data set lies")
    parser.add_argument("output", help="the folder of the shards")
    data = parser.add_argument_group("the data set")
    data.add_argument(
        "--dataset",
        default="librispeech",
        metavar="NAME",
        help="librispeech (or a corpus in its layout), ljspeech, mls, common_voice, "
        "gigaspeech, voxpopuli, kaldi, lhotse, huggingface, csv, or one that an "
        "extension adds (default %(default)s)",
    )
    data.add_argument(
        "--dataset-option",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="an option of the data set, such as locale=de; may be repeated",
    )
    data.add_argument(
        "--language",
        metavar="CODE",
        help="of the speech, as de or zh-CN (default: what the data set says, else en)",
    )
    for kind, default in (
        ("train", ["train*"]),
        ("valid", ["valid*", "dev*"]),
        ("test", ["test*"]),
    ):
        data.add_argument(
            f"--{kind}-splits",
            nargs="*",
            default=default,
            metavar="SPLIT",
            help=f"names or globs (default {' '.join(default)})",
        )
    data.add_argument(
        "--seed",
        type=int,
        default=1234,
        metavar="N",
        help="picks who is held out, where there is no validation split",
    )
    data.add_argument(
        "--valid-share",
        type=float,
        default=0.05,
        metavar="X",
        help="share of the hours that is held out then (default %(default)s)",
    )
    data.add_argument(
        "--valid-fold",
        metavar="K/N",
        help="hold out the k-th of n groups of speakers in place of that share",
    )
    data.add_argument(
        "--max-skipped-share",
        type=float,
        default=0.01,
        metavar="X",
        help="stop if more utterances than this are bad (default %(default)s)",
    )
    content = parser.add_argument_group("what shards hold")
    add_aligner(content)
    content.add_argument(
        "--frames",
        metavar="ENCODER",
        help="keep this encoder's frames, too: a hub id or folder",
    )
    content.add_argument(
        "--recognizer",
        metavar="SOURCE",
        help="keep what this Whisper or CTC model hears, too, for training with "
        "segmenter: asr and predicted_share",
    )
    content.add_argument(
        "--recognizer-option",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="language, num_beams or times, as those of asr in distill.yaml; may be "
        "repeated",
    )
    content.add_argument(
        "--encoder-layer",
        type=int,
        default=-1,
        metavar="N",
        help="of these frames (default: the last)",
    )
    content.add_argument(
        "--encoder-dtype",
        default="auto",
        metavar="TYPE",
        help="float32, bfloat16 or auto, as in training (default %(default)s)",
    )
    content.add_argument(
        "--cache-dtype",
        default="float16",
        metavar="TYPE",
        help="in which frames are kept: float16, or int8: half as large (default "
        "%(default)s)",
    )
    content.add_argument(
        "--no-audio",
        action="store_true",
        help="keep no audio: frames alone, of one encoder",
    )
    content.add_argument(
        "--shard-size",
        type=int,
        default=1000,
        metavar="N",
        help="utterances of a shard (default %(default)s)",
    )
    work = parser.add_argument_group("the work")
    work.add_argument(
        "--shard", default="1/1", metavar="K/N", help="only this share of the work"
    )
    work.add_argument(
        "--num-workers",
        type=int,
        metavar="N",
        help="processes, 0 for none beside this (default: all cores; with --frames, "
        "--recognizer, or an aligner that uses them all, 0)",
    )
    work.add_argument(
        "--ray",
        nargs="?",
        const="local",
        metavar="ADDRESS",
        help="let a Ray cluster do the work (extra [ray]): auto for the one that this "
        "machine is part of, or its address; without one, Ray is started here",
    )
    work.add_argument(
        "--device",
        metavar="DEVICE",
        help="what encodes and listens (default: a GPU, if there)",
    )


def run(options):
    """Makes the shards and prints what there is."""
    import contextlib
    import logging

    from speechbrain.utils.distributed import infer_device

    from ssr_plugin import build
    from ssr_plugin.alignment.align_manifest import make_aligner
    from ssr_plugin.alignment.cache import parse_shard
    from ssr_plugin.alignment.number_aligner import with_number_words
    from ssr_plugin.data.prepare_cli import read_options
    from ssr_plugin.files import check_writable
    from ssr_plugin.folder_lock import locked
    from ssr_plugin.languages import first_language
    from ssr_plugin.training.job_language import check_aligner
    from ssr_plugin.training.make_shards import Frames, Hypotheses, prepare_shards

    logging.getLogger("ssr_plugin").setLevel(logging.INFO)
    own = read_options(options.dataset_option, "--dataset-option")
    dataset = build.dataset(
        options.dataset, options.data_folder, {options.dataset: own}
    )
    dataset.language = first_language(options.language, dataset.language)
    check_aligner(options.aligner, dataset.language)
    aligner = make_aligner(options.aligner, aligner_arguments(options))
    aligner = with_number_words(aligner, dataset.language)
    frames = None
    if options.frames is not None:
        frames = Frames(
            options.frames,
            options.encoder_layer,
            options.encoder_dtype,
            options.device or infer_device(),
            options.cache_dtype,
        )
    hypotheses = None
    if options.recognizer is not None:
        hypotheses = Hypotheses(
            options.recognizer,
            **_recognizer_options(options.recognizer_option, dataset.language),
            dtype=options.encoder_dtype,
            device=options.device or infer_device(),
        )
    check_writable("output", options.output)
    # Shares work side by side; whoever makes all removes what others have left.
    makes_all = parse_shard(options.shard) == (1, 1)
    with locked(options.output, "output") if makes_all else contextlib.nullcontext():
        made = prepare_shards(
            dataset,
            options.output,
            aligner,
            options.train_splits,
            options.valid_splits,
            options.test_splits,
            keeps_audio=not options.no_audio,
            frames=frames,
            hypotheses=hypotheses,
            shard_size=options.shard_size,
            seed=options.seed,
            valid_share=options.valid_share,
            valid_fold=options.valid_fold,
            max_skipped_share=options.max_skipped_share,
            shard=options.shard,
            num_workers=options.num_workers,
            ray_address=options.ray,
        )
    if made is None:
        return
    for name in made.splits():
        split = made[name]
        print(
            f"{split.folder}: {len(split)} utterances, {split.seconds / 3600:.2f} h, "
            f"{len(split.names)} shards; {split.skipped} skipped"
        )


def _recognizer_options(words, language):
    """Options of the recogniser, by default those that distill.yaml gives it."""
    from ssr_plugin.data.prepare_cli import read_options
    from ssr_plugin.training.job_language import times_of

    given = read_options(words, "--recognizer-option")
    options = {"language": language, "num_beams": 1} | given
    for key in given:
        if key not in ("language", "num_beams", "times"):
            raise ValueError(
                f"--recognizer-option: there is no '{key}'; known: language, "
                f"num_beams, times"
            )
    return {"times": times_of(options["language"]), **options}
