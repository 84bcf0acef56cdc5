"""SSR-Connector for SpeechBrain: lets a text LLM read speech."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ssr_plugin.inference.speech_lm import SpeechLM

__version__ = "0.1.0"
__all__ = ["SpeechLM"]


def __getattr__(name: str) -> Any:
    # Late, so that importing a part does not load transformers.
    if name == "SpeechLM":
        from ssr_plugin.inference.speech_lm import SpeechLM

        return SpeechLM
    raise AttributeError(f"module '{__name__}' has no attribute '{name}'")
