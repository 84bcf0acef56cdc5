"""Connectors: segments of frames to vectors in the LLM's embedding space."""

from ssr_plugin.connectors.base import Connector, ConnectorOutput, VocabularyConnector
from ssr_plugin.connectors.check import check_connector
from ssr_plugin.connectors.cif import CIFConnector
from ssr_plugin.connectors.conv import ConvConnector
from ssr_plugin.connectors.mean import MeanConnector
from ssr_plugin.connectors.qformer import QFormerConnector
from ssr_plugin.connectors.ssr import DirectSSRConnector, SSRConnector, ssr_connector
from ssr_plugin.connectors.stack_mlp import StackMLPConnector

__all__ = [
    "CIFConnector",
    "Connector",
    "ConnectorOutput",
    "ConvConnector",
    "DirectSSRConnector",
    "MeanConnector",
    "QFormerConnector",
    "SSRConnector",
    "StackMLPConnector",
    "VocabularyConnector",
    "check_connector",
    "ssr_connector",
]
