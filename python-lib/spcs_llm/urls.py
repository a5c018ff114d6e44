"""Addresses as people paste them, and as requests need them."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass, replace
from urllib.parse import urlsplit

_HOST = re.compile(
    r"^(?=.{1,253}$)([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)(\.[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)*$"
)
DSS_VARIABLE = re.compile(r"\$\{")
HAS_VARIABLE = (
    "contains a DSS variable (${...}), but DSS does not replace variables in the fields of an LLM connection or of its"
    " presets: enter the value itself"
)
INVISIBLE = re.compile("[\u200b-\u200f\u2060\ufeff]")
_MAX_QUOTED = 100
_DEFAULT_PORTS = {"http": 80, "https": 443}
_ACCOUNT_DOMAINS = (".snowflakecomputing.com", ".snowflakecomputing.cn")
_ENDPOINT_DOMAINS = (".snowflakecomputing.app", ".snowflake.app")
# What follows a locator: its region, cloud or network (Snowflake documentation, "Account identifiers").
_LOCATOR_WITH_REGION = re.compile(
    r"^[a-z0-9-]+\.([a-z]+(-[a-z]+)+-?\d+|([a-z0-9-]+\.)*(aws|azure|gcp|fhplus|dod|privatelink|global))$"
)
# snowflake-connector-python 4.8.1, `util_text.construct_hostname`: accounts in China, and those without a region.
_LOCATOR_IN_CHINA = re.compile(r"^[a-z0-9-]+\.cn-[a-z0-9-]+(\.|$)")
_DEFAULT_REGION = ".us-west-2"
# As CURRENT_REGION() prints it: AWS_US_WEST_2, AZURE_EASTUS2, GCP_US_CENTRAL1.
_REGION_OF_SQL = re.compile(
    r"^[a-z0-9-]+\.(aws(-[a-z]+)+-\d|gcp(-[a-z]+)+\d|azure-[a-z]*(north|south|east|west|central|usgov)[a-z]*\d?)(\.|$)"
)
_ORGANIZATION_AND_ACCOUNT = re.compile(r"^([a-z0-9]+)\.([a-z][a-z0-9_-]*)$", re.IGNORECASE)
# Paths that people copy together with an address. The plugin adds the path of each request itself.
_ENDPOINT_SUFFIXES = (
    "/predict",
    "/__call__",
    "/--call--",
    "/encode",
    "/v1/chat/completions",
    "/v1/chat",
    "/v1/completions",
    "/v1/responses",
    "/v1/embeddings",
    "/v1/rerank",
    "/v1/ranking",
    "/v1/models",
    "/v1",
    "/embeddings",
    "/embed",
    "/rerank",
    "/docs",
    "/redoc",
    "/openapi.json",
    "/health",
)
_ONE_MODEL = re.compile(r"(?<=/v1/models)/.*$")  # the name of a model may have slashes
# Also over private link, by region or by organization and account (SYSTEM$GET_PRIVATELINK_CONFIG).
_SNOWSIGHT = re.compile(
    r"app\.snowflake\.com|app(\..+|-[^.]+-[^.]+)\.privatelink\.snowflakecomputing\.(com|cn)"
)


class UrlError(ValueError):
    """The text is not a usable address; the message says why, to follow the name of the field."""


@dataclass(frozen=True)
class BaseUrl:
    """Where requests go.

    Attributes:
        scheme: https; for this machine, also http.
        host: The host's name or address, in lower case; an IPv6 address has no brackets.
        port: The port; None for the scheme's own.
        path: What stands before every request's own path; it has no slash at its end.
    """

    scheme: str
    host: str
    port: int | None = None
    path: str = ""

    @property
    def netloc(self) -> str:
        """The host with its port, as a URL has it."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port is None else f"{host}:{self.port}"

    @property
    def origin(self) -> str:
        return f"{self.scheme}://{self.netloc}"

    def __str__(self) -> str:
        return self.origin + self.path


