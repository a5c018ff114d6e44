"""The chat template that a model's settings choose."""

from __future__ import annotations

from typing import TYPE_CHECKING

from spcs_llm.chat_templates.template import ChatTemplate, TemplateError
from spcs_llm.errors import SettingsError

if TYPE_CHECKING:
    from spcs_llm.settings import ProtocolSettings


def template_for(settings: ProtocolSettings) -> ChatTemplate:
    """The template for these settings.

    Raises:
        SettingsError: It does not parse, or fails on a conversation of one message.
    """
    try:
        return ChatTemplate.for_mode(settings.handling_mode, settings.chat_template)
    except TemplateError as error:
        raise SettingsError(f"'Chat template' cannot be used: {error}") from None
