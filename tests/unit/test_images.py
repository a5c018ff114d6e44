"""Images of queries: passed on as what they are, and refused only where they certainly are none."""

from __future__ import annotations

import base64

import pytest

from spcs_llm.domain import ChatRequest, ImagePart, Message, TextPart
from spcs_llm.errors import BadRequest, QueryError
from spcs_llm.protocols.openai.images import data_uri
from spcs_llm.protocols.openai.protocol import OpenAIProtocol
from spcs_llm.query_context import QueryContext
from tests.unit.scripted_endpoint import ScriptedEndpoint, completion, refusal

PNG = b"\x89PNG\r\n\x1a\n\xfb\xff\xfe"


def encoded(data: bytes) -> str:
    return base64.b64encode(data).decode()


@pytest.mark.parametrize(
    ("head", "mime_type"),
    [
        (PNG, "image/png"),
        (b"\xff\xd8\xff\xe0", "image/jpeg"),
        (b"GIF89a\x01", "image/gif"),
        (b"RIFF\0\0\0\0WEBPVP8 ", "image/webp"),
        (b"BM\x46\0\0\0\0\0\0\0", "image/bmp"),
        (b"II*\0\x08\0", "image/tiff"),
        (b"MM\0*\0\0", "image/tiff"),
        (b"\0\0\0\x20ftypavif", "image/avif"),
        (b"\0\0\0\x20ftypheic", "image/heic"),
        (b"\0\0\0\x18ftyphevc\0\0\0\0mif1heic", "image/heic"),
        (b"\0\0\0\x18ftypmif1\0\0\0\0mif1avif", "image/avif"),
        (b"\0\0\0\x18ftypmiaf\0\0\0\0avifmif1", "image/avif"),
        (b"\0\0\0\x18ftypmif1\0\0\0\0heicmif1", "image/heic"),
        (b"\0\0\0\x18ftypmif1\0\0\0\0mif1miafavif", "image/heif"),
        (b"\0\0\0\0ftypmsf1", "image/heif"),
    ],
)
def test_the_type_is_that_of_the_bytes(head: bytes, mime_type: str) -> None:
    for declared in (None, "image/png", "nonsense"):
        assert data_uri(encoded(head), declared) == f"data:{mime_type};base64,{encoded(head)}"


def test_bytes_of_an_unknown_format_pass_as_declared() -> None:
    data = encoded(b"8BPS\0\1\0\0")
    assert data_uri(data, "image/vnd.adobe.photoshop").startswith("data:image/vnd.adobe.photoshop;")
    assert data_uri(f"data:image/x-psd;base64,{data}").startswith("data:image/x-psd;")


@pytest.mark.parametrize(
    "written",
    [
        encoded(PNG),
        encoded(PNG).rstrip("="),
        base64.urlsafe_b64encode(PNG).decode().rstrip("="),
        "\n".join(encoded(PNG)),
        f"data:image/jpeg;base64,{encoded(PNG)}",
    ],
)
def test_base64_of_either_alphabet_is_read_padded_or_not(written: str) -> None:
    assert data_uri(written) == f"data:image/png;base64,{encoded(PNG)}"


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"<html>Not found</html>",
        b"BMW",
        b"%PDF-1.7\0",
        b"PK\x03\x04\0",
        b"RIFF\0\0\0\0WAVE",
        b"plain text",
    ],
)
def test_what_is_certainly_no_image_is_refused_whatever_is_declared(data: bytes) -> None:
    for declared in (None, "image/png", "image/tiff"):
        with pytest.raises(QueryError, match="not an image"):
            data_uri(encoded(data), declared)


@pytest.mark.parametrize("written", ["!!!!", "aGk=aGk=a", "é" * 8])
def test_what_is_no_base64_is_refused(written: str) -> None:
    with pytest.raises(QueryError, match="base64"):
        data_uri(written)


@pytest.mark.parametrize("declared", ["text/html", "image/", "image/a\r\nb", "image/" + "a" * 100])
def test_a_declared_type_that_is_none_is_not_passed_on(declared: str) -> None:
    with pytest.raises(QueryError):
        data_uri(encoded(b"8BPS\0\1"), declared)


LARGE = encoded(PNG + bytes(30_000))
SEEN = ChatRequest((Message("user", (TextPart("What is this?"), ImagePart(data=LARGE))),))


@pytest.mark.parametrize(
    ("tokens", "ignored"), [(28_000, ("images",)), (16_000, ()), (9_000, ())], ids=["text", "image", "few"]
)
def test_an_image_that_a_server_reads_as_text_is_named(tokens: int, ignored: tuple[str, ...]) -> None:
    """As TGI does for models that read none: text-generation-inference#2565."""
    usage = {"prompt_tokens": tokens, "completion_tokens": 1, "total_tokens": tokens + 1}
    answer = {**completion(content="a plant"), "usage": usage}
    found = OpenAIProtocol(ScriptedEndpoint(answer)).chat(SEEN, QueryContext(10))
    assert found.ignored_settings == ignored


def test_a_long_text_is_not_taken_for_an_image_that_was_read_as_text() -> None:
    message = Message("user", (TextPart("word " * 40_000), ImagePart(data=LARGE)))
    usage = {"prompt_tokens": 40_500, "completion_tokens": 1, "total_tokens": 40_501}
    answer = {**completion(content="a plant"), "usage": usage}
    found = OpenAIProtocol(ScriptedEndpoint(answer)).chat(ChatRequest((message,)), QueryContext(10))
    assert found.ignored_settings == ()


@pytest.mark.parametrize(("tokens", "hint"), [(28_000, "model that reads images"), (9_000, "shorter prompt")])
def test_that_an_image_read_as_text_is_too_long_is_not_put_down_to_the_prompt(tokens: int, hint: str) -> None:
    told = refusal(f"`inputs` tokens + `max_new_tokens` must be <= 4096. Given: {tokens} `inputs` tokens")
    told.hint = "Send a shorter prompt."
    with pytest.raises(BadRequest, match=hint):
        OpenAIProtocol(ScriptedEndpoint(told)).chat(SEEN, QueryContext(10))
