"""What is understood of speech: benchmarks that an LLM answers, and their report."""
