"""Keys made of tokens' spelling."""

import torch

from ssr_plugin.llm.text_llm import TextLLM
from ssr_plugin.nnet.spelling import VocabularyHead


@torch.no_grad()
def test_cached_keys_of_a_vocabulary_head_have_the_precision_asked_for(tiny_llm_folder):
    head = VocabularyHead(TextLLM(tiny_llm_folder), width=16).eval()
    states = torch.rand(5, 16)
    exact = head(states)
    head.eval()  # forgets
    with torch.autocast("cpu", torch.bfloat16):
        rough = head(states)
    assert not torch.equal(rough, exact)
    assert torch.equal(head(states), exact)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(head(states), rough)
