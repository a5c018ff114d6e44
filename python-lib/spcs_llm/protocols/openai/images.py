"""Images of queries as `data:` URIs.

Which formats a model reads is its server's to say (vLLM reads whatever Pillow does); refused here is only what is
certainly no image, before it costs a request.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import unquote

from spcs_llm.errors import QueryError

_TOKENS_OF_NO_IMAGE: Final = 10_000  # whatever its size: models scale larger ones down
_IS_IMAGE_TYPE = re.compile(r"image/[A-Za-z0-9][A-Za-z0-9.+-]{0,60}")
_FROM_URL_SAFE = str.maketrans("-_", "+/")
_SIGNATURES = (
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"GIF87a", "image/gif"),
    (b"GIF89a", "image/gif"),
    (b"II*\0", "image/tiff"),
    (b"MM\0*", "image/tiff"),
    (b"\0\0\1\0", "image/x-icon"),
    (b"\xff\x0a", "image/jxl"),
    (b"\0\0\0\x0cJXL ", "image/jxl"),
    (b"\0\0\0\x0cjP  ", "image/jp2"),
    (b"<svg", "image/svg+xml"),
)
# Of the ISO base media file format: the main one is at byte 8, others follow from byte 16 to the end of the first box.
_BRANDS = {
    b"avif": "image/avif", b"avis": "image/avif",
    b"heic": "image/heic", b"heix": "image/heic", b"heim": "image/heic", b"heis": "image/heic",
    b"hevc": "image/heic", b"hevx": "image/heic", b"hevm": "image/heic", b"hevs": "image/heic",
}  # fmt: skip
_BRANDS_OF_ANY_CODEC = (b"mif1", b"msf1", b"miaf")
_LONGEST_BOX = 512
_LONGEST_HEAD = 128
# What is put in the place of an image by mistake. Of all else, a declared type may be true.
_NO_IMAGES = (b"%PDF-", b"PK\x03\x04", b"\x1f\x8b", b"\x7fELF", b"RIFF", b"ID3", b"OggS")


def data_uri(encoded: str, declared: str | None = None) -> str:
    """Writes an image as a `data:` URI.

    Args:
        encoded: The image's bytes in base64, of either alphabet, padded or not; or a `data:` URI.
        declared: The MIME type that the query gives. Where the bytes tell another, theirs is taken.

    Returns:
        The URI, in base64 of the usual alphabet, padded.

    Raises:
        QueryError: If it is not base64, or certainly no image.
    """
    head, comma, rest = encoded.partition(",")  # of a data URI: base64 has no comma
    if comma and len(head) <= _LONGEST_HEAD:
        declared = declared or head.removeprefix("data:").partition(";")[0]
        encoded = unquote(rest)
    encoded = "".join(encoded.split()).translate(_FROM_URL_SAFE).rstrip("=")
    encoded += "=" * (-len(encoded) % 4)
    try:
        data = base64.b64decode(encoded, validate=True)
    except (binascii.Error, ValueError):
        raise QueryError(
            "An image of the query is not valid base64.", "Send the image's bytes in base64."
        ) from None
    mime_type = _mime_type(data) or _declared_type(data, declared)
    if mime_type is None:
        raise QueryError(
            "An image of the query is not an image: its bytes are of no known format.",
            "Send a PNG, JPEG, GIF or WebP, or declare the format of another image that the model reads.",
        )
    return f"data:{mime_type};base64,{encoded}"


def are_read_as_text(payload: Mapping[str, Any], tokens: int) -> bool:
    """Whether only images that are in a prompt as base64 account for its tokens.

    TGI writes them there for models that read none. A token of base64 has about one and a half characters; an image's
    tokens stand for far more.

    Args:
        payload: The request's JSON.
        tokens: How many the server counted.

    Returns:
        Whether it has.
    """
    if tokens < _TOKENS_OF_NO_IMAGE:
        return False
    contents = [message.get("content") for message in payload.get("messages") or ()]
    parts = [part for content in contents if isinstance(content, list) for part in content]
    urls = [part["image_url"]["url"] for part in parts if part.get("type") == "image_url"]
    images = sum(len(url) for url in urls if url.startswith("data:"))
    # No text has more tokens than bytes.
    texts = len(json.dumps(payload, default=str)) - images
    return images > _TOKENS_OF_NO_IMAGE and 2 * (tokens - texts) >= images


def _mime_type(data: bytes) -> str | None:
    for signature, mime_type in _SIGNATURES:
        if data.startswith(signature):
            return mime_type
    if data.startswith(b"BM") and not _is_text(data):
        return "image/bmp"
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "image/webp"
    return _type_by_brands(data) if data[4:8] == b"ftyp" else None


def _type_by_brands(data: bytes) -> str | None:
    end = min(int.from_bytes(data[:4], "big"), _LONGEST_BOX, len(data))
    brands = [data[8:12], *(data[at : at + 4] for at in range(16, end - 3, 4))]
    found = next((_BRANDS[brand] for brand in brands if brand in _BRANDS), None)
    return found or ("image/heif" if any(brand in _BRANDS_OF_ANY_CODEC for brand in brands) else None)


def _declared_type(data: bytes, declared: str | None) -> str | None:
    """The type that the query declares, if these bytes may be of an image."""
    declared = (declared or "").strip().lower()
    is_image = bool(data) and not data.startswith(_NO_IMAGES) and not _is_text(data)
    return declared if is_image and _IS_IMAGE_TYPE.fullmatch(declared) else None


def _is_text(data: bytes) -> bool:
    head = data[:512]
    return all(byte >= 0x20 or byte in b"\t\n\r" for byte in head) and b"\x7f" not in head
