"""The part of DSS's `dataiku` package that a custom LLM plugin imports, and nothing else.

What an older DSS lacks is taken away when the host puts the package in place: see `sandbox.dss.package`.
"""
