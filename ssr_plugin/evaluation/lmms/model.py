"""The class that lmms-eval makes of ``--model ssr``.

Only lmms-eval imports this module: its base class is there then.
"""

from collections.abc import Sequence
from typing import Any

import torch
from lmms_eval.api.instance import GenerationResult, Instance
from lmms_eval.api.model import lmms

from ssr_plugin.evaluation.lmms.responder import Responder, parse_batch_size
from ssr_plugin.inference.speech_lm import SpeechLM


class SSR(lmms):
    """A SpeechLM, asked by lmms-eval.

    Arguments
    ---------
    pretrained : str
        Hub id or folder of the SpeechLM.
    batch_size : int or str
        Prompts that go through the LLM together: lmms-eval's ``--batch_size``.
    max_batch_size : None
        lmms-eval's; it is of no use here.
    condition, chat_template, transcribe, max_skipped_share
        Of :class:`ssr_plugin.evaluation.lmms.responder.Responder`.
    **options
        Of :meth:`ssr_plugin.SpeechLM.from_pretrained`: ``device``, ``dtype``,
        ``segmenter``, ``quantization``, ...

    Raises
    ------
    ValueError
        If there is no such model, or it cannot listen in that condition, or an argument
        is out of range.
    """

    # Asked with a text and what doc_to_visual gives, not with a list of messages.
    is_simple = True

    def __init__(
        self,
        pretrained: str,
        batch_size: int | str = 1,
        max_batch_size: int | None = None,
        condition: str = "predicted",
        chat_template: bool | None = None,
        transcribe: bool = False,
        max_skipped_share: float = 0.01,
        **options: Any,
    ) -> None:
        super().__init__()
        # Before the model is loaded, which takes a while.
        size = parse_batch_size(batch_size)
        self.speech_lm = SpeechLM.from_pretrained(str(pretrained), **options)
        self.responder = Responder(
            self.speech_lm,
            batch_size=size,
            condition=condition,
            chat_template=chat_template,
            transcribe=transcribe,
            max_skipped_share=max_skipped_share,
        )

    @property
    def device(self) -> torch.device:
        """Where the model is; lmms-eval asks where there are several processes."""
        return self.speech_lm.device

    def generate_until(self, requests: Sequence[Instance]) -> list[str]:
        """See :meth:`Responder.generate`."""
        return self.responder.generate(requests, self.task_dict, bar=self.rank == 0)

    def loglikelihood(self, requests: Sequence[Instance]) -> list[GenerationResult]:
        """See :meth:`Responder.score`."""
        scores = self.responder.score(requests, self.task_dict, bar=self.rank == 0)
        # lmms-eval 0.7 makes a string of a tuple, and then fails on it; of this it
        # takes what is inside.
        return [GenerationResult(pair) for pair in scores]

    def generate_until_multi_round(self, requests: Sequence[Instance]) -> list[str]:
        """Refuses tasks that ask again about the answer."""
        raise NotImplementedError("ssr answers once: no tasks of several rounds")

    def clean(self) -> None:
        """Gives the model's memory back, as lmms-eval asks before a judge is loaded."""
        del self.responder
        super().clean()
