"""Audio to vectors in an LLM's embedding space: the half of a speech LM that hears."""

import contextlib
import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, overload

import torch
from torch import nn

from ssr_plugin.alignment.record import Alignment
from ssr_plugin.connectors.base import Connector, VocabularyConnector
from ssr_plugin.data.audio import AudioError
from ssr_plugin.data.resampling import resample
from ssr_plugin.encoders.encoder import SpeechEncoder
from ssr_plugin.inference.long_audio import (
    JoinedSpeech,
    SegmentRuns,
    encode_parts,
    group_seconds,
    may_be_long,
    read_parts,
)
from ssr_plugin.inference.posterior_gate import PosteriorGate, known_posteriors
from ssr_plugin.inference.reading import read_segments
from ssr_plugin.inference.speech import (
    Recording,
    Speech,
    are_many,
    is_file,
    read_groups,
    read_waveform,
)
from ssr_plugin.llm.lm_fusion import LMFusion
from ssr_plugin.llm.text_llm import TextLLM
from ssr_plugin.nnet.groups import split_groups
from ssr_plugin.nnet.lengths import send_padded
from ssr_plugin.nnet.nearest import nearest_tokens, squared_norms
from ssr_plugin.nnet.segment_lists import true_indices
from ssr_plugin.nnet.segments import pad_segments
from ssr_plugin.nnet.stopwatch import Stopwatch
from ssr_plugin.processes import num_readers
from ssr_plugin.segmenters.base import (
    FrameSegmenter,
    HearingSegmenter,
    Segmentation,
    Segmenter,
    Segments,
    TokenPosteriors,
)

if TYPE_CHECKING:
    from ssr_plugin.build import SegmenterPair

# Audio in a batch, padding included, s, by type of device, unless the user says. A GPU
# is busy with so much; where it is too much for its memory, batches are halved.
_BATCH_SECONDS = {"cpu": 60.0}
_BATCH_SECONDS_ELSEWHERE = 960.0
# Batches whose recordings are read before they are sorted by length, at most.
_AHEAD = 8
# Segments of a long recording that are read together, and those on either side of them
# that are read for their sake only. They are made of whole windows of the connector ssr
# (256, of which 64 on either side are context): its vectors are those of the whole.
_RUN, _CONTEXT = 256 + 6 * 128, 64


