"""Samplers: prompts in, groups of completions with their log-probabilities out."""