def is_loopback(host: str) -> bool:
    """Whether a host, by its name or address, is this machine."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def parse_base_url(text: str) -> BaseUrl:
    """Reads an address with or without scheme, path or trailing slash.

    Underscores in the host become dashes, as Snowflake's certificates want it.

    Args:
        text: What a person pasted.

    Returns:
        The address.

    Raises:
        UrlError: If the text is not a usable address.
    """
    text = INVISIBLE.sub("", text).strip().strip("\"'`<>,;").strip()
    if DSS_VARIABLE.search(text):
        raise UrlError(HAS_VARIABLE)
    if "provisioning" in text.lower():
        raise UrlError(
            "contains Snowflake's notice that endpoints are still being provisioned, not a URL: "
            "run SHOW ENDPOINTS IN SERVICE again in a few minutes and copy ingress_url"
        )
    if not text or re.search(r"\s", text):
        raise UrlError("is not a URL: give a host such as abc-myorg-myaccount.snowflakecomputing.app")
    scheme, separator, rest = text.partition("://")
    if not separator:
        scheme, rest = "", text
    try:
        parts = urlsplit(f"//{rest}")
        host, port = (parts.hostname or "").rstrip(".").replace("_", "-"), parts.port
    except ValueError:
        raise UrlError("is not a URL: its host or port is malformed") from None
    if parts.username is not None or parts.password is not None:
        raise UrlError("must not contain a user name or password: the preset defines the sign-in")
    if host in _DEFAULT_PORTS or not (_HOST.match(host) or is_loopback(host)):
        raise UrlError("is not a URL: its host is not valid")
    if port == 0:
        raise UrlError("is not a URL: its port is 0")
    scheme = _scheme(scheme.lower(), host)
    return BaseUrl(scheme, host, None if port == _DEFAULT_PORTS[scheme] else port, parts.path.rstrip("/"))


def _scheme(given: str, host: str) -> str:
    if given == "https":
        return given
    if is_loopback(host) and given in ("", "http"):
        return "http"
    if given == "":
        return "https"
    if given == "http":
        raise UrlError("must begin with https://: a token is never sent over plain http")
    raise UrlError("must begin with https://")


def parse_endpoint_url(text: str) -> BaseUrl:
    """Reads a service endpoint's address. A request path pasted with it is taken off.

    Args:
        text: What a person pasted.

    Returns:
        The address.

    Raises:
        UrlError: If the text is not a usable address, or that of something else.
    """
    url = parse_base_url(text)
    if url.host.endswith(_ACCOUNT_DOMAINS):
        raise UrlError(
            "names a Snowflake account, not a service: copy ingress_url from SHOW ENDPOINTS IN SERVICE"
        )
    if is_snowsight(url.host) or ("." not in url.host and not is_loopback(url.host)):
        raise UrlError("does not name a service's endpoint: copy ingress_url from SHOW ENDPOINTS IN SERVICE")
    url = replace(url, path=_ONE_MODEL.sub("", url.path))
    return next((_before(url, suffix) for suffix in _ENDPOINT_SUFFIXES if url.path.endswith(suffix)), url)


def without_method(url: BaseUrl, name: str) -> BaseUrl:
    """A service endpoint's address without a method that was pasted with it, in any of its spellings.

    Args:
        url: The address.
        name: The method's name, with or without slashes around it.

    Returns:
        The address.
    """
    name = name.strip("/").replace("-", "_")
    at_end = f"/{name}"
    return _before(url, at_end) if name and url.path.replace("-", "_").endswith(at_end) else url


def _before(url: BaseUrl, suffix: str) -> BaseUrl:
    return replace(url, path=url.path[: -len(suffix)].rstrip("/"))


def parse_account_url(text: str) -> BaseUrl:
    """Reads an account's address: a URL, or only an account identifier. Paths are dropped.

    Args:
        text: What a person pasted.

    Returns:
        The address.

    Raises:
        UrlError: If the text is not a usable address, or that of something else.
    """
    url = parse_base_url(text)
    host = url.host
    if host.endswith(_ENDPOINT_DOMAINS):
        raise UrlError(
            "names a service endpoint, not the account: it looks like https://myorg-myaccount.snowflakecomputing.com"
        )
    if is_snowsight(host):
        raise UrlError(
            "is Snowsight's address, not the account's: it looks like https://myorg-myaccount.snowflakecomputing.com"
        )
    if _REGION_OF_SQL.match(host):
        raise UrlError(
            "names the region as CURRENT_REGION() prints it, which is not a part of addresses: enter"
            " https://<organization>-<account>.snowflakecomputing.com"
        )
    if not is_loopback(host) and not host.endswith(_ACCOUNT_DOMAINS):
        if "://" not in text and url.port is None:
            host = hyphenated(host)
        if _LOCATOR_WITH_REGION.match(host) or "." not in host:
            host = _host_of_locator(host)
    return BaseUrl(url.scheme, host, url.port)


def hyphenated(identifier: str) -> str:
    """An account's identifier with a hyphen after the organization, where SHOW, SQL and Snowsight write a period."""
    if _LOCATOR_WITH_REGION.match(identifier.lower().replace("_", "-")):
        return identifier
    return _ORGANIZATION_AND_ACCOUNT.sub(r"\1-\2", identifier)


