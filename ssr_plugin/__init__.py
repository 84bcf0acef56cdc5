"""SSR-Connector for SpeechBrain: lets a text LLM read speech."""

__version__ = "0.1.0"
