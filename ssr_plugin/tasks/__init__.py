"""What is understood of speech: benchmarks in which an LLM chooses what follows."""
