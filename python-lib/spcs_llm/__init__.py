"""LLM Mesh on one side, model services of Snowpark Container Services on the other."""

__version__ = "2.0.0"
