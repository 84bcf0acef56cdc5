"""A text LLM that reads speech: what users import."""

import contextlib
import itertools
import threading

import torch
from torch import nn
from torch.nn.utils.rnn import pad_sequence
from transformers import TextIteratorStreamer

from ssr_plugin.data.audio import AudioError
from ssr_plugin.inference.chat import render_chat
from ssr_plugin.inference.prompts import embed_prompt, parse_prompts
from ssr_plugin.inference.reading import read_segments
from ssr_plugin.inference.speech import Speech, are_many, is_speech, read_groups
from ssr_plugin.llm.choices import score_choices
from ssr_plugin.llm.tokens import tokenize_inside
from ssr_plugin.nnet.groups import split_groups
from ssr_plugin.nnet.nearest import nearest_tokens, squared_norms
from ssr_plugin.nnet.segments import pad_segments
from ssr_plugin.segmenters.forced import Segments

# Batches whose recordings are read before they are sorted by length.
_AHEAD = 8
# How many tokens are written if nobody says.
_NEW_TOKENS = 128


class SpeechLM(nn.Module):
    """Encoder, segmenter, connector and LLM, ready for use.

    ``wav`` is a path, ``(samples, rate)``, a dict or decoder as Hugging Face
    ``datasets`` gives them, or what :meth:`embed` gave. A prompt is a string, or a list
    of strings and speech; there a path is a ``pathlib.Path``, since a string is text.
    Each method takes one, or a list of many (of recordings also a column of
    ``datasets``), and gives one result or a list; what is done together gives what is
    done alone.

    Arguments
    ---------
    encoder : ssr_plugin.encoders.encoder.SpeechEncoder
    llm : ssr_plugin.llm.text_llm.TextLLM
        As the connector learnt from it.
    connector : torch.nn.Module
    segmenters : dict
        "forced" and "predicted", as :func:`ssr_plugin.build.segmenters` gives them.
    settings : dict
        What ``speech_lm.json`` keeps besides: see
        :mod:`ssr_plugin.inference.pretrained`.
    tuned : ssr_plugin.llm.tuning.TunedLLM or None
        The LLM after stage 2.

    Attributes
    ----------
    metrics : dict or None
        What was measured when it was made.

    Example
    -------
    >>> lm = SpeechLM.from_pretrained(getfixture("tiny_speech_lm_folder"))
    >>> wav = (torch.rand(16000) - 0.5, 16000)
    >>> speech = lm.embed(wav)
    >>> speech.vectors.shape[1], speech.segments
    (16, 'predicted')
    >>> answer = lm.generate(["Question: ", wav, "\\nAnswer:"], max_new_tokens=3)
    >>> isinstance(answer, str)
    True
    >>> lm.score(["Said: ", speech], " the cat") < 0
    True
    """

    def __init__(self, encoder, llm, connector, segmenters, settings, tuned=None):
        super().__init__()
        self.encoder = encoder
        self.llm = llm
        self.connector = connector
        self.segmenters = nn.ModuleDict({k: v for k, v in segmenters.items() if v})
        self.settings = settings
        self.tuned = tuned
        self.metrics = None
        self._norms = None
        self.requires_grad_(False).eval()

    @classmethod
    def from_pretrained(cls, source, **options):
        """Loads a model: see :func:`ssr_plugin.inference.pretrained.load_speech_lm`."""
        from ssr_plugin.inference.pretrained import load_speech_lm

        return load_speech_lm(source, **options)

    @classmethod
    def from_hparams(cls, source, savedir=None, run_opts=None, **options):
        """Loads a model the way SpeechBrain's interfaces do.

        No YAML is read: what the model is made of is told by its JSON.

        Arguments
        ---------
        source : str
            Hub id or folder.
        savedir : path-like or None
            Where files of the hub are kept, in place of the hub's own cache.
        run_opts : dict or None
            ``{"device": "cuda:0"}``; other options of SpeechBrain have no say.
        **options
            Of :func:`ssr_plugin.inference.pretrained.load_speech_lm`.
        """
        device = (run_opts or {}).get("device")
        return cls.from_pretrained(
            source, **{"device": device, "cache_dir": savedir, **options}
        )

    def save_pretrained(self, folder, **options):
        """Writes it: see :func:`ssr_plugin.inference.pretrained.save_speech_lm`."""
        from ssr_plugin.inference.pretrained import save_speech_lm

        save_speech_lm(folder, self, **options)

    def push_to_hub(self, repo_id, **options):
        """Publishes it: see :func:`ssr_plugin.inference.pretrained.push_speech_lm`."""
        from ssr_plugin.inference.pretrained import push_speech_lm

        return push_speech_lm(repo_id, self, **options)

    @property
    def device(self):
        """Where the model is."""
        return self.llm.embedding.weight.device

    @property
    def model(self):
        """What writes: the transformers model, tuned if it was."""
        return self.llm.load_model() if self.tuned is None else self.tuned.model

    def train(self, mode=True):
        """Stays in eval mode: it is for use."""
        return super().train(False)

    # --- Speech to vectors -------------------------------------------------------

    def embed(self, wav, alignment=None, batch_seconds=60.0):
        """Speech as vectors in the LLM's embedding space.

        Audio of any length goes through encoder, segmenter and connector in windows
        with context. Audio without speech gives no vectors. Of a list, files are read
        a few batches ahead, so that it may be of any length, too.

        Arguments
        ---------
        wav : speech, or list of speech
        alignment : ssr_plugin.alignment.record.Alignment, list of them, or None
            With one, segments are forced: cut where its transcript's tokens end.
            Without, they are found in the audio alone.
        batch_seconds : float
            Audio that goes through together, padding included.

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
        >>> lm = SpeechLM.from_pretrained(getfixture("tiny_speech_lm_folder"))
        >>> one, two = lm.embed([(torch.rand(8000), 16000), (torch.rand(9000), 16000)])
        >>> len(one.starts) == len(one.vectors) == len(one.tokens)
        True
        """
        single = not are_many(wav)
        wavs = [wav] if single else list(wav)
        alignments = [alignment] if single else alignment or [None] * len(wavs)
        found = wavs.copy()
        rows = [i for i, each in enumerate(wavs) if not isinstance(each, Speech)]
        made = self.embed_cuts(
            [wavs[i] for i in rows],
            [[alignments[i]] for i in rows],
            batch_seconds=batch_seconds,
        )
        for i, (speech,) in zip(rows, made, strict=True):
            found[i] = speech
        return found[0] if single else found

    def embed_each(self, wavs, batch_seconds=60.0):
        """Speech as vectors, one recording after another, whatever others are like.

        Arguments
        ---------
        wavs : iterable of speech
            None of them embedded yet. They are read as they are needed.
        batch_seconds : float
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
        >>> lm = SpeechLM.from_pretrained(getfixture("tiny_speech_lm_folder"))
        >>> for found in lm.embed_each([(torch.rand(8000), 16000), "no.wav"]):
        ...     print(type(found).__name__)
        Speech
        AudioError
        """
        for found in self._embed_groups(wavs, itertools.repeat([None]), batch_seconds):
            yield found if isinstance(found, AudioError) else found[0]

    def embed_cuts(self, wavs, alignments, batch_seconds=60.0):
        """Speech cut in several ways, of one pass of each recording's encoding.

        Arguments
        ---------
        wavs : list of speech
            None of them embedded yet.
        alignments : list of list of (Alignment or None)
            Of each recording an alignment for each way to cut it, None for segments
            that are found in the audio alone.
        batch_seconds : float
            Of :meth:`embed`.

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
        >>> lm = SpeechLM.from_pretrained(getfixture("tiny_speech_lm_folder"))
        >>> ((one, two),) = lm.embed_cuts([(torch.rand(8000), 16000)], [[None, None]])
        >>> torch.equal(one.vectors, two.vectors)
        True
        """
        found = []
        for cuts in self._embed_groups(wavs, iter(alignments), batch_seconds):
            if isinstance(cuts, AudioError):
                raise cuts
            found.append(cuts)
        return found

    @torch.no_grad()
    def _embed_groups(self, wavs, alignments, batch_seconds):
        """Of each recording its cuts, or why it cannot be read; group by group."""
        most = batch_seconds * self.encoder.sample_rate
        for heard in read_groups(wavs, self.encoder.sample_rate, _AHEAD * most):
            cuts = list(itertools.islice(alignments, len(heard)))
            lengths = {
                i: len(wav)
                for i, wav in enumerate(heard)
                if not isinstance(wav, AudioError)
            }
            order = sorted(lengths, key=lambda i: -lengths[i])
            found = list(heard)
            for batch in split_groups(order, lengths.get, most, padded=True):
                made = self._embed([heard[i] for i in batch], [cuts[i] for i in batch])
                for i, own in zip(batch, made, strict=True):
                    found[i] = own
            # Else it would be held while the next is read.
            heard.clear()
            yield from found

    def _embed(self, waveforms, alignments):
        lengths = torch.tensor([len(x) for x in waveforms])
        features, lengths = self.encoder(
            pad_sequence(waveforms, batch_first=True).to(self.device), lengths
        )
        results = [[None] * len(own) for own in alignments]
        cuts = [(i, j) for i, own in enumerate(alignments) for j in range(len(own))]
        for forced in (False, True):
            chosen = [
                (i, j) for i, j in cuts if (alignments[i][j] is not None) == forced
            ]
            if not chosen:
                continue
            rows = [i for i, _ in chosen]
            # An hour's frames are not copied, where all are read in one way.
            every = rows == [*range(len(waveforms))]
            own = features if every else features[rows]
            wanted = [alignments[i][j] for i, j in chosen]
            # The LLM helps as it was when the connector learnt from it.
            with self._untouched():
                segments = self._segment(own, lengths[rows], wanted, forced)
                spoken = self._read(own, segments, forced)
            for (i, j), speech in zip(chosen, spoken, strict=True):
                speech.seconds = len(waveforms[i]) / self.encoder.sample_rate
                results[i][j] = speech
        return results

    def _untouched(self):
        """The LLM without what stage 2 made of it."""
        return (
            contextlib.nullcontext() if self.tuned is None else self.tuned.untouched()
        )

    def _segment(self, features, lengths, alignments, forced):
        if not forced:
            if "predicted" not in self.segmenters:
                raise ValueError(
                    "this model has no segmenter for audio alone, since its connector "
                    "was trained on forced segments: train one "
                    "(hparams/segmenter.yaml, then hparams/distill.yaml --segmenter "
                    "FOLDER), or give an alignment"
                )
            return self.segmenters["predicted"].segment_frames(features, lengths)
        cut = self.segmenters["forced"].segment
        return [
            cut(each, n) if n else Segments.none()
            for each, n in zip(alignments, lengths.tolist(), strict=True)
        ]

    def _read(self, features, segments, forced):
        boundaries, starts, _ = pad_segments(segments, self.device)
        vectors, kept = read_segments(
            self.connector,
            self.llm,
            features,
            boundaries,
            starts,
            predicted=not forced,
            **self.settings["reading"],
        )
        table = self.llm.table()
        if self._norms is None or self._norms.device != table.device:
            self._norms = squared_norms(table)
        results = []
        for row, (own, keep) in enumerate(zip(segments, kept, strict=True)):
            z = vectors[row][keep]
            tokens = nearest_tokens(z.float(), table, self._norms).tolist()
            keep = keep[: len(own)].cpu().numpy()
            known = not forced and len(own) and (own.tokens >= 0).all()
            results.append(
                Speech(
                    vectors=z,
                    tokens=tokens,
                    text=self._spell(tokens),
                    starts=(own.starts[keep] / self.encoder.frame_rate).tolist(),
                    ends=(
                        (own.boundaries[keep] + 1) / self.encoder.frame_rate
                    ).tolist(),
                    segments="forced" if forced else "predicted",
                    hypothesis=self._spell(own.tokens.tolist()) if known else None,
                    seconds=0.0,
                )
            )
        return results

    def _spell(self, tokens):
        return self.llm.tokenizer.decode(tokens, skip_special_tokens=True).strip()

    # --- Text out ----------------------------------------------------------------

    def transcribe(self, wav, prompt=None, alignment=None, **options):
        """What was said.

        Arguments
        ---------
        wav : speech, or list of speech
        prompt : str or None
            None takes the tokens that are nearest to the vectors, which the LLM helped
            to choose: fast, and the better way unless the LLM was tuned to transcribe.
            A text ("\\n") lets the LLM write after vectors and text.
        alignment
            Of :meth:`embed`.
        **options
            Of :meth:`generate`, with a prompt.

        Returns
        -------
        str, or list of str
        """
        single = not are_many(wav)
        spoken = self.embed(wav, alignment)
        spoken = [spoken] if single else spoken
        if prompt is None:
            texts = [speech.text for speech in spoken]
        else:
            prompts = [[speech, prompt] for speech in spoken]
            texts = [text.strip() for text in self.generate(prompts, **options)]
        return texts[0] if single else texts

    def generate(self, prompt, batch_size=16, **options):
        """What the LLM writes after a prompt.

        Arguments
        ---------
        prompt : prompt, or list of prompts
        batch_size : int
            Prompts that go through the LLM together.
        **options
            Of ``transformers.GenerationMixin.generate``; ``max_new_tokens`` is 128 if
            neither they nor a ``generation_config`` say.

        Returns
        -------
        str, or list of str
            With ``num_return_sequences`` above 1, a list of str for each prompt.
        """
        prompts, single = parse_prompts(prompt)
        embeds = self._embed_prompts(prompts)
        count = _sequences(options)
        texts = []
        for first in range(0, len(embeds), batch_size):
            written = self._generate(embeds[first : first + batch_size], options)
            texts += self.llm.tokenizer.batch_decode(written, skip_special_tokens=True)
        if count > 1:
            texts = [texts[i : i + count] for i in range(0, len(texts), count)]
        return texts[0] if single else texts

    def stream(self, prompt, **options):
        """What the LLM writes after one prompt, piece by piece as it is written.

        Arguments
        ---------
        prompt : prompt
        **options
            Of :meth:`generate`.

        Yields
        ------
        str

        Example
        -------
        >>> lm = SpeechLM.from_pretrained(getfixture("tiny_speech_lm_folder"))
        >>> whole = lm.generate("the cat", max_new_tokens=5)
        >>> "".join(lm.stream("the cat", max_new_tokens=5)) == whole
        True
        """
        (parts,), single = parse_prompts(prompt)
        if not single:
            raise ValueError("only one prompt at a time can be streamed")
        embeds = self._embed_prompts([parts])
        streamer = TextIteratorStreamer(self.llm.tokenizer, skip_special_tokens=True)
        failed = []

        def write():
            try:
                self._generate(embeds, {**options, "streamer": streamer})
            except Exception as error:
                failed.append(error)
                streamer.end()

        thread = threading.Thread(target=write, daemon=True)
        thread.start()
        yield from streamer
        thread.join()
        if failed:
            raise failed[0]

    def chat(self, messages, **options):
        """What the LLM answers in a conversation, by its own chat template.

        Arguments
        ---------
        messages : str, list of dict, or list of lists of dict
            Of :func:`ssr_plugin.inference.chat.render_chat`; of a list of lists each is
            a conversation of its own.
        **options
            Of :meth:`generate`.

        Returns
        -------
        str, or list of str

        Raises
        ------
        ValueError
            If the LLM has no chat template, or speech is not where it is said to be.
        TypeError
            If it is no conversation.
        """
        many = isinstance(messages, list) and bool(messages)
        many = many and all(isinstance(talk, list) for talk in messages)
        talks = messages if many else [messages]
        prompts = [render_chat(self.llm, talk) for talk in talks]
        texts = self.generate(prompts, **options)
        return texts if many else texts[0]

    @torch.no_grad()
    def score(self, context, continuation, per_token=False, batch_size=16):
        """How likely a text is after a context.

        Arguments
        ---------
        context : prompt, or list of prompts
            May be "".
        continuation : str, or list of str
            One for each context; with a single context, several to compare.
        per_token : bool
            Whether to divide by the number of the continuation's tokens.
        batch_size : int
            Texts that go through the LLM together, and a context with them once.

        Returns
        -------
        float, or list of float
            Log-likelihood, nats: the sum over the tokens.

        Raises
        ------
        ValueError
            If the numbers do not match, or a continuation is empty.

        Example
        -------
        >>> lm = SpeechLM.from_pretrained(getfixture("tiny_speech_lm_folder"))
        >>> both = lm.score("the cat", [" sat", " saw"])
        >>> abs(both[0] - lm.score("the cat", " sat")) < 1e-4
        True
        """
        prompts, alone = parse_prompts(context)
        single = alone and isinstance(continuation, str)
        texts = [continuation] if isinstance(continuation, str) else list(continuation)
        contexts = self._embed_prompts(prompts)
        if not alone and len(contexts) != len(texts):
            raise ValueError(
                f"{len(contexts)} contexts and {len(texts)} continuations: give one "
                f"for each"
            )
        tokens = [tokenize_inside(self.llm.tokenizer, text) for text in texts]
        if not all(tokens):
            raise ValueError("a continuation is empty: there is nothing to score")
        choices = [tokens] if alone else [[ids] for ids in tokens]
        found = score_choices(
            self.model, self.llm.embed, contexts, choices, batch_size=batch_size
        )
        scores = [score for own in found for score in own]
        if per_token:
            scores = [s / len(t) for s, t in zip(scores, tokens, strict=True)]
        return scores[0] if single else scores

    # --- Prompts -----------------------------------------------------------------

    def embed_prompts(self, prompt):
        """Prompts as what the LLM reads in place of token ids.

        They are the ``prompt_embeds`` of vLLM and the ``inputs_embeds`` of
        transformers.

        Arguments
        ---------
        prompt : prompt, or list of prompts

        Returns
        -------
        torch.Tensor, or list of torch.Tensor
            [L, H]
        """
        prompts, single = parse_prompts(prompt)
        embeds = self._embed_prompts(prompts)
        return embeds[0] if single else embeds

    def _embed_prompts(self, prompts):
        """[L, H] of each prompt; all speech goes through together."""
        spoken = iter(self.embed([p for ps in prompts for p in ps if is_speech(p)]))
        return [
            embed_prompt(self.llm, [next(spoken) if is_speech(p) else p for p in ps])
            for ps in prompts
        ]

    @torch.no_grad()
    def _generate(self, embeds, options):
        """New token ids [B * sequences, L]."""
        options = dict(options)
        if not {"max_new_tokens", "max_length", "generation_config"} & set(options):
            options["max_new_tokens"] = _NEW_TOKENS
        end = self.llm.tokenizer.eos_token_id
        if self.llm.tokenizer.pad_token_id is None and end is not None:
            options.setdefault("pad_token_id", end)
        ones = [
            torch.ones(len(x), dtype=torch.long, device=self.device) for x in embeds
        ]
        # Position ids are counted from the mask.
        return self.model.generate(
            inputs_embeds=pad_sequence(embeds, batch_first=True, padding_side="left"),
            attention_mask=pad_sequence(ones, batch_first=True, padding_side="left"),
            **options,
        )


def _sequences(options):
    """How many texts are wanted of each prompt."""
    config = options.get("generation_config")
    given = options.get("num_return_sequences")
    return given or getattr(config, "num_return_sequences", None) or 1
