"""Finds out why a model's endpoint does not answer: one step after the other, each with what it saw and what to do."""
