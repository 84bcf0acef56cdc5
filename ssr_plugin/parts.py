"""The parts this package brings, registered the way an extension registers its own."""


def setup(registry):
    """Adds this package's parts to a :class:`ssr_plugin.registry.Registry`."""
    registry.aligners.add("pocketsphinx", "ssr_plugin.alignment.sphinx:SphinxAligner")
    registry.aligners.add("ctc", "ssr_plugin.alignment.ctc:CTCAligner")
    registry.aligners.add("files", "ssr_plugin.alignment.readers:FileAligner")
    registry.segmenters.add("forced", "ssr_plugin.segmenters.forced:ForcedSegmenter")
    registry.segmenters.add("fixed", "ssr_plugin.segmenters.fixed:FixedSegmenter")
    registry.connectors.add("ssr", "ssr_plugin.connectors.ssr:SSRConnector")
    registry.connectors.add("mean", "ssr_plugin.connectors.mean:MeanConnector")
    registry.connectors.add(
        "stack_mlp", "ssr_plugin.connectors.stack_mlp:StackMLPConnector"
    )
    registry.connectors.add("conv", "ssr_plugin.connectors.convolution:ConvConnector")
    registry.connectors.add("qformer", "ssr_plugin.connectors.qformer:QFormerConnector")
    registry.connectors.add("cif", "ssr_plugin.connectors.cif:CIFConnector")
    registry.datasets.add("csv", "ssr_plugin.data.datasets:CSVDataSet")
