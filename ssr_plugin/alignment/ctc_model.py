"""A Hugging Face CTC model as aligners and recognisers use it: audio to emissions."""

import torch
from transformers import AutoFeatureExtractor, AutoModelForCTC, AutoTokenizer

from ssr_plugin.hub import check_weights
from ssr_plugin.sources import address

# Longer audio goes through the model in windows with context on both sides, s.
WINDOW = 40.0
CONTEXT = 5.0


class CTCModel:
    """The log-probabilities that a CTC model gives; an utterance's in any batch alike.

    Arguments
    ---------
    source : str
        Hub id or folder of a model with a CTC head (wav2vec2, HuBERT, WavLM ...).
    batch_seconds : float
        Most audio in one forward pass, padding included, in s. It changes no result.
    device : str or torch.device

    Attributes
    ----------
    sample_rate : int
        Of the audio it takes, Hz.
    tokenizer : transformers.PreTrainedTokenizer
    blank : int
        CTC's.
    delimiter : int or None
        The label between two words.
    hop : int or None
        Samples from one frame to the next, where the model says so.
    """

    def __init__(self, source, batch_seconds=120.0, device="cpu"):
        self.source = str(source)
        self.batch_seconds = batch_seconds
        self.device = device
        check_weights(self.source)
        self._extractor = AutoFeatureExtractor.from_pretrained(
            **address(self.source), trust_remote_code=False
        )
        self.tokenizer = AutoTokenizer.from_pretrained(
            **address(self.source), trust_remote_code=False
        )
        model = AutoModelForCTC.from_pretrained(
            **address(self.source), trust_remote_code=False, dtype=torch.float32
        )
        self.blank = self.tokenizer.pad_token_id
        if self.blank is None:
            self.blank = model.config.pad_token_id
        self.delimiter = self.tokenizer.get_vocab().get(
            getattr(self.tokenizer, "word_delimiter_token", None)
        )
        self.sample_rate = self._extractor.sampling_rate
        self._takes_samples = self._extractor.model_input_names[0] == "input_values"
        self.hop = None
        if self._takes_samples:
            self.hop = getattr(model.config, "inputs_to_logits_ratio", None)
        # Other models take statistics over time, or do not mask padding.
        norm = getattr(model.config, "feat_extract_norm", None)
        self._may_pad = self._takes_samples and norm == "layer"
        self.model = model.eval().to(device)

    def inputs(self, samples):
        """What the model reads of one utterance alone.

        Arguments
        ---------
        samples : np.ndarray
            [S] float32, at ``sample_rate``.

        Returns
        -------
        torch.Tensor
        """
        inputs = self._extractor(
            samples, sampling_rate=self.sample_rate, return_tensors="pt"
        )
        return inputs[self._extractor.model_input_names[0]][0]

    def batches(self, inputs):
        """Utterances to run together: little padding, within the limit.

        Arguments
        ---------
        inputs : dict of torch.Tensor
            By index of the utterance.

        Returns
        -------
        list of list
            Indices.
        """
        batches, max_samples = [], self.batch_seconds * self.sample_rate
        for i in sorted(inputs, key=lambda i: len(inputs[i])):
            length = len(inputs[i])
            batch = batches[-1] if batches else []
            fits = bool(batch) and (len(batch) + 1) * length <= max_samples
            fits = fits and not self._needs_windows(length)
            equal = bool(batch) and len(inputs[batch[0]]) == length
            if fits and (equal or self._may_pad) and self._takes_samples:
                batch.append(i)
            else:
                batches.append([i])
        return batches

    def _needs_windows(self, length):
        return (
            self._takes_samples
            and self.hop is not None
            and length > WINDOW * self.sample_rate
        )

    def emissions(self, inputs):
        """Log-probabilities of each utterance.

        Arguments
        ---------
        inputs : list of torch.Tensor
            Of one of :meth:`batches`.

        Returns
        -------
        list of torch.Tensor
            [T, C] float32 each, on the CPU.
        """
        if len(inputs) == 1 and self._needs_windows(len(inputs[0])):
            return [self._windowed(inputs[0])]
        lengths = [len(x) for x in inputs]
        padded = torch.nn.utils.rnn.pad_sequence(inputs, batch_first=True)
        mask = None
        if self._may_pad:
            mask = torch.arange(max(lengths)) < torch.tensor(lengths)[:, None]
            mask = mask.long()
        logits = self._forward(padded, mask)
        frames = [logits.shape[1]] * len(inputs)
        if self._may_pad:
            # No public name for it, but transformers' CTC loss counts by it too.
            count = self.model._get_feat_extract_output_lengths
            frames = [int(count(torch.tensor(n))) for n in lengths]
        return [logits[b, :n] for b, n in enumerate(frames)]

    @torch.inference_mode()
    def _forward(self, padded, mask):
        arguments = {self._extractor.model_input_names[0]: padded.to(self.device)}
        if mask is not None:
            arguments["attention_mask"] = mask.to(self.device)
        logits = self.model(**arguments).logits
        return logits.float().log_softmax(-1).cpu()

    def _windowed(self, samples):
        context = round(CONTEXT * self.sample_rate / self.hop)
        step = round(WINDOW * self.sample_rate / self.hop) - 2 * context
        emissions, first = [], 0
        while True:
            begin = max(first - context, 0)
            end = (first + step + context) * self.hop
            # No short rest may be left: the model cannot take one.
            last = end + context * self.hop >= len(samples)
            window = samples[begin * self.hop : None if last else end]
            emission = self._forward(window[None], None)[0]
            emissions.append(
                emission[first - begin : None if last else first - begin + step]
            )
            if last:
                return torch.cat(emissions)
            first += step
