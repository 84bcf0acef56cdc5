"""What the trained segmenters share: a network over frames, saved and loaded whole."""

import hashlib
import json
import pathlib

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn
from torch.nn.utils.rnn import pad_sequence

from ssr_plugin.files import atomic_path, digest
from ssr_plugin.nnet.frames import FrameNetwork
from ssr_plugin.nnet.groups import split_groups
from ssr_plugin.nnet.lengths import absolute_lengths
from ssr_plugin.nnet.windows import split_windows
from ssr_plugin.registry import get_registry

SETTINGS, WEIGHTS = "segmenter.json", "segmenter.safetensors"
# Longest run of audio that the network sees at once outside training, and the audio on
# either side of it that is read for its sake only, s.
_WINDOW, _CONTEXT = 40.0, 4.0
# What comes of a folder's files that are damaged or not of one segmenter.
_MISFITS = (KeyError, OSError, RuntimeError, SafetensorError, TypeError, ValueError)


class TrainedSegmenter(nn.Module):
    """Finds segments in frames alone, once trained on forced ones.

    A subclass gives :meth:`loss` and :meth:`segment_states`, and where it learns its
    symbols from the training text, :meth:`learn_symbols`.

    Arguments
    ---------
    input_size : int
        D, width of the encoder's frames.
    llm : ssr_plugin.llm.text_llm.TextLLM
    frame_rate : float
        Of the encoder, in Hz.
    width, num_layers, num_heads, kernel_size, stack, dropout
        Of :class:`ssr_plugin.nnet.frames.FrameNetwork`.
    """

    forced = False
    trained = True

    def __init__(
        self,
        input_size,
        llm,
        frame_rate,
        stack=1,
        width=256,
        num_layers=4,
        num_heads=4,
        kernel_size=15,
        dropout=0.1,
    ):
        super().__init__()
        self.tokenizer = llm.tokenizer
        self.frame_rate = frame_rate
        self.stack = stack
        self.network = FrameNetwork(
            input_size, width, num_layers, num_heads, kernel_size, stack, dropout
        )

    def learn_symbols(self, segments):
        """Takes from the training data what symbols there are, before training.

        Arguments
        ---------
        segments : iterable of ssr_plugin.segmenters.forced.Segments
            All of the training data.
        """

    def symbols(self):
        """Options of the class that :meth:`learn_symbols` set, JSON-able."""
        return {}

    def loss(self, features, lengths, boundaries, starts, tokens):
        """What is minimised in training.

        Arguments
        ---------
        features : torch.Tensor
            [B, T, D]
        lengths : torch.Tensor
            [B] int, frames of each.
        boundaries, starts, tokens : torch.Tensor
            [B, N] int each, the forced segments, padded with -1.

        Returns
        -------
        torch.Tensor
            A scalar.
        """
        raise NotImplementedError

    def forward(self, features, lengths, *targets):
        """:meth:`loss`, by the name that DDP needs; lengths may be shares of T."""
        return self.loss(
            features, absolute_lengths(lengths, features.shape[1]), *targets
        )

    def segment_states(self, states, num_frames):
        """Cuts one utterance.

        Arguments
        ---------
        states : torch.Tensor
            [ceil(T / stack), width], the network's.
        num_frames : int
            T

        Returns
        -------
        ssr_plugin.segmenters.forced.Segments
            Tokens are the hypothesis, or -1 where there is none.
        """
        raise NotImplementedError

    def segment_all(self, states, lengths, use_lm):
        """Cuts utterances; where there is more to it than to cut each alone.

        Arguments
        ---------
        states : list of torch.Tensor
            Of :meth:`segment_states`.
        lengths : list of int
        use_lm : bool
            Of :meth:`segment_frames`.

        Returns
        -------
        list of ssr_plugin.segmenters.forced.Segments
        """
        return [
            self.segment_states(x, length)
            for x, length in zip(states, lengths, strict=True)
        ]

    @torch.no_grad()
    def segment_frames(self, features, lengths, use_lm=True):
        """Cuts utterances of which only the frames are known.

        Audio of any length goes through in windows with context, in bounded memory.

        Arguments
        ---------
        features : torch.Tensor
            [B, T, D]
        lengths : torch.Tensor
            [B] int, frames of each; or floats, shares of T.
        use_lm : bool
            Whether the LLM helps, where a segmenter asks for it.

        Returns
        -------
        list of ssr_plugin.segmenters.forced.Segments
            One of each utterance, maybe without any segment.
        """
        lengths = absolute_lengths(lengths, features.shape[1]).tolist()
        return self.segment_all(self.read(features, lengths), lengths, use_lm)

    def read(self, features, lengths):
        """The network's states of each utterance, read in windows.

        Arguments
        ---------
        features : torch.Tensor
            [B, T, D]
        lengths : list of int

        Returns
        -------
        list of torch.Tensor
            [ceil(length / stack), width] each
        """
        size, context = (
            round(seconds * self.frame_rate / self.stack)
            for seconds in (_WINDOW, _CONTEXT)
        )
        runs = [
            (row, window)
            for row, length in enumerate(lengths)
            for window in split_windows(-(-length // self.stack), size, context)
        ]
        states = [[] for _ in lengths]
        for batch in split_groups(runs, _length, 4 * size, padded=True):
            inputs = [
                features[row, w.start * self.stack : lengths[row]][
                    : (w.stop - w.start) * self.stack
                ]
                for row, w in batch
            ]
            counts = torch.tensor([len(x) for x in inputs], device=features.device)
            found, _ = self.network(pad_sequence(inputs, batch_first=True), counts)
            for x, (row, w) in zip(found, batch, strict=True):
                states[row].append(x[w.keep_start - w.start : w.keep_stop - w.start])
        nothing = features.new_zeros(0, self.network.width)
        return [torch.cat(parts) if parts else nothing for parts in states]


def _length(run):
    """Positions of a run (row, window)."""
    return run[1].stop - run[1].start


def save_segmenter(folder, segmenter, name, options, encoder, llm, **notes):
    """Writes a trained segmenter: safetensors and JSON, nothing that runs.

    Arguments
    ---------
    folder : path-like
    segmenter : TrainedSegmenter
    name : str
        As registered.
    options : dict
        It was made with, besides sizes.
    encoder : ssr_plugin.encoders.encoder.SpeechEncoder
    llm : ssr_plugin.llm.text_llm.TextLLM
    **notes
        JSON-able, kept beside the rest.
    """
    folder = pathlib.Path(folder)
    weights = {k: v.contiguous().cpu() for k, v in segmenter.state_dict().items()}
    with atomic_path(folder / WEIGHTS) as path:
        save_file(weights, path)
    settings = {
        "segmenter": name,
        "options": {**options, **segmenter.symbols()},
        "encoder": {"source": encoder.source, **encoder.identity()},
        "llm": {"source": llm.source, "weights": llm.fingerprint},
        **notes,
    }
    with atomic_path(folder / SETTINGS) as path:
        path.write_text(json.dumps(settings, indent=2), encoding="utf-8")


def read_settings(folder):
    """What :func:`save_segmenter` noted.

    Raises
    ------
    ValueError
        If the folder holds no trained segmenter.
    """
    path = pathlib.Path(folder) / SETTINGS
    try:
        settings = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(settings["segmenter"], str):
            raise ValueError("'segmenter' is no name")
        if not isinstance(settings["encoder"]["layer"], int):
            raise ValueError("'layer' is no number")
        for kind in ("encoder", "llm"):
            if not isinstance(settings[kind]["weights"], str):
                raise ValueError(f"'weights' of the {kind} are no fingerprint")
        return settings
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise ValueError(
            f"'{folder}' holds no trained segmenter ({SETTINGS}): train one with "
            f"hparams/segmenter.yaml and give its output_folder "
            f"({type(error).__name__}: {error})"
        ) from error


def segmenter_mark(name):
    """What tells a segmenter from others: its name, or what a trained one consists of.

    Arguments
    ---------
    name : str
        Of a segmenter, or the folder of a trained one.

    Returns
    -------
    str

    Example
    -------
    >>> segmenter_mark("forced")
    'forced'
    """
    folder = pathlib.Path(name)
    if not (folder / SETTINGS).is_file():
        return str(name)
    files = [(folder / file).read_bytes() for file in (SETTINGS, WEIGHTS)]
    return digest([hashlib.blake2b(file).hexdigest() for file in files])


def load_segmenter(folder, encoder, llm):
    """Reads a trained segmenter, frozen.

    Arguments
    ---------
    folder : path-like
        Written by :func:`save_segmenter`.
    encoder : ssr_plugin.encoders.encoder.SpeechEncoder
    llm : ssr_plugin.llm.text_llm.TextLLM

    Returns
    -------
    TrainedSegmenter

    Raises
    ------
    ValueError
        If the folder holds none, or one that was trained on another encoder's frames or
        for another LLM's tokens, or weights that do not fit its settings.
    """
    settings = read_settings(folder)
    for kind, model in (("encoder", encoder), ("llm", llm)):
        if settings[kind]["weights"] != model.fingerprint:
            raise ValueError(
                f"the segmenter in '{folder}' was trained with another {kind} "
                f"({settings[kind].get('source')}): use that one, or train a segmenter "
                f"for this one with hparams/segmenter.yaml"
            )
    if settings["encoder"]["layer"] != encoder.backbone.layer:
        raise ValueError(
            f"the segmenter in '{folder}' reads layer {settings['encoder']['layer']} "
            f"of the encoder: set encoder_layer to it"
        )
    try:
        part = get_registry().segmenters.get(settings["segmenter"])
        if not getattr(part, "trained", False):
            raise ValueError(f"'{settings['segmenter']}' is not trained")
        segmenter = part(
            input_size=encoder.width,
            llm=llm,
            frame_rate=encoder.frame_rate,
            **settings["options"],
        )
        segmenter.load_state_dict(load_file(pathlib.Path(folder) / WEIGHTS))
    except _MISFITS as error:
        raise ValueError(
            f"{SETTINGS} and {WEIGHTS} in '{folder}' do not belong together, or are "
            f"damaged: train a segmenter again with hparams/segmenter.yaml "
            f"({type(error).__name__}: {error})"
        ) from error
    return segmenter.requires_grad_(False).eval()
