"""A prompt that grows while the LLM reads it, as when somebody is still speaking."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import torch
from transformers import DynamicCache

from ssr_plugin.inference.prompts import embed_start, embed_text, parse_prompts
from ssr_plugin.inference.speech import Speech
from ssr_plugin.llm.scoring import cache_argument, states_at

if TYPE_CHECKING:
    from ssr_plugin.inference.speech_lm import SpeechLM


class GrowingPrompt:
    """Text and speech that the LLM has read by the time it is to answer.

    Each content is read when it is appended, and kept as keys and values; what is
    written then begins at once. It is what ``lm.generate`` writes after the same
    contents. A text is read when it is known what follows it: speech, or the answer.

    An LLM that keeps no keys and values (Mamba) reads all when it is to write.

    Arguments
    ---------
    lm : ssr_plugin.inference.speech_lm.SpeechLM

    Example
    -------
    >>> from ssr_plugin import SpeechLM
    >>> lm = SpeechLM.from_pretrained(getfixture("tiny_speech_lm_folder"))
    >>> speech = lm.embed((torch.rand(16000) - 0.5, 16000))
    >>> prompt = lm.growing_prompt()
    >>> for content in ("Said: ", speech, " the cat"):
    ...     prompt.append(content)
    >>> greedy = {"max_new_tokens": 5, "do_sample": False}
    >>> contents = ["Said: ", speech, " the cat"]
    >>> prompt.generate(**greedy) == lm.generate(contents, **greedy)
    True
    """

    def __init__(self, lm: SpeechLM) -> None:
        self.lm = lm
        self._text = ""
        self._embeds: torch.Tensor | None = None
        self._model = lm.model
        self._argument: str | None = cache_argument(self._model)
        self._cache = DynamicCache(config=self._model.config)
        self._most: int | None = getattr(
            self._model.config.get_text_config(), "max_position_embeddings", None
        )

    def __len__(self) -> int:
        """Positions that the LLM has been given."""
        return 0 if self._embeds is None else len(self._embeds)

    def append(self, content: Any) -> None:
        """Goes on with text or speech.

        Arguments
        ---------
        content : str, Speech, or a recording
            One of a prompt's contents; recordings are embedded whole.

        Raises
        ------
        ValueError
            If the LLM has no positions for so much. Nothing of it is taken.
        """
        (contents,), _ = parse_prompts([content])
        if not contents or isinstance(content, str):
            self._text += "".join(contents)
            return
        speech = content if isinstance(content, Speech) else self.lm.embed(content)
        if not len(speech):
            return
        rows = self._next_text(before_speech=True)
        self._take([*rows, speech.vectors.to(rows[0])])
        self._text = ""

    def generate(self, **options: Any) -> str:
        """What the LLM writes after the prompt, which stays as it is.

        Arguments
        ---------
        **options
            Of :meth:`ssr_plugin.inference.speech_lm.SpeechLM.generate`, for one text.

        Returns
        -------
        str
        """
        embeds, options = self._ready(options)
        ids = self.lm.write([embeds], options)
        text = self.lm.llm.tokenizer.decode(ids[0], skip_special_tokens=True)
        assert isinstance(text, str)
        return text

    def stream(self, **options: Any) -> Iterator[str]:
        """The same piece by piece, as it is written."""
        embeds, options = self._ready(options)
        return self.lm.stream_text(embeds, **options)

    def _ready(self, options: dict[str, Any]) -> tuple[torch.Tensor, dict[str, Any]]:
        """The whole prompt, and options with what of it was read."""
        self._take(self._next_text(before_speech=False))
        self._text = ""
        embeds = self._embeds
        if embeds is None or not len(embeds):
            embeds = embed_start(self.lm.llm, text_first=False)
        if self._argument is None or not self._cache.get_seq_length():
            return embeds, options
        # What is written goes into a copy.
        cache = copy.deepcopy(self._cache)
        texts = max(options.get(x) or 1 for x in ("num_beams", "num_return_sequences"))
        if texts > 1:
            cache.batch_repeat_interleave(texts)
        return embeds, {**options, self._argument: cache}

    def _next_text(self, before_speech: bool) -> list[torch.Tensor]:
        """[L, H] of the text that waits, and of the start token where it is due."""
        llm, first = self.lm.llm, self._embeds is None
        rows = []
        if first:
            rows.append(embed_start(llm, text_first=bool(self._text)))
        rows.append(embed_text(llm, self._text, first, before_speech))
        return rows

    @torch.no_grad()
    def _take(self, rows: list[torch.Tensor]) -> None:
        new = torch.cat(rows)
        total = len(self) + len(new)
        if self._most is not None and total > self._most:
            raise ValueError(
                f"the prompt would have {total} positions, and the LLM knows "
                f"{self._most}: begin another"
            )
        before = new[:0] if self._embeds is None else self._embeds
        self._embeds = torch.cat([before, new])
        if self._argument is None:
            return
        # The last is left for what writes: it must have something to read.
        read = self._cache.get_seq_length()
        unread = self._embeds[read:-1]
        if not len(unread):
            return
        ones = torch.ones(1, total - 1, dtype=torch.bool, device=new.device)
        states_at(
            self._model,
            unread[None],
            ones[:, read:],
            torch.zeros(1, dtype=torch.long, device=new.device),
            self._cache,
            ones[:, :read],
        )
