"""The parts this package brings, registered the way an extension registers its own."""


def setup(registry):
    """Adds this package's parts to a :class:`ssr_plugin.registry.Registry`."""
    registry.aligners.add("pocketsphinx", "ssr_plugin.alignment.sphinx:SphinxAligner")
    registry.aligners.add("ctc", "ssr_plugin.alignment.ctc:CTCAligner")
    registry.aligners.add("files", "ssr_plugin.alignment.readers:FileAligner")
    registry.segmenters.add("forced", "ssr_plugin.segmenters.forced:ForcedSegmenter")
    registry.connectors.add("ssr", "ssr_plugin.connectors.ssr:SSRConnector")
    registry.datasets.add("csv", "ssr_plugin.data.datasets:CSVDataSet")
