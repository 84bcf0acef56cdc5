"""Speech read by an LLM: what users import, and how it is kept on disk."""
