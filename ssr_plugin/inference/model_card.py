"""The model card: what a model is, what it was measured at, how it is loaded."""

import pathlib

from ssr_plugin.files import atomic_path

# Of a split's metrics: key, heading. Those of "nll" are per token.
_COLUMNS = {
    "token_accuracy": "token accuracy %",
    "retrieval_wer": "WER of the reading %",
    "prompted_wer": "prompted WER %",
    "vectors_per_second": "vectors a second",
}
_NLL = {
    "gain_kept": "of the text's gain kept %",
    "cascade_kept": "kept by the hypothesis as text %",
}


def write_card(path, settings, metrics=None, tuned=False, name=None):
    """Writes ``README.md`` in the form that the Hugging Face hub shows.

    Arguments
    ---------
    path : path-like
    settings : dict
        As in ``speech_lm.json``.
    metrics : dict or None
        As in ``metrics.json``: figures by split.
    tuned : bool
        Whether the LLM was fine-tuned.
    name : str or None
        By which it is loaded; the folder's by default.
    """
    name = name or pathlib.Path(path).parent.name
    with atomic_path(path) as partial:
        text = model_card(settings, metrics, tuned, name)
        partial.write_text(text, encoding="utf-8")


def model_card(settings, metrics=None, tuned=False, name="model"):
    """The text of a model card; arguments as in :func:`write_card`.

    Example
    -------
    >>> settings = {
    ...     "encoder": {"source": "openai/whisper-base"},
    ...     "llm": {"source": "HuggingFaceTB/SmolLM2-135M"},
    ...     "connector": {"name": "ssr", "options": {}},
    ...     "segmenter": None,
    ... }
    >>> metrics = {"test": {"segments": "forced", "token_accuracy": 81.25, "nll": None}}
    >>> print(model_card(settings, metrics))
    ---
    library_name: ssr_plugin
    ...
    | split | segments | token accuracy % |
    |---|---|---|
    | test | forced | 81.2 |
    ...
    """
    llm, encoder = settings["llm"]["source"], settings["encoder"]["source"]
    ids = [source.partition("@")[0] for source in (llm, encoder)]
    base = "".join(f"- {x}\n" for x in ids if not pathlib.Path(x).is_absolute())
    own = settings["segmenter"]
    segments = f"`{own['name']}`, from audio alone" if own else "forced only"
    head = "---\nlibrary_name: ssr_plugin\npipeline_tag: audio-text-to-text\n"
    head += "tags:\n- speech\n- ssr-connector\n"
    head += f"base_model:\n{base}---\n" if base else "---\n"
    return f"""{head}
# {name}

A text LLM that reads speech, by way of a segmented speech representation
(SSR-Connector, [Tan et al.](https://arxiv.org/abs/2410.00168)): each segment of speech
becomes one vector in the LLM's embedding space.

| part | what |
|---|---|
| encoder | {encoder} |
| LLM | {llm}, {"fine-tuned" if tuned else "untouched"} |
| connector | `{settings["connector"]["name"]}` |
| segments | {segments} |

```python
from ssr_plugin import SpeechLM

lm = SpeechLM.from_pretrained("{name}")
print(lm.transcribe("speech.wav"))
```

{_figures(metrics)}"""


def _figures(metrics):
    """The table of figures, with those columns that any split has."""
    rows = []
    for split, figures in (metrics or {}).items():
        if not isinstance(figures, dict) or "segments" not in figures:
            continue
        nll = figures.get("nll") or {}
        found = {head: figures.get(key) for key, head in _COLUMNS.items()}
        found |= {head: nll.get(key) for key, head in _NLL.items()}
        rows.append((split.removesuffix(" predicted"), figures["segments"], found))
    if not rows:
        return "No figures were kept with this model.\n"
    heads = [h for h in rows[0][2] if any(row[2].get(h) is not None for row in rows)]
    lines = [["split", "segments", *heads], ["---"] * (len(heads) + 2)]
    for split, segments, found in rows:
        shown = ["-" if found[h] is None else f"{found[h]:.1f}" for h in heads]
        lines.append([split, segments, *shown])
    table = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    table = table.replace("| --- ", "|---").replace("--- |", "---|")
    return (
        f"{table}\n\n*Forced* segments were cut with the help of the reference "
        f"transcript, *predicted* ones from audio alone.\n"
    )
