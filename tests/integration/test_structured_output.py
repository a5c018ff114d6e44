"""Structured output as LangChain asks for it: a tool that has to be called, with the schema of a class."""

from __future__ import annotations

import enum

import pydantic

from sandbox.instance import Instance


class Unit(enum.Enum):
    CELSIUS = "C"
    FAHRENHEIT = "F"


class Place(pydantic.BaseModel):
    city: str
    country: str = "Norway"


class Forecast(pydantic.BaseModel):
    """A weather forecast."""

    place: Place
    unit: Unit
    days: int = pydantic.Field(ge=1, le=7)
    temperatures: list[float]


def test_langchain_gets_an_object_of_the_class_that_it_asks_for(instance: Instance) -> None:
    service = instance.snowflake.create_service("chat", "scripted", "OPENAI")
    llm = instance.add_model("chat", "CHAT", service, serviceProtocol="OPENAI")
    structured = llm.as_langchain_chat_model().with_structured_output(Forecast)
    forecast = structured.invoke("What will the weather be?")
    assert isinstance(forecast, Forecast)
    assert forecast.unit is Unit.CELSIUS
    assert 1 <= forecast.days <= 7