class Embedder(nn.Module):
    """Encoder, segmenters and connector: speech as vectors that an LLM reads.

    By default a vector is what the connector hears. LM fusion multiplies in what the
    LLM expects; what comes of it says so.

    Arguments
    ---------
    encoder : ssr_plugin.encoders.encoder.SpeechEncoder
    segmenters : dict
        "forced" and "predicted", as :func:`ssr_plugin.build.segmenters` gives them.
    connector : torch.nn.Module
    llm : ssr_plugin.llm.text_llm.TextLLM
        As the connector learnt from it. Where it was tuned since, its base model is
        what LM fusion asks.
    lm_fusion : LMFusion
        How LM fusion is done where it is asked for.
    gate : PosteriorGate or None
        What weighs the hypothesis of predicted segments against what the connector
        hears, where they have probabilities.

    Attributes
    ----------
    num_workers : int or None
        Processes that read files ahead, at most; None takes what the machine has
        (:func:`ssr_plugin.processes.num_readers`). See :meth:`num_readers`.

    Example
    -------
    >>> from ssr_plugin import SpeechLM
    >>> lm = SpeechLM.from_pretrained(getfixture("tiny_speech_lm_folder"))
    >>> speech = lm.embedder.embed((torch.rand(16000) - 0.5, 16000))
    >>> speech.vectors.shape[1], speech.segmentation, speech.lm_fusion
    (16, 'predicted', False)
    """

    def __init__(
        self,
        encoder: SpeechEncoder,
        segmenters: "Mapping[str, Segmenter | None] | SegmenterPair",
        connector: Connector,
        llm: TextLLM,
        lm_fusion: LMFusion | None = None,
        gate: PosteriorGate | None = None,
    ) -> None:
        super().__init__()
        self.encoder = encoder
        pair: dict[str, Segmenter | None] = {
            "forced": segmenters.get("forced"),
            "predicted": segmenters.get("predicted"),
        }
        self.segmenters = nn.ModuleDict({k: v for k, v in pair.items() if v})
        self.connector = connector
        self.llm = llm
        self.lm_fusion = lm_fusion or LMFusion()
        self.gate = gate
        self.num_workers: int | None = None
        self._norms: torch.Tensor | None = None
        self._stopwatch: Stopwatch | None = None

    @property
    def device(self) -> torch.device:
        """Where the model is."""
        device: torch.device = self.llm.embedding.weight.device
        return device

    def num_readers(self) -> int:
        """How many processes read files ahead, at most: as the user or the device says.

        Returns
        -------
        int
        """
        if self.num_workers is not None:
            return self.num_workers
        return num_readers(self.device)

    @contextlib.contextmanager
    def timed(self) -> Iterator[Stopwatch]:
        """Times the parts of what is embedded in the block, by one thread at a time.

        Yields
        ------
        ssr_plugin.nnet.stopwatch.Stopwatch
            With the parts "front_end", "encoder", "segmenter", "connector" and, where
            it is asked for, "lm_fusion", which is the connector and the LLM together.

        Example
        -------
        >>> from ssr_plugin import SpeechLM
        >>> lm = SpeechLM.from_pretrained(getfixture("tiny_speech_lm_folder"))
        >>> with lm.embedder.timed() as stopwatch:
        ...     _ = lm.embed((torch.rand(8000), 16000))
        >>> sorted(stopwatch.seconds())
        ['connector', 'encoder', 'front_end', 'segmenter']
        """
        with self.encoder.timed() as stopwatch:
            self._stopwatch = stopwatch
            try:
                yield stopwatch
            finally:
                self._stopwatch = None

    def _part(self, name: str) -> contextlib.AbstractContextManager[None]:
        stopwatch = self._stopwatch
        return contextlib.nullcontext() if stopwatch is None else stopwatch(name)

    # --- Recordings --------------------------------------------------------------

    @overload
    def embed(
        self,
        wav: list[Any],
        alignment: Sequence[Alignment | None] | None = None,
        batch_seconds: float | None = None,
        lm_fusion: bool = False,
    ) -> list[Speech]: ...

    @overload
    def embed(
        self,
        wav: Recording | Speech,
        alignment: Alignment | None = None,
        batch_seconds: float | None = None,
        lm_fusion: bool = False,
    ) -> Speech: ...

    def embed(
        self,
        wav: Any,
        alignment: Any = None,
        batch_seconds: float | None = None,
        lm_fusion: bool = False,
    ) -> Any:
        """Speech as vectors in the LLM's embedding space.

        Audio goes through encoder, segmenter and connector in windows with context.
        Audio longer than five minutes is cut where it is quiet, and read part by part,
        in memory that does not grow with it; its text, where there is an alignment, is
        not cut, and a file is then read twice. Audio without speech gives no vectors.
        Of a list, files are read a few batches ahead, by processes of their own if they
        are many, so that it may be of any length, too.

        Arguments
        ---------
        wav : speech, or list of speech
            What was embedded already stays as it is.
        alignment : ssr_plugin.alignment.record.Alignment, list of them, or None
            With one, segments are forced: cut where its transcript's tokens end.
            Without, they are found in the audio alone.
        batch_seconds : float or None
            Audio that goes through together, padding included, s. None takes what suits
            the device.
        lm_fusion : bool
            Whether what the LLM expects is multiplied into what the connector hears.
            Without, the LLM is not run, unless the segmenter was made to ask it
            (``subword_ctc`` with a ``beam_size`` above 1).

        Returns
        -------
        Speech, or list of Speech

        Raises
        ------
        ValueError
            If there is no alignment, and no segmenter that does without; an
            :class:`~ssr_plugin.data.audio.AudioError` if a recording cannot be read.

        Example
        -------
        >>> from ssr_plugin import SpeechLM
        >>> lm = SpeechLM.from_pretrained(getfixture("tiny_speech_lm_folder"))
        >>> wavs = [(torch.rand(8000), 16000), (torch.rand(9000), 16000)]
        >>> one, two = lm.embedder.embed(wavs)
        >>> len(one.starts) == len(one.vectors) == len(one.tokens)
        True
        """
        single = not are_many(wav)
        wavs = [wav] if single else wav
        alignments = [alignment] if single else alignment or [None] * len(wavs)
        speeches = list(wavs)
        rows = [i for i, each in enumerate(wavs) if not isinstance(each, Speech)]
        embedded = self.embed_cuts(
            [wavs[i] for i in rows],
            [[alignments[i]] for i in rows],
            batch_seconds=batch_seconds,
            lm_fusion=lm_fusion,
        )
        for i, (speech,) in zip(rows, embedded, strict=True):
            speeches[i] = speech
        return speeches[0] if single else speeches

    def embed_each(
        self,
        wavs: Iterable[Recording],
        batch_seconds: float | None = None,
        lm_fusion: bool = False,
    ) -> Iterator[Speech | AudioError]:
        """Speech as vectors, one recording after another, whatever others are like.

        Arguments
        ---------
        wavs : iterable of speech
            None of them embedded yet. They are read as they are needed.
        batch_seconds, lm_fusion
            Of :meth:`embed`.

        Yields
        ------
        Speech or ssr_plugin.data.audio.AudioError
            In order; the error is why a recording cannot be read.

        Raises
        ------
        ValueError
            If there is no segmenter that does without alignments.

        Example
        -------
        >>> from ssr_plugin import SpeechLM
        >>> lm = SpeechLM.from_pretrained(getfixture("tiny_speech_lm_folder"))
        >>> wavs = [(torch.rand(8000), 16000), "no.wav"]
        >>> for speech in lm.embedder.embed_each(wavs):
        ...     print(type(speech).__name__)
        Speech
        AudioError
        """
        for cuts in self._embed_groups(
            wavs, itertools.repeat([None]), batch_seconds, lm_fusion
        ):
            yield cuts if isinstance(cuts, AudioError) else cuts[0]

    def embed_cuts(
        self,
        wavs: Sequence[Recording],
        alignments: Sequence[Sequence[Alignment | None]],
        batch_seconds: float | None = None,
        lm_fusion: bool | Sequence[bool] = False,
    ) -> list[list[Speech]]:
        """Speech read in several ways, each recording encoded once.

        Only what is longer than five minutes is encoded once for forced and once for
        predicted segments.

        Arguments
        ---------
        wavs : list of speech
            None of them embedded yet.
        alignments : list of list of (Alignment or None)
            Of each recording an alignment for each way to read it, None for segments
            that are found in the audio alone.
        batch_seconds
            Of :meth:`embed`.
        lm_fusion : bool, or list of bool
            That of :meth:`embed`: one for all, or one for each way.

        Returns
        -------
        list of list of Speech
            As many of each recording as it has alignments.

        Raises
        ------
        ValueError
            As :meth:`embed`.

        Example
        -------
        >>> from ssr_plugin import SpeechLM
        >>> lm = SpeechLM.from_pretrained(getfixture("tiny_speech_lm_folder"))
        >>> wav = (torch.rand(8000), 16000)
        >>> ((one, two),) = lm.embedder.embed_cuts([wav], [[None, None]])
        >>> torch.equal(one.vectors, two.vectors)
        True
        >>> ways = {"alignments": [[None, None]], "lm_fusion": [False, True]}
        >>> [speech.lm_fusion for speech in lm.embedder.embed_cuts([wav], **ways)[0]]
        [False, True]
        """
        speeches = []
        for cuts in self._embed_groups(
            wavs, iter(alignments), batch_seconds, lm_fusion
        ):
            if isinstance(cuts, AudioError):
                raise cuts
            speeches.append(cuts)
        return speeches

    @torch.no_grad()
    def _embed_groups(
        self,
        wavs: Iterable[Recording],
        alignments: Iterator[Sequence[Alignment | None]],
        batch_seconds: float | None,
        lm_fusion: bool | Sequence[bool],
    ) -> Iterator[list[Speech] | AudioError]:
        """Of each recording its cuts, or why it cannot be read; group by group."""
        if batch_seconds is None:
            batch_seconds = self._batch_seconds
        rate = self.encoder.sample_rate
        for is_long, run in itertools.groupby(wavs, may_be_long):
            if is_long:
                for wav in run:
                    ways = next(alignments)
                    yield self._embed_long(wav, ways, batch_seconds, lm_fusion)
                continue
            for waveforms in read_groups(
                run, rate, batch_seconds, _AHEAD * batch_seconds, self.num_readers()
            ):
                cuts = list(itertools.islice(alignments, len(waveforms)))
                results: list[Any] = list(waveforms)
                rows = [
                    i for i, x in enumerate(results) if not isinstance(x, AudioError)
                ]
                # Else it would be held while the next is read.
                waveforms.clear()
                embedded = self._embed_waveforms(
                    [results[i] for i in rows],
                    [cuts[i] for i in rows],
                    batch_seconds,
                    lm_fusion,
                )
                for i, row in zip(rows, embedded, strict=True):
                    results[i] = row
                del embedded
                yield from results

    def _embed_long(
        self,
        wav: Recording,
        alignments: Sequence[Alignment | None],
        batch_seconds: float,
        lm_fusion: bool | Sequence[bool],
    ) -> list[Speech] | AudioError:
        """The cuts of a recording that is read, and embedded, part by part."""
        fusions = [_of_way(lm_fusion, way) for way in range(len(alignments))]
        forced = {way: x for way, x in enumerate(alignments) if x is not None}
        found = [way for way in range(len(alignments)) if way not in forced]
        step = self.encoder.stride / self.encoder.sample_rate
        joins = [JoinedSpeech(step, self.spell) for _ in alignments]
        try:
            if not is_file(wav):
                # It is made floats at that rate but once.
                rate = self.encoder.sample_rate
                wav = (read_waveform(wav, rate), rate)
            if found:
                self._embed_parts(
                    wav,
                    batch_seconds,
                    [fusions[way] for way in found],
                    [joins[way] for way in found],
                )
            if forced:
                self._embed_aligned_parts(
                    wav,
                    list(forced.values()),
                    [fusions[way] for way in forced],
                    [joins[way] for way in forced],
                )
        except AudioError as error:
            return error
        return [joined.speech() for joined in joins]

    def _embed_parts(
        self,
        wav: Recording,
        batch_seconds: float,
        lm_fusion: list[bool],
        joins: list[JoinedSpeech],
    ) -> None:
        """Predicted segments of a long recording: each part is one of its own."""
        rate = self.encoder.sample_rate
        ways: list[Alignment | None] = [None] * len(joins)
        parts = read_parts(wav, rate, self.encoder.stride)
        for group in group_seconds(parts, rate, batch_seconds):
            embedded = self._embed_waveforms(
                group, [ways] * len(group), batch_seconds, lm_fusion
            )
            for row in embedded:
                for joined, speech in zip(joins, row, strict=True):
                    joined.add(speech)

    def _embed_aligned_parts(
        self,
        wav: Recording,
        alignments: list[Alignment],
        lm_fusion: list[bool],
        joins: list[JoinedSpeech],
    ) -> None:
        """Forced segments of a long recording, whose text is one and is not cut.

        So only its frames come part by part, and a run of segments waits for its last.
        """
        encoder = self.encoder
        rate, stride = encoder.sample_rate, encoder.stride
        segmenter: Any = self.segmenters["forced"]
        # Where segments lie depends on how many frames there are.
        samples = sum(map(len, read_parts(wav, rate, stride)))
        num_frames = encoder.num_frames(samples)
        with self._part("segmenter"):
            cuts = [
                segmenter.segment(each, num_frames) if num_frames else Segments.none()
                for each in alignments
            ]
        waiting = [SegmentRuns(cut, _RUN, _CONTEXT) for cut in cuts]
        frames = torch.zeros(0, encoder.width, device=self.device)
        begin = 0
        for features in encode_parts(encoder, read_parts(wav, rate, stride), samples):
            frames = torch.cat([frames, features])
            for runs, fusion, joined in zip(waiting, lm_fusion, joins, strict=True):
                first = runs.first
                while run := runs.take(begin + len(frames)):
                    with self._part("lm_fusion" if fusion else "connector"):
                        (speech,) = self._read_all(
                            frames[None, first - begin :],
                            [Segmentation(run[0])],
                            forced=True,
                            lm_fusion=fusion,
                            rows=run[1],
                        )
                    joined.add(speech, first * stride / rate)
                    first = runs.first
            needed = min(runs.first for runs in waiting)
            # A copy: else frames that are needed no more would be held.
            frames, begin = frames[needed - begin :].clone(), needed
        for joined in joins:
            joined.seconds = samples / rate

    def _embed_waveforms(
        self,
        waveforms: list[torch.Tensor],
        alignments: list[Sequence[Alignment | None]],
        batch_seconds: float,
        lm_fusion: bool | Sequence[bool],
    ) -> list[list[Speech]]:
        """The cuts of recordings that are in memory, in batches of like length."""
        rate = self.encoder.sample_rate
        lengths = [len(wav) for wav in waveforms]
        order = sorted(range(len(lengths)), key=lambda i: -lengths[i])
        results: dict[int, list[Speech]] = {}
        waiting = split_groups(
            order, lengths.__getitem__, batch_seconds * rate, padded=True
        )
        while waiting:
            batch = waiting.pop(0)
            speeches = self._embed_if_it_fits(
                [waveforms[i] for i in batch], [alignments[i] for i in batch], lm_fusion
            )
            if speeches is None:
                half = len(batch) // 2
                waiting[:0] = [batch[:half], batch[half:]]
                continue
            results |= zip(batch, speeches, strict=True)
        return [results[i] for i in range(len(waveforms))]

    @property
    def _batch_seconds(self) -> float:
        """Audio in a batch, unless the user says, s."""
        return _BATCH_SECONDS.get(self.device.type, _BATCH_SECONDS_ELSEWHERE)

    def _embed_if_it_fits(
        self,
        waveforms: list[torch.Tensor],
        alignments: list[Sequence[Alignment | None]],
        lm_fusion: bool | Sequence[bool],
    ) -> list[list[Speech]] | None:
        """The cuts of each recording; None if several are too much for the memory."""
        try:
            return self._embed_batch(waveforms, alignments, lm_fusion)
        except torch.cuda.OutOfMemoryError:
            if len(waveforms) == 1:
                raise
        # Not inside the handler: the error holds what the batch had made.
        torch.cuda.empty_cache()
        return None

    def _embed_batch(
        self,
        waveforms: list[torch.Tensor],
        alignments: list[Sequence[Alignment | None]],
        lm_fusion: bool | Sequence[bool],
    ) -> list[list[Speech]]:
        segmenter = self.predicting
        listens = isinstance(segmenter, HearingSegmenter) and any(
            alignment is None for cuts in alignments for alignment in cuts
        )
        shares = isinstance(segmenter, HearingSegmenter) and segmenter.shares_encoder
        with contextlib.ExitStack() as stack:
            windows: dict[int, torch.Tensor] = {}
            if listens and shares:
                windows = stack.enter_context(self.encoder.keep_windows())
            features, lengths = self.encoder(
                send_padded(waveforms, self.device),
                torch.tensor([len(x) for x in waveforms]),
            )
        results: list[list[Any]] = [[None] * len(cuts) for cuts in alignments]
        found: dict[int, Segmentation] = {}
        for forced, fusion in itertools.product((False, True), repeat=2):
            chosen = [
                (i, j)
                for i, cuts in enumerate(alignments)
                for j, alignment in enumerate(cuts)
                if (alignment is not None, _of_way(lm_fusion, j)) == (forced, fusion)
            ]
            if not chosen:
                continue
            rows = [i for i, _ in chosen]
            # An hour's frames are not copied, where all are read in one way.
            frames = features if rows == [*range(len(waveforms))] else features[rows]
            with self._part("segmenter"):
                if forced:
                    forced_segmenter: Any = self.segmenters["forced"]
                    cut = forced_segmenter.segment
                    segmentations = [
                        Segmentation(cut(alignments[i][j], n) if n else Segments.none())
                        for (i, j), n in zip(
                            chosen, lengths[rows].tolist(), strict=True
                        )
                    ]
                elif all(i in found for i in rows):
                    segmentations = [found[i] for i in rows]
                else:
                    if listens:
                        segmentations = self.listen(
                            [waveforms[i] for i in rows],
                            [windows.get(i) for i in rows],
                            lengths[rows].tolist(),
                        )
                    else:
                        segmentations = self.segment(frames, lengths[rows])
                    found = dict(zip(rows, segmentations, strict=True))
            with self._part("lm_fusion" if fusion else "connector"):
                speeches = self._read_all(frames, segmentations, forced, fusion)
            for (i, j), speech in zip(chosen, speeches, strict=True):
                speech.seconds = len(waveforms[i]) / self.encoder.sample_rate
                results[i][j] = speech
        return results

    @property
    def predicting(self) -> Segmenter | None:
        """The segmenter for audio alone, if there is one."""
        if "predicted" not in self.segmenters:
            return None
        segmenter: Any = self.segmenters["predicted"]
        assert isinstance(segmenter, Segmenter)
        return segmenter

    def listen(
        self,
        waveforms: list[torch.Tensor],
        windows: list[torch.Tensor | None],
        num_frames: list[int],
    ) -> list[Segmentation]:
        """Segments of what a recogniser hears, where the segmenter is one that listens.

        Arguments
        ---------
        waveforms : list of torch.Tensor
            [S], at the encoder's rate.
        windows : list of (torch.Tensor or None)
            What the encoder's network gave for each, of
            :meth:`ssr_plugin.encoders.encoder.SpeechEncoder.keep_windows`.
        num_frames : list of int

        Returns
        -------
        list of ssr_plugin.segmenters.base.Segmentation
        """
        segmenter = self.predicting
        assert isinstance(segmenter, HearingSegmenter)
        theirs, ours = segmenter.recognizer.sample_rate, self.encoder.sample_rate
        if theirs != ours:
            waveforms = [
                torch.from_numpy(resample(x.numpy(), ours, theirs)) for x in waveforms
            ]
        hypotheses = segmenter.recognizer.recognize(waveforms, windows)
        return segmenter.cut_all(hypotheses, num_frames)

    def _read_all(
        self,
        features: torch.Tensor,
        segmentations: list[Segmentation],
        forced: bool,
        lm_fusion: bool,
        rows: slice = slice(None),
    ) -> list[Speech]:
        """Speech of each utterance's segments, of those in ``rows``."""
        segments = [each.segments for each in segmentations]
        boundaries, starts, _ = pad_segments(segments)
        padded, kept = self.read(
            features,
            boundaries,
            starts,
            predicted=not forced,
            lm_fusion=lm_fusion,
            posteriors=None if forced else known_posteriors(segmentations),
        )
        chosen = torch.zeros_like(kept)
        chosen[:, rows] = True
        kept = kept & chosen
        said, counts = kept.numpy(), kept.sum(1).tolist()
        index = true_indices(kept, padded.device)
        vectors = padded.flatten(0, 1).index_select(0, index)
        tokens = torch.tensor(self.nearest_tokens(vectors)).split(counts)
        rate = self.encoder.frame_rate
        speeches = []
        for each, keep, z, ids in zip(
            segmentations, said, vectors.split(counts), tokens, strict=True
        ):
            cut = each.segments
            keep = keep[: len(cut)]
            speeches.append(
                Speech(
                    # A copy, which does not hold those of other utterances.
                    vectors=z.clone(),
                    tokens=ids.tolist(),
                    text=self.spell(ids.tolist()),
                    starts=(cut.starts[keep] / rate).tolist(),
                    ends=((cut.boundaries[keep] + 1) / rate).tolist(),
                    segmentation="forced" if forced else "predicted",
                    hypothesis=each.hypothesis if len(cut) else None,
                    seconds=0.0,
                    lm_fusion=lm_fusion and self.can_fuse,
                    segments=cut[rows],
                )
            )
        return speeches

    @property
    def can_fuse(self) -> bool:
        """Whether LM fusion changes anything: the connector must weigh tokens."""
        return self.lm_fusion.steps > 0 and isinstance(
            self.connector, VocabularyConnector
        )

    def nearest_tokens(self, vectors: torch.Tensor) -> list[int]:
        """The tokens whose embeddings are nearest to vectors [N, H]."""
        table = self.llm.table()
        if self._norms is None or self._norms.device != table.device:
            self._norms = squared_norms(table)
        tokens: list[int] = nearest_tokens(vectors.float(), table, self._norms).tolist()
        return tokens

    def spell(self, tokens: list[int]) -> str:
        """The text of tokens, without blanks around it."""
        text = self.llm.tokenizer.decode(tokens, skip_special_tokens=True)
        assert isinstance(text, str)
        return text.strip()

    # --- Frames ------------------------------------------------------------------

    def segment(
        self,
        features: torch.Tensor,
        lengths: torch.Tensor,
        use_lm: bool = True,
        hypotheses: Iterable[Alignment] | None = None,
    ) -> list[Segmentation]:
        """Cuts utterances whose transcript is not known.

        Arguments
        ---------
        features : torch.Tensor
            [B, T, D]
        lengths : torch.Tensor
            [B] int, frames of each; or floats, shares of T.
        use_lm : bool
            Whether the LLM helps, where the segmenter was made to ask it.
        hypotheses : iterable of ssr_plugin.alignment.record.Alignment, or None
            What the segmenter's recogniser has heard, if it is one that listens.

        Returns
        -------
        list of ssr_plugin.segmenters.base.Segmentation

        Raises
        ------
        ValueError
            If there is no segmenter for audio alone, or it listens and nothing was
            heard.
        """
        segmenter = self.predicting
        if segmenter is None:
            raise ValueError(
                "this model has no segmenter for audio alone, since its connector "
                "was trained on forced segments: train one (hparams/segmenter.yaml, "
                "then hparams/distill.yaml --segmenter FOLDER), or give an alignment"
            )
        if isinstance(segmenter, HearingSegmenter):
            if hypotheses is None:
                raise ValueError("the segmenter listens to audio: frames do not do")
            return segmenter.cut_all(hypotheses, lengths.tolist())
        assert isinstance(segmenter, FrameSegmenter)
        with self.llm.base_model():
            return segmenter.segment_frames(features, lengths, use_lm=use_lm)

    def read(
        self,
        features: torch.Tensor,
        boundaries: torch.Tensor,
        starts: torch.Tensor,
        predicted: bool = False,
        lm_fusion: bool = False,
        posteriors: Sequence[TokenPosteriors] | None = None,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Vectors of segments.

        Arguments
        ---------
        features, boundaries, starts, predicted
            Of :func:`ssr_plugin.inference.reading.read_segments`.
        lm_fusion : bool
            Whether what the LLM expects is multiplied in.
        posteriors : list of TokenPosteriors, or None
            Of the hypotheses of predicted segments, where they are known: the gate
            weighs them, if there is one.

        Returns
        -------
        vectors : torch.Tensor
            [B, N, H]; zeros at padding and where nothing is said.
        kept : torch.Tensor
            [B, N] bool, the segments that say something.
        """
        helped: contextlib.AbstractContextManager[TextLLM]
        # The LLM helps as it was when the connector learnt from it.
        helped = (
            self.llm.base_model() if lm_fusion else contextlib.nullcontext(self.llm)
        )
        with helped as llm:
            return read_segments(
                self.connector,
                llm,
                features,
                boundaries,
                starts,
                predicted=predicted,
                lm_fusion=self.lm_fusion if lm_fusion else None,
                gate=self.gate,
                posteriors=posteriors,
            )


def _of_way(lm_fusion: bool | Sequence[bool], way: int) -> bool:
    """Whether a way to read a recording has LM fusion."""
    return lm_fusion if isinstance(lm_fusion, bool) else lm_fusion[way]
