"""Images of queries: which format their bytes are."""

from __future__ import annotations

import base64
import binascii

from spcs_llm.errors import QueryError


def data_uri(encoded: str) -> str:
    """The `data:` URI of an image in base64. Its type is that of its bytes: what queries say is often wrong.

    Raises QueryError when it is no base64, or no PNG, JPEG, GIF or WebP.
    """
    if encoded.startswith("data:"):
        encoded = encoded.partition(",")[2]
    encoded = "".join(encoded.split())
    try:
        mime_type = _mime_type(base64.b64decode(encoded, validate=True))
    except (binascii.Error, ValueError):
        raise QueryError(
            "An image of the query is not valid base64.", "Send the image's bytes in base64."
        ) from None
    if mime_type is None:
        raise QueryError(
            "An image of the query is no PNG, JPEG, GIF or WebP.", "Convert it to one of these formats."
        )
    return f"data:{mime_type};base64,{encoded}"


def _mime_type(data: bytes) -> str | None:
    if data.startswith(b"\x89PNG\r\n\x1a\n"):
        return "image/png"
    if data.startswith(b"\xff\xd8\xff"):
        return "image/jpeg"
    if data.startswith((b"GIF87a", b"GIF89a")):
        return "image/gif"
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "image/webp"
    return None
