"""The parts this package brings, registered the way an extension registers its own."""

ALIGNERS = {
    "pocketsphinx": "sphinx:SphinxAligner",
    "ctc": "ctc:CTCAligner",
    "files": "readers:FileAligner",
    "even": "even:EvenAligner",
    "trained": "segmenters.aligner:TrainedAligner",
}
SEGMENTERS = {
    "forced": "forced:ForcedSegmenter",
    "char_ctc": "char_ctc:CharCTCSegmenter",
    "unity2": "unity2:Unity2Segmenter",
    "subword_ctc": "subword_ctc:SubwordCTCSegmenter",
    "boundary": "boundary:BoundarySegmenter",
    "cif": "cif:CIFSegmenter",
    "fixed": "fixed:FixedSegmenter",
}
CONNECTORS = {
    "ssr": "ssr:SSRConnector",
    "mean": "mean:MeanConnector",
    "stack_mlp": "stack_mlp:StackMLPConnector",
    "conv": "convolution:ConvConnector",
    "qformer": "qformer:QFormerConnector",
    "cif": "cif:CIFConnector",
}
TASKS = {
    "continuation": "continuation:Continuation",
    "copa": "copa:COPA",
    "mmlu": "mmlu:MMLU",
    "sstorycloze": "storycloze:StoryCloze",
    "tstorycloze": "storycloze:TopicStoryCloze",
    "swuggy": "zerospeech:SWUGGY",
    "sblimp": "zerospeech:SBLIMP",
    "expresso": "expresso:Expresso",
    "asr": "asr:ASR",
    "segments": "segments:SegmentQuality",
    "aligner": "aligner_quality:AlignerQuality",
    "perplexity": "perplexity:TextPerplexity",
}
SYNTHESIZERS = {
    "espeak": "synthesizers:EspeakSynthesizer",
    "flite": "synthesizers:FliteSynthesizer",
    "command": "synthesizers:CommandSynthesizer",
}


def setup(registry):
    """Adds this package's parts to a :class:`ssr_plugin.registry.Registry`."""
    for table, package, parts in (
        (registry.aligners, "alignment", ALIGNERS),
        (registry.segmenters, "segmenters", SEGMENTERS),
        (registry.connectors, "connectors", CONNECTORS),
        (registry.tasks, "tasks", TASKS),
        (registry.synthesizers, "tasks", SYNTHESIZERS),
    ):
        for name, place in parts.items():
            # A place with a dot names a package of its own.
            place = place if "." in place else f"{package}.{place}"
            table.add(name, f"ssr_plugin.{place}")
    registry.datasets.add("csv", "ssr_plugin.data.datasets:CSVDataSet")
