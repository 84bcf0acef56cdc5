"""Encoder and LLM of their configurations alone: sizes without weights.

Their weights are on the meta device. All that is read of a source is its
``config.json``, and its feature extractor or tokenizer if they are there.
"""

import warnings
from types import SimpleNamespace

import torch
from torch import nn
from transformers import AutoModel, AutoModelForCausalLM

from ssr_plugin import hub
from ssr_plugin.encoders.backbone import HiddenLayer
from ssr_plugin.encoders.frontends import FrontEnd
from ssr_plugin.llm.text_llm import TextLLM, load_tokenizer
from ssr_plugin.nnet.dtypes import parse_dtype
from ssr_plugin.training.config_quantized import quantize_sizes

# Of an encoder whose feature extractor is not there, Hz: of audio, and of spectra.
_SAMPLE_RATE, _SPECTRUM_RATE = 16000, 100


def stay(module):
    """Makes a module stay where it is: torch cannot move fake weights.

    Arguments
    ---------
    module : torch.nn.Module

    Returns
    -------
    torch.nn.Module
        The same.
    """
    module._apply = lambda function, recurse=True: module
    return module


class ConfigEncoder(nn.Module):
    """The sizes of a :class:`ssr_plugin.encoders.encoder.SpeechEncoder`.

    Arguments
    ---------
    source : str
        Hub id or folder with a ``config.json``.
    layer : int
        As of the encoder.

    Attributes
    ----------
    width, frame_rate
        As of the encoder. Where there is no feature extractor, its audio is taken for
        16 kHz, and spectra for 100 a second.

    Raises
    ------
    ValueError
        If there is no such configuration, or it is of no speech encoder.

    Example
    -------
    >>> encoder = ConfigEncoder(getfixture("tiny_encoder_folder"))
    >>> encoder.width, encoder.frame_rate
    (32, 50.0)
    """

    def __init__(self, source, layer=-1):
        super().__init__()
        self.source = str(source)
        config = hub.load_config(self.source)
        try:
            with torch.device("meta"):
                network = AutoModel.from_config(config, trust_remote_code=False)
        except ValueError as error:
            raise ValueError(
                f"'{source}' ({config.model_type}) is no encoder that AutoModel knows"
            ) from error
        if config.is_encoder_decoder:
            network = network.get_encoder()
        self.backbone = HiddenLayer(network, layer)
        self.width = self.backbone.width
        #: Samples or spectra that the network reads of a second of audio.
        self.steps_per_second = self._steps_per_second()
        few, many = (
            self.backbone.output_length(round(seconds * self.steps_per_second))
            for seconds in (10, 30)
        )
        self.frame_rate = round((many - few) / 20, 1)
        self.requires_grad_(False)
        self.eval()
        stay(self)

    @property
    def _takes_waveform(self):
        return self.backbone.network.main_input_name == "input_values"

    def _steps_per_second(self):
        try:
            frontend = FrontEnd(self.source)
        except ValueError:
            warnings.warn(
                f"'{self.source}' has no feature extractor: its audio is taken for "
                f"{_SAMPLE_RATE} Hz",
                stacklevel=2,
            )
            return _SAMPLE_RATE if self._takes_waveform else _SPECTRUM_RATE
        if frontend.takes_waveform:
            return frontend.sample_rate
        seconds = (frontend.window or 30 * frontend.sample_rate) / frontend.sample_rate
        wav = torch.linspace(-1, 1, round(seconds * frontend.sample_rate))
        return round(frontend.steps(frontend.extract(wav)[0]) / seconds)

    def pass_memory(self, window):
        """What a pass keeps alive, by a second of audio, bytes.

        Arguments
        ---------
        window : float
            Audio that attends to itself, s.

        Returns
        -------
        float
            See :meth:`ssr_plugin.encoders.backbone.HiddenLayer.memory`.
        """
        return self.backbone.memory(self.steps_per_second, window)

    @torch.no_grad()
    def run(self, seconds):
        """Runs the network on so much audio of one recording.

        Arguments
        ---------
        seconds : float

        Returns
        -------
        torch.Tensor
            [1, T, D]
        """
        network = self.backbone.network
        shape = [1, round(self.steps_per_second * seconds)]
        if not self._takes_waveform:
            config = network.config
            bins = getattr(config, "num_mel_bins", None)
            if bins is None:
                # Spectra side by side, time first: w2v-BERT.
                shape.append(config.feature_projection_input_dim)
            else:
                shape.insert(1, bins)
        inputs = {network.main_input_name: torch.empty(shape)}
        return network(**inputs).last_hidden_state


class ConfigLLM(TextLLM):
    """An LLM of which nothing but sizes is known.

    Arguments
    ---------
    source : str
        Hub id or folder with a ``config.json``. Where there is no tokenizer, one with
        words of usual length stands in.
    dtype : str
        Of its weights.
    quantization : str or None
        "4bit": of its linear layers.

    Raises
    ------
    ValueError
        If there is no such configuration, or it is of no causal LM.

    Example
    -------
    >>> llm = ConfigLLM(getfixture("tiny_llm_folder"))
    >>> llm.vocab_size, llm.hidden_size, llm.start_id
    (32, 16, 1)
    """

    def __init__(self, source, dtype="float32", quantization=None):
        nn.Module.__init__(self)
        self.source = str(source)
        self.dtype = parse_dtype(dtype)
        config = hub.load_config(self.source)
        self.config = config.get_text_config()
        try:
            with torch.device("meta"):
                model = AutoModelForCausalLM.from_config(
                    config, dtype=self.dtype, trust_remote_code=False
                )
        except ValueError as error:
            raise ValueError(
                f"'{source}' ({config.model_type}) is no causal language model"
            ) from error
        if quantization is not None:
            quantize_sizes(model, self.dtype)
        #: The whole of it. In a list: no module of this one before it is asked for.
        self.whole = [model.requires_grad_(False).eval()]
        self.model = None
        self.embedding = model.get_input_embeddings()
        self.vocab_size, self.hidden_size = self.embedding.weight.shape
        self.adapter_key = object()
        try:
            self.tokenizer = load_tokenizer(self.source)
        except ValueError:
            self.tokenizer = UsualTokenizer(self.vocab_size)
        self.bos_id = self.tokenizer.bos_token_id
        stay(self)

    def load_model(self):
        """See :meth:`TextLLM.load_model`."""
        if self.model is None:
            (self.model,) = self.whole
        return self.model


class UsualTokenizer:
    """Stands for a tokenizer that is not there: words of usual length.

    Arguments
    ---------
    size : int
        How many there are.

    Example
    -------
    >>> tokenizer = UsualTokenizer(100)
    >>> len(tokenizer), tokenizer.convert_ids_to_tokens([7])
    (100, ['word7'])
    >>> len(tokenizer("to be").input_ids)
    5
    """

    bos_token_id, eos_token_id = 0, 1

    def __init__(self, size):
        self._size = size

    def __len__(self):
        return self._size

    def convert_ids_to_tokens(self, ids):
        """Words for ids."""
        return [f"word{index}" for index in ids]

    def __call__(self, text, **options):
        """A token for each letter: of the few that a template has."""
        offsets = [(i, i + 1) for i in range(len(text))]
        return SimpleNamespace(input_ids=[0] * len(text), offset_mapping=offsets)
