"""Spoken StoryCloze: which ending belongs to the story that is heard."""

from ssr_plugin.data.datasets import read_text
from ssr_plugin.data.headers import audio_files
from ssr_plugin.tasks.choice_task import ChoiceTask
from ssr_plugin.tasks.items import Item, Spoken
from ssr_plugin.tasks.saying import spoken_form

_PARTS = ("mutual", "correct", "incorrect")


class StoryCloze(ChoiceTask):
    """Spoken StoryCloze with transcripts, in the layout of slp-rl.

    The layout, in a folder or its sub-folders: ``<id>_mutual.wav`` (the story without
    its end), and the transcripts ``<id>_mutual.txt``, ``<id>_correct.txt`` and
    ``<id>_incorrect.txt``.

    Arguments
    ---------
    data : path-like
    rule : str or None
        Of :class:`ChoiceTask`.

    Example
    -------
    >>> folder = getfixture("tmp_path")
    >>> for name, text in [("mutual", "Ann fell."), ("correct", "She cried."),
    ...     ("incorrect", "She flew.")]:
    ...     _ = (folder / f"7_{name}.txt").write_text(text)
    >>> _ = (folder / "7_mutual.wav").write_bytes(b"...")
    >>> (item,) = StoryCloze(folder).items(align=None)
    >>> item.id, item.context[0].text, item.choices[0].text
    ('7', 'ann fell', 'she cried')
    """

    name = "sstorycloze"
    rule = "mean"
    about = (
        "The story is heard; its ending is scored by the tokens of its transcript (S "
        "to T of spoken language modelling; the endings' own audio is not heard). "
        "Spoken StoryCloze of Hassid et al., arXiv 2305.13009, mean log-likelihood and "
        "ties as half as in slp-rl/slamkit."
    )

    def __init__(self, data, rule=None):
        super().__init__(rule)
        self.data = self.find_data(data)

    def items(self, align):
        """See :meth:`Task.items`."""
        stories = sorted(
            path
            for folder in (self.data, *self.data.glob("*/"))
            if folder.is_dir()
            for path in audio_files(folder)
            if path.stem.endswith("_mutual")
        )
        if not stories:
            raise ValueError(
                f"data: there is no <id>_mutual.wav in '{self.data}'; the release of "
                f"whole stories does not tell where the ending begins, nor what is said"
            )
        items = []
        for wav in stories:
            name = wav.stem.removesuffix("_mutual")
            texts = {}
            for part in _PARTS:
                path = wav.with_name(f"{name}_{part}.txt")
                if not path.is_file():
                    raise ValueError(f"data: there is no {path}, a transcript")
                texts[part] = " ".join(read_text(path).split())
            place = wav.parent.relative_to(self.data) / name
            heard = Spoken(
                spoken_form(texts["mutual"]), str(wav), written=texts["mutual"]
            )
            endings = [Spoken(spoken_form(texts[part])) for part in _PARTS[1:]]
            items.append(Item(place.as_posix(), (heard,), tuple(endings), answer=0))
        return items


class TopicStoryCloze(StoryCloze):
    """The same with endings of other stories: easier.

    Arguments
    ---------
    data, rule
        Of :class:`StoryCloze`.
    """

    name = "tstorycloze"
