"""Siblings of the custom LLM bases are left out."""
