"""The chat template that a model's settings choose."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

from spcs_llm.chat_templates.template_error import TemplateError
from spcs_llm.errors import SettingsError

if TYPE_CHECKING:
    from spcs_llm.domain import Message
    from spcs_llm.settings import ProtocolSettings

_JINJA = ("jinja2", "markupsafe")


class Template(Protocol):
    """What a row protocol needs of a chat template."""

    @property
    def name(self) -> str: ...

    @property
    def stop_strings(self) -> tuple[str, ...]: ...

    def render(self, messages: Sequence[Message], *, bos: bool = True) -> str:
        """Writes a conversation as one text.

        Args:
            messages: The conversation.
            bos: Whether the text begins with the format's begin-of-text token.

        Raises:
            TemplateError: If the template does not take the conversation.
        """


class _NoTemplate:
    """Instead of a template where Jinja2 is missing: embeddings, and chats of messages, need none."""

    name = "that needs jinja2"
    stop_strings: tuple[str, ...] = ()

    def render(self, messages: Sequence[Message], *, bos: bool = True) -> str:
        raise SettingsError(
            "Chats over this 'Service protocol' need the Python package jinja2, which is not installed here.",
            "Build the plugin's code environment in DSS and select it, or: pip install jinja2.",
        )


def template_for(settings: ProtocolSettings) -> Template:
    """Makes the chat template that a model's settings choose.

    Args:
        settings: The model's settings.

    Returns:
        The template. Where Jinja2 is not installed it is one that refuses every conversation.

    Raises:
        SettingsError: If it does not parse, or fails on a conversation of one message.
    """
    try:
        from spcs_llm.chat_templates.template import ChatTemplate
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] in _JINJA:
            return _NoTemplate()
        raise
    try:
        return ChatTemplate.for_mode(settings.handling_mode, settings.chat_template)
    except TemplateError as error:
        raise SettingsError(f"'Chat template' cannot be used: {error}") from None
