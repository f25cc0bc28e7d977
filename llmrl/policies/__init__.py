"""Policies: inputs in, log-probabilities of the actions taken out. The causal shift of text happens here."""
