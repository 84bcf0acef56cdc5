"""SSR-Connector for SpeechBrain: lets a text LLM read speech."""

from typing import TYPE_CHECKING, Any

from ssr_plugin.version import __version__

if TYPE_CHECKING:
    from ssr_plugin.inference.speech_lm import SpeechLM
else:

    def __getattr__(name: str) -> Any:
        # Late, so that importing one module does not load transformers.
        if name == "SpeechLM":
            from ssr_plugin.inference.speech_lm import SpeechLM

            return SpeechLM
        raise AttributeError(f"module '{__name__}' has no attribute '{name}'")


__all__ = ["SpeechLM", "__version__"]
