"""Which protocol speaks to which service. A protocol is imported when a model uses it: a process has one or two."""

from __future__ import annotations

from typing import TYPE_CHECKING, Callable, Union

from spcs_llm.errors import SettingsError
from spcs_llm.http.endpoint import Endpoint
from spcs_llm.settings import LABELS, MODEL_SERVING, OPENAI, PREDICT, Settings

if TYPE_CHECKING:
    from spcs_llm.chat_templates.template import ChatTemplate
    from spcs_llm.protocols.inference_server.model_serving import ModelServingProtocol
    from spcs_llm.protocols.inference_server.predict import PredictProtocol
    from spcs_llm.protocols.openai.protocol import OpenAIProtocol

    ServiceProtocol = Union[PredictProtocol, ModelServingProtocol, OpenAIProtocol]


def protocol_for(settings: Settings, endpoint: Endpoint) -> ServiceProtocol:
    """Raises SettingsError when the chat template is none."""
    return _PROTOCOLS[settings.protocol](settings, endpoint)


def _predict(settings: Settings, endpoint: Endpoint) -> ServiceProtocol:
    from spcs_llm.protocols.inference_server.predict import PredictProtocol

    return PredictProtocol(endpoint, template=_template(settings), input_column=settings.input_column)


def _model_serving(settings: Settings, endpoint: Endpoint) -> ServiceProtocol:
    from spcs_llm.protocols.inference_server.model_serving import ModelServingProtocol

    return ModelServingProtocol(
        endpoint,
        template=_template(settings),
        method=settings.method_name,
        input_column=settings.input_column,
    )


def _openai(settings: Settings, endpoint: Endpoint) -> ServiceProtocol:
    from spcs_llm.protocols.openai.protocol import OpenAIProtocol

    return OpenAIProtocol(
        endpoint, model=settings.model_name, drop_refused_settings=settings.drop_refused_settings
    )


def _template(settings: Settings) -> ChatTemplate:
    from spcs_llm.chat_templates.template import ChatTemplate, TemplateError

    try:
        return ChatTemplate.for_mode(settings.handling_mode, settings.chat_template)
    except TemplateError as error:
        raise SettingsError(f"'{LABELS['chatTemplate']}' cannot be used: {error}") from None


_PROTOCOLS: dict[str, Callable[[Settings, Endpoint], ServiceProtocol]] = {
    PREDICT: _predict,
    MODEL_SERVING: _model_serving,
    OPENAI: _openai,
}
