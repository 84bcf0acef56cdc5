"""Recognisers: audio to what is said in it, when, and how sure that is."""