def is_snowsight(host: str) -> bool:
    """Whether a host, in lower case, is that of Snowflake's web interface."""
    return _SNOWSIGHT.fullmatch(host) is not None


def _host_of_locator(locator: str) -> str:
    if locator.endswith(_DEFAULT_REGION):
        locator = locator[: -len(_DEFAULT_REGION)]
    return locator + _ACCOUNT_DOMAINS[_LOCATOR_IN_CHINA.match(locator) is not None]


def names_another_account(account: BaseUrl, endpoint: BaseUrl) -> bool:
    """Whether both hosts name their account and the names differ.

    `<org>-<account>` and `<hash>-<org>-<account>` are compared. Locators (`xy12345.us-east-1`) and privatelink hosts
    say too little to be.

    Args:
        account: The account's URL.
        endpoint: The endpoint's URL.

    Returns:
        True if they differ; False if they agree, or one of them does not tell.
    """
    domain = next((domain for domain in _ACCOUNT_DOMAINS if account.host.endswith(domain)), "")
    name = account.host[: -len(domain)] if domain else ""
    if not endpoint.host.endswith(_ENDPOINT_DOMAINS) or "." in name or "-" not in name:
        return False
    # Whole, and not its end: the account `org_account` of another organization ends like `org-account` there.
    _, _, named = endpoint.host.split(".", 1)[0].partition("-")
    return "-" in named and named != name


def is_snowflakes(url: BaseUrl) -> bool:
    """Whether Snowflake answers at this address, or this machine: accounts, ingresses and private links alike.

    Domains: Snowflake documentation, "Account identifiers"; snowflake-ml-python 2.6.0 for ingresses.

    Args:
        url: The address.

    Returns:
        Whether it does.
    """
    return is_loopback(url.host) or url.host.endswith((*_ACCOUNT_DOMAINS, *_ENDPOINT_DOMAINS))


def is_private_link(url: BaseUrl) -> bool:
    """Whether an address is one that only private link reaches (SYSTEM$GET_PRIVATELINK_CONFIG)."""
    return ".privatelink." in url.host


def parse_hosts(text: str) -> tuple[str, ...]:
    """Reads host names.

    Args:
        text: The names, with a comma, a semicolon or blanks between them.

    Returns:
        The names in lower case, without their ports.

    Raises:
        UrlError: If one of them is not a usable host. It says which.
    """
    hosts: list[str] = []
    for item in filter(None, re.split(r"[\s,;]+", text)):
        try:
            hosts.append(parse_base_url(item).host)
        except UrlError as error:
            error.args = (f"'{item[:_MAX_QUOTED]}' {error}",)
            raise
    return tuple(hosts)
