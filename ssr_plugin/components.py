"""The components this package brings, registered as an extension registers its own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ssr_plugin.registry import Registry, Table

_TARGETS = {
    "aligners": {
        "pocketsphinx": "alignment.sphinx:SphinxAligner",
        "ctc": "alignment.ctc:CTCAligner",
        "files": "alignment.readers:FileAligner",
        "even": "alignment.even:EvenAligner",
        "trained": "segmenters.trained_aligner:TrainedAligner",
    },
    "segmenters": {
        "forced": "segmenters.forced:ForcedSegmenter",
        "asr": "segmenters.asr:ASRSegmenter",
        "char_ctc": "segmenters.char_ctc:CharCTCSegmenter",
        "unity2": "segmenters.unity2:Unity2Segmenter",
        "subword_ctc": "segmenters.subword_ctc:SubwordCTCSegmenter",
        "boundary": "segmenters.boundary:BoundarySegmenter",
        "cif": "segmenters.cif:CIFSegmenter",
        "fixed": "segmenters.fixed:FixedSegmenter",
    },
    "connectors": {
        "ssr": "connectors.ssr:ssr_connector",
        "mean": "connectors.mean:MeanConnector",
        "stack_mlp": "connectors.stack_mlp:StackMLPConnector",
        "conv": "connectors.conv:ConvConnector",
        "qformer": "connectors.qformer:QFormerConnector",
        "cif": "connectors.cif:CIFConnector",
    },
    "benchmarks": {
        "continuation": "evaluation.benchmarks.continuation:Continuation",
        "copa": "evaluation.benchmarks.copa:COPA",
        "mmlu": "evaluation.benchmarks.mmlu:MMLU",
        "sstorycloze": "evaluation.benchmarks.storycloze:StoryCloze",
        "tstorycloze": "evaluation.benchmarks.storycloze:TopicStoryCloze",
        "swuggy": "evaluation.benchmarks.zerospeech:SWUGGY",
        "sblimp": "evaluation.benchmarks.zerospeech:SBLIMP",
        "expresso": "evaluation.benchmarks.expresso:Expresso",
        "voicebench_openbookqa": (
            "evaluation.benchmarks.voicebench:VoiceBenchOpenBookQA"
        ),
        "voicebench_mmsu": "evaluation.benchmarks.voicebench:VoiceBenchMMSU",
        "librisqa": "evaluation.benchmarks.librisqa:LibriSQA",
        "asr": "evaluation.benchmarks.asr:ASR",
        "open_asr": "evaluation.benchmarks.open_asr:OpenASR",
        "segments": "evaluation.benchmarks.segment_quality:SegmentQuality",
        "second_half": "evaluation.benchmarks.second_half:SecondHalf",
        "aligner": "evaluation.benchmarks.aligner_quality:AlignerQuality",
        "perplexity": "evaluation.benchmarks.text_perplexity:TextPerplexity",
    },
    "conditions": {
        "none": "evaluation.harness.conditions:Nothing",
        "written": "evaluation.harness.conditions:Written",
        "text": "evaluation.harness.conditions:Text",
        "cascade": "evaluation.harness.conditions:Cascade",
        "predicted": "evaluation.harness.conditions:Predicted",
        "forced": "evaluation.harness.conditions:Forced",
        "predicted_lm_fusion": "evaluation.harness.conditions:PredictedLMFusion",
        "forced_lm_fusion": "evaluation.harness.conditions:ForcedLMFusion",
        "base": "evaluation.harness.conditions:Base",
        "base_none": "evaluation.harness.conditions:BaseNothing",
    },
    "datasets": {
        "librispeech": "data.librispeech:LibriSpeech",
        "ljspeech": "data.ljspeech:LJSpeech",
        "mls": "data.mls:MultilingualLibriSpeech",
        "common_voice": "data.common_voice:CommonVoice",
        "gigaspeech": "data.gigaspeech:GigaSpeech",
        "voxpopuli": "data.voxpopuli:VoxPopuli",
        "kaldi": "data.kaldi:KaldiFolder",
        "lhotse": "data.lhotse_cuts:LhotseManifests",
        "huggingface": "data.hugging_face:HuggingFaceDataSet",
        "csv": "data.datasets:CSVDataSet",
    },
    "synthesizers": {
        "espeak": "tts.synthesizers:EspeakSynthesizer",
        "flite": "tts.synthesizers:FliteSynthesizer",
        "command": "tts.synthesizers:CommandSynthesizer",
    },
}


def setup(registry: Registry) -> None:
    """Adds this package's components to a :class:`ssr_plugin.registry.Registry`."""
    tables: dict[str, Table[Any]] = {
        "aligners": registry.aligners,
        "segmenters": registry.segmenters,
        "connectors": registry.connectors,
        "benchmarks": registry.benchmarks,
        "conditions": registry.conditions,
        "datasets": registry.datasets,
        "synthesizers": registry.synthesizers,
    }
    for kind, targets in _TARGETS.items():
        for name, target in targets.items():
            tables[kind].add(name, f"ssr_plugin.{target}")
