"""A vocabulary connector: means of frames, compared with the embeddings themselves."""

import torch
from torch import nn

from ssr_plugin.connectors import VocabularyConnector
from ssr_plugin.nnet.segment_lists import list_frames, place_vectors


class EmbeddingConnector(VocabularyConnector):
    def __init__(self, input_size, llm, dropout=0.0):
        super().__init__(llm)
        self.dropout = nn.Dropout(dropout)
        self.project = nn.Linear(input_size, llm.hidden_size)
        self.null = nn.Linear(llm.hidden_size, 1)

    def encode(self, features, boundaries, starts=None):
        frames, segment = list_frames(features, boundaries, starts)
        count = int((boundaries >= 0).sum())
        total = frames.new_zeros(count, frames.shape[1]).index_add(0, segment, frames)
        length = torch.bincount(segment, minlength=count).unsqueeze(1)
        return place_vectors(self.project(self.dropout(total / length)), boundaries)

    def token_logits(self, states, candidates=None):
        table = self.table() if candidates is None else self.table()[candidates]
        return states.float() @ table.float().T

    def null_logits(self, states):
        return self.null(states).float().squeeze(-1)
