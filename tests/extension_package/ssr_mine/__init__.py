"""Another package's connector, segmenter, data set and benchmark, all named mine."""


def setup(registry):
    registry.connectors.add("mine", "ssr_mine.connector:EmbeddingConnector")
    registry.segmenters.add("mine", "ssr_mine.segmenter:ChangeSegmenter")
    registry.datasets.add("mine", "ssr_mine.data_set:TableDataSet")
    registry.benchmarks.add("mine", "ssr_mine.benchmark:LastWord")
