"""The model card: what a model is, what it was measured at, how it is loaded."""

import math
import os
import pathlib
import re
from collections.abc import Mapping, Sequence
from typing import Any

import huggingface_hub
from huggingface_hub import EvalResult, ModelCard, ModelCardData

from ssr_plugin.files import atomic_path

# Of a split's metrics: key, heading. Those of "nll" are per token.
_COLUMNS = {
    "token_accuracy": "token accuracy %",
    "retrieval_wer": "WER of the reading %",
    "retrieval_cer": "CER of the reading %",
    "prompted_wer": "prompted WER %",
    "prompted_cer": "prompted CER %",
    "vectors_per_second": "vectors a second",
}
_NLL = {
    "gain_kept": "of the text's gain kept %",
    "cascade_kept": "kept by the hypothesis as text %",
}
_LM_FUSION = {
    "lm_fusion_wer": "WER with LM fusion %",
    "lm_fusion_cer": "CER with LM fusion %",
}
# Of those that the hub is told as results of the model: its name of the task and of the
# metric.
_RESULTS = {
    "token_accuracy": ("automatic-speech-recognition", "accuracy", "Token accuracy"),
    "retrieval_wer": ("automatic-speech-recognition", "wer", "WER of the reading"),
    "lm_fusion_wer": ("automatic-speech-recognition", "wer", "WER with LM fusion"),
    "prompted_wer": ("automatic-speech-recognition", "wer", "Prompted WER"),
    "retrieval_cer": ("automatic-speech-recognition", "cer", "CER of the reading"),
    "lm_fusion_cer": ("automatic-speech-recognition", "cer", "CER with LM fusion"),
    "prompted_cer": ("automatic-speech-recognition", "cer", "Prompted CER"),
    "gain_kept": ("audio-text-to-text", "gain_kept", "Of the text's gain kept"),
}

# A split's name, its figures, and those of them that a card keeps.
Split = tuple[str, dict[str, Any], dict[str, float | None]]


def write_card(
    path: str | os.PathLike[str],
    settings: Mapping[str, Any],
    metrics: Mapping[str, Any] | None = None,
    tuned: bool = False,
    name: str | None = None,
) -> None:
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


def model_card(
    settings: Mapping[str, Any],
    metrics: Mapping[str, Any] | None = None,
    tuned: bool = False,
    name: str = "model",
) -> str:
    """The text of a model card; arguments as in :func:`write_card`.

    The figures stand in it twice: as a table, and before all else in the hub's own form
    (``model-index``), which names the data and how the segments were made.

    Returns
    -------
    str

    Example
    -------
    >>> settings = {
    ...     "encoder": {"source": "openai/whisper-base"},
    ...     "llm": {"source": "HuggingFaceTB/SmolLM2-135M"},
    ...     "connector": {"name": "ssr", "options": {}},
    ...     "segmenter": None,
    ...     "data": "LibriSpeech",
    ... }
    >>> metrics = {"test": {"segments": "forced", "token_accuracy": 81.25, "nll": None}}
    >>> text = model_card(settings, metrics)
    >>> print(text)
    ---
    base_model:
    - HuggingFaceTB/SmolLM2-135M
    - openai/whisper-base
    library_name: ssr_plugin
    ...
    | split | segments | token accuracy % |
    |---|---|---|
    | test | forced | 81.2 |
    ...
    >>> (result,) = ModelCard(text).data.eval_results
    >>> result.metric_name, result.metric_value, result.dataset_name
    ('Token accuracy, forced segments', 81.25, 'LibriSpeech')
    """
    llm, encoder = settings["llm"]["source"], settings["encoder"]["source"]
    own = settings["segmenter"]
    segments = f"`{own['name']}`, from audio alone" if own else "forced only"
    recognizer = (own or {}).get("options", {}).get("source")
    segments += f", by {recognizer}" if recognizer else ""
    splits = _splits(metrics)
    data = ModelCardData(
        base_model=_hub_ids(llm, encoder) or None,
        library_name="ssr_plugin",
        pipeline_tag="audio-text-to-text",
        tags=["speech", "ssr-connector"],
        model_name=name,
        eval_results=_results(splits, settings.get("data") or "unknown") or None,
    )
    card = ModelCard(f"""---
{data.to_yaml()}
---

# {name}

A text LLM that reads speech, by way of a segmented speech representation
(SSR-Connector, [Tan et al.](https://arxiv.org/abs/2410.00168)): each segment of speech
becomes one vector in the LLM's embedding space.

| part | what |
|---|---|
| encoder | {encoder} |
| LLM | {llm}, {"fine-tuned" if tuned else "as it was"} |
| connector | `{settings["connector"]["name"]}` |
| segments | {segments} |

```python
from ssr_plugin import SpeechLM

lm = SpeechLM.from_pretrained("{name}")
print(lm.transcribe("speech.wav"))
```

{_table(splits)}""")
    return str(card)


def _hub_ids(*sources: str) -> list[str]:
    """Those that may be ids of the hub, without their revision."""
    found = []
    for source in sources:
        name = source.partition("@")[0]
        try:
            huggingface_hub.utils.validate_repo_id(name)
        except huggingface_hub.errors.HFValidationError:
            continue
        found.append(name)
    return found


def _splits(metrics: Mapping[str, Any] | None) -> list[Split]:
    """Of each split its name, its figures, and those of them that are kept here."""
    found = []
    for split, figures in (metrics or {}).items():
        if isinstance(figures, dict) and "segments" in figures:
            nll = figures.get("nll") or {}
            kept = {key: figures.get(key) for key in _COLUMNS}
            kept |= {key: nll.get(key) for key in _NLL}
            fused = figures.get("lm_fusion") or {}
            for rate in ("wer", "cer"):
                kept[f"lm_fusion_{rate}"] = fused.get(f"retrieval_{rate}")
            found.append((split.removesuffix(" predicted"), figures, kept))
    return found


def _results(splits: Sequence[Split], data: str) -> list[EvalResult]:
    """The figures as the hub's metadata; none of what is no number."""
    results = []
    # The hub's form asks for an id: letters, digits and a few marks.
    kind = re.sub(r"[^a-z0-9._-]+", "-", data.lower()).strip("-") or "unknown"
    for split, figures, kept in splits:
        for key, (task, metric, title) in _RESULTS.items():
            value = kept[key]
            if value is None or not math.isfinite(value):
                continue
            results.append(
                EvalResult(
                    task_type=task,
                    dataset_type=kind,
                    dataset_name=data,
                    dataset_split=split,
                    metric_type=metric,
                    metric_name=f"{title}, {figures['segments']} segments",
                    metric_value=round(value, 2),
                    metric_args={"segments": figures["segments"]},
                )
            )
    return results


def _table(splits: Sequence[Split]) -> str:
    """The table of figures, with those columns that any split has."""
    if not splits:
        return "No figures were kept with this model.\n"
    heads = {
        key: head
        for key, head in {**_COLUMNS, **_LM_FUSION, **_NLL}.items()
        if any(kept[key] is not None for _, _, kept in splits)
    }
    lines = [["split", "segments", *heads.values()], ["---"] * (len(heads) + 2)]
    for split, figures, kept in splits:
        values = [kept[key] for key in heads]
        shown = ["-" if value is None else f"{value:.1f}" for value in values]
        lines.append([split, figures["segments"], *shown])
    table = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    table = table.replace("| --- ", "|---").replace("--- |", "---|")
    return (
        f"{table}\n\n*Forced* segments were cut with the help of the reference "
        f"transcript, *predicted* ones from audio alone.\n"
    )
