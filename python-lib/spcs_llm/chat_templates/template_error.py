"""What is wrong with a chat template, without what renders it: that needs Jinja2."""

from __future__ import annotations


class TemplateError(ValueError):
    """A template that does not compile, fails, or refuses a conversation: a sentence's end, as in "it is empty"."""
