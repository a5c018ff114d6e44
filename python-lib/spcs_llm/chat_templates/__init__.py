"""Conversations as the one text that a model continues."""
