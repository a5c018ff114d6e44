"""Addresses in every form in which people paste them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spcs_llm.urls import (
    UrlError,
    is_loopback,
    is_snowflakes,
    names_another_account,
    parse_account_url,
    parse_base_url,
    parse_endpoint_url,
    parse_hosts,
    without_method,
)

HOST = "abc12-myorg-myacct.snowflakecomputing.app"


@pytest.mark.parametrize(
    "text",
    [
        HOST,
        f"https://{HOST}",
        f"HTTPS://{HOST.upper()}",
        f"https://{HOST}/",
        f"https://{HOST}//",
        f"https://{HOST}:443",
        f"https://{HOST}.",
        f"  https://{HOST}\n",
        f'"https://{HOST}"',
        f"'{HOST}'",
        f"`{HOST}`",
        f"<https://{HOST}>",
        f"https://{HOST},",
        f"\ufeff{HOST}\u200b",
        f"{HOST}/predict",
        f"{HOST}/predict/",
        f"{HOST}/v1",
        f"{HOST}/v1/models",
        f"{HOST}/v1/chat/completions",
        f"{HOST}/v1/completions",
        f"{HOST}/v1/embeddings",
        f"{HOST}/v1/rerank",
        # BerriAI/litellm#6844, BerriAI/litellm#8372: as other programs require it
        f"{HOST}/rerank",
        f"{HOST}/embed",
        f"{HOST}/embeddings",
        f"{HOST}/v1/ranking",
        f"{HOST}/predict?x=1#top",
        f"https://{HOST}/__call__",  # as guides of model serving write it
        f"https://{HOST}/--call--/",
        f"{HOST}/encode",
        # what the other pages of the same servers are at
        f"{HOST}/docs",
        f"{HOST}/docs#/",
        f"{HOST}/redoc",
        f"{HOST}/openapi.json",
        f"{HOST}/health",
        f"{HOST}/v1/chat",
        f"{HOST}/v1/responses",
        f"{HOST}/v1/models/qwen",
        f"{HOST}/v1/models/Qwen/Qwen3-0.6B",
        HOST.replace("-myacct", "_myacct"),
    ],
)
def test_every_paste_of_an_endpoint_means_the_same(text: str) -> None:
    assert str(parse_endpoint_url(text)) == f"https://{HOST}"


def test_a_path_of_the_service_stays() -> None:
    assert str(parse_endpoint_url(f"{HOST}/models/llm/v1/")) == f"https://{HOST}/models/llm"
    assert str(parse_endpoint_url(f"{HOST}/predictions")) == f"https://{HOST}/predictions"
    assert str(parse_endpoint_url(f"{HOST}/v1/models-a")) == f"https://{HOST}/v1/models-a"


@pytest.mark.parametrize("name", ["embed_text", "embed-text", "/embed_text/"])
@pytest.mark.parametrize("path", ["/embed-text", "/embed_text/", "/base/embed_text"])
def test_the_method_that_the_form_names_is_no_base_of_itself(name: str, path: str) -> None:
    url = without_method(parse_endpoint_url(HOST + path), name)
    assert str(url) == f"https://{HOST}" + ("/base" if "base" in path else "")


@pytest.mark.parametrize("name", ["text", "embed", "", "/"])
def test_another_path_than_the_methods_stays(name: str) -> None:
    url = parse_endpoint_url(f"{HOST}/embed_text")
    assert without_method(url, name) == url


@pytest.mark.parametrize(
    "text",
    [
        # Snowflake-Labs/sfquickstarts#50, snowflakedb/terraform-provider-snowflake#529
        "https://xy12345.AWS_AP_SOUTHEAST_1.snowflakecomputing.com",
        "xy12345.AZURE_AUSTRALIAEAST.snowflakecomputing.com:443",
        "xy12345.AWS_US_WEST_2",
        "XY12345.AZURE_EASTUS2",
        "xy12345.GCP_US_CENTRAL1",
        "xy12345.aws-us-gov-west-1",
    ],
)
def test_a_region_as_sql_prints_it_is_in_no_address(text: str) -> None:
    with pytest.raises(UrlError, match=r"CURRENT_REGION\(\).*<organization>-<account>"):
        parse_account_url(text)


@pytest.mark.parametrize(
    ("text", "host"),
    [
        ("myorg.AWS_PROD", "myorg-aws-prod"),
        ("myorg.GCP_TEST", "myorg-gcp-test"),
        ("myorg-aws_us_east_1", None),
    ],
)
def test_an_account_may_be_named_after_its_cloud(text: str, host: str | None) -> None:
    host = host or text.replace("_", "-")
    assert str(parse_account_url(text)) == f"https://{host}.snowflakecomputing.com"


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("127.0.0.1:5000", "http://127.0.0.1:5000"),
        ("http://localhost:8080/predict", "http://localhost:8080"),
        ("https://localhost:8443", "https://localhost:8443"),
        ("http://[::1]:8080/", "http://[::1]:8080"),
        ("https://[::1]:443/", "https://[::1]"),
        ("http://127.0.0.1:80", "http://127.0.0.1"),
        ("https://host.example:8443/x", "https://host.example:8443/x"),
        ("10.1.2.3:8443", "https://10.1.2.3:8443"),
        (
            "x.myorg-acct.us-west-2.aws.privatelink.snowflake.app",
            "https://x.myorg-acct.us-west-2.aws.privatelink.snowflake.app",
        ),
    ],
)
def test_ports_loopback_and_private_hosts(text: str, url: str) -> None:
    assert str(parse_endpoint_url(text)) == url


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("Endpoints provisioning in progress... check back in a few minutes", "SHOW ENDPOINTS IN SERVICE"),
        ("", "is not a URL"),
        ("   ", "is not a URL"),
        ("my service", "is not a URL"),
        ("https://", "its host is not valid"),
        ("https:///predict", "its host is not valid"),
        (f"https://https://{HOST}", "its host is not valid"),
        (f"https//{HOST}", "its host is not valid"),
        (f"https:/{HOST}", "its host is not valid"),
        (f"https:{HOST}", "malformed"),
        (f"https:\\\\{HOST}", "malformed"),
        (f"http://{HOST}", "never sent over plain http"),
        (f"ftp://{HOST}", "must begin with https://"),
        (f"wss://{HOST}", "must begin with https://"),
        (f"https://alice:secret@{HOST}", "must not contain a user name or password"),
        (f"https://alice@{HOST}", "must not contain a user name or password"),
        ("https://exa mple.app", "is not a URL"),
        ("https://exämple.app", "its host is not valid"),
        ("https://-x.app", "its host is not valid"),
        ("https://a..b", "its host is not valid"),
        ("https://" + "a" * 64 + ".app", "its host is not valid"),
        ("https://" + "a." * 130 + "app", "its host is not valid"),
        ("https://host.app:99999", "malformed"),
        ("https://host.app:x", "malformed"),
        ("https://host.app:0", "port is 0"),
        ("https://[::1", "malformed"),
        ("https://[fe80::1]", "its host is not valid"),
        ("null", "SHOW ENDPOINTS IN SERVICE"),
        ("https://app.snowflake.com/myorg/myacct/#/compute", "SHOW ENDPOINTS IN SERVICE"),
        ("https://myorg-myacct.snowflakecomputing.com", "names a Snowflake account, not a service"),
        ("myorg-myacct.privatelink.snowflakecomputing.com", "names a Snowflake account, not a service"),
    ],
)
def test_what_is_no_endpoint_is_refused_with_the_reason(text: str, reason: str) -> None:
    with pytest.raises(UrlError) as refused:
        parse_endpoint_url(text)
    assert reason in str(refused.value)
    assert "secret" not in str(refused.value)


ACCOUNT = "myorg-myacct.snowflakecomputing.com"


@pytest.mark.parametrize(
    ("text", "host"),
    [
        (ACCOUNT, ACCOUNT),
        (f"https://{ACCOUNT}/console/login#/", ACCOUNT),
        (f"https://{ACCOUNT}:443", ACCOUNT),
        ("https://MYORG-MY_ACCT.snowflakecomputing.com", "myorg-my-acct.snowflakecomputing.com"),
        ("myorg-myacct", ACCOUNT),
        ("MYORG-MYACCT", ACCOUNT),
        ("MYORG.MYACCT", ACCOUNT),
        ("MYORG.MY_ACCT", "myorg-my-acct.snowflakecomputing.com"),
        ("xy12345", "xy12345.snowflakecomputing.com"),
        ("xy12345.us-east-1", "xy12345.us-east-1.snowflakecomputing.com"),
        ("xy12345.us-east-2.aws", "xy12345.us-east-2.aws.snowflakecomputing.com"),
        ("xy12345.us-gov-west-1.fhplus.aws", "xy12345.us-gov-west-1.fhplus.aws.snowflakecomputing.com"),
        ("xy12345.west-europe.azure", "xy12345.west-europe.azure.snowflakecomputing.com"),
        ("xy12345.us-central1.gcp", "xy12345.us-central1.gcp.snowflakecomputing.com"),
        ("xy12345.us-east-1.privatelink", "xy12345.us-east-1.privatelink.snowflakecomputing.com"),
        ("myorg-myacct.privatelink", "myorg-myacct.privatelink.snowflakecomputing.com"),
        ("myorg-myacct.snowflakecomputing.cn", "myorg-myacct.snowflakecomputing.cn"),
        # snowflake-connector-python, `util_text.construct_hostname`, and gosnowflake, `internal/config/dsn.go`
        ("xy12345.cn-northwest-1.aws", "xy12345.cn-northwest-1.aws.snowflakecomputing.cn"),
        ("xy12345.cn-north-1", "xy12345.cn-north-1.snowflakecomputing.cn"),
        ("xy12345.cn-north-1.privatelink", "xy12345.cn-north-1.privatelink.snowflakecomputing.cn"),
        ("xy12345.us-west-2", "xy12345.snowflakecomputing.com"),
        ("xy12345.us-west-2.privatelink", "xy12345.us-west-2.privatelink.snowflakecomputing.com"),
        ("xy12345.us-west-2.snowflakecomputing.com", "xy12345.us-west-2.snowflakecomputing.com"),
        ("myorg.cn-account", "myorg-cn-account.snowflakecomputing.com"),
        ("https://snowflake.internal.example", "snowflake.internal.example"),
        ("https://proxy.example", "proxy.example"),
        ("127.0.0.1:8123", "127.0.0.1"),
    ],
)
def test_every_way_to_name_an_account_leads_to_its_host(text: str, host: str) -> None:
    assert parse_account_url(text).host == host
    assert parse_account_url(text).path == ""


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (HOST, "names a service endpoint, not the account"),
        ("abc.snowflake.app", "names a service endpoint, not the account"),
        ("https://app.snowflake.com/myorg/myacct/", "is Snowsight's address"),
        # snowflakedb/terraform-provider-snowflake#1603: as SYSTEM$GET_PRIVATELINK_CONFIG names them
        ("app-myorg-myacct.privatelink.snowflakecomputing.com", "is Snowsight's address"),
        ("https://app.eu-west-1.privatelink.snowflakecomputing.com/", "is Snowsight's address"),
        ("http://myorg-myacct.snowflakecomputing.com", "never sent over plain http"),
        ("my account", "is not a URL"),
    ],
)
def test_what_is_no_account_is_refused_with_the_reason(text: str, reason: str) -> None:
    with pytest.raises(UrlError, match=reason):
        parse_account_url(text)


@pytest.mark.parametrize(
    ("account", "endpoint", "another"),
    [
        ("myorg-myacct", HOST, False),
        ("MYORG-MY_ACCT", "abc12-myorg-my-acct.snowflakecomputing.app", False),
        ("myorg-other", HOST, True),
        ("org-myacct", HOST, True),
        (
            "myorg-myacct",
            "abc12-evilorg-myorg-myacct.snowflakecomputing.app",
            True,
        ),  # of its account myorg_myacct
        ("xy12345", HOST, False),
        ("xy12345.us-east-1", HOST, False),
        ("myorg-myacct.privatelink", HOST, False),
        ("myorg-other", "abc12.snowflakecomputing.app", False),
        ("myorg-other", "x.myorg-myacct.us-west-2.aws.privatelink.snowflake.app", False),
        ("myorg-other", "abc12-myorg-myacct.snowflake.app", True),
        ("myorg-myacct", "abc12-myorg-myacct.snowflake.app", False),
        ("https://myorg-other.snowflakecomputing.cn", "abc12-myorg-myacct.snowflakecomputing.app", True),
        ("myorg-other", "127.0.0.1:5000", False),
        ("127.0.0.1:8000", HOST, False),
    ],
)
def test_another_accounts_endpoint_is_told_where_the_names_say_so(
    account: str, endpoint: str, another: bool
) -> None:
    assert names_another_account(parse_account_url(account), parse_endpoint_url(endpoint)) is another


@pytest.mark.parametrize(
    ("host", "loopback"),
    [
        ("localhost", True),
        ("127.9.9.9", True),
        ("::1", True),
        ("10.0.0.1", False),
        ("localhost.example", False),
    ],
)
def test_what_is_loopback(host: str, loopback: bool) -> None:
    assert is_loopback(host) is loopback


@given(st.text(max_size=60))
def test_any_text_is_read_or_refused(text: str) -> None:
    for parse in (parse_base_url, parse_endpoint_url, parse_account_url):
        try:
            url = parse(text)
        except UrlError:
            continue
        assert url.scheme == "https" or is_loopback(url.host)
        assert parse(str(url)) == url


@pytest.mark.parametrize(
    ("address", "snowflakes"),
    [
        ("myorg-myacct.snowflakecomputing.com", True),
        ("myorg-myacct.privatelink.snowflakecomputing.com", True),
        ("myorg-myacct.snowflakecomputing.cn", True),
        (HOST, True),
        ("x.myorg-myacct.us-west-2.aws.privatelink.snowflake.app", True),
        ("localhost:8080", True),
        ("127.0.0.1", True),
        ("evil.example.com", False),
        ("x.snowflakecomputing.app.evil.com", False),
        ("evilsnowflakecomputing.app", False),
        ("snowflake.app.evil.com", False),
        ("10.0.0.5:8443", False),
        ("169.254.169.254", False),
        ("xn--snowflakecomputing-xyz.app", False),
    ],
)
def test_hosts_of_snowflake_are_told_from_others(address: str, snowflakes: bool) -> None:
    assert is_snowflakes(parse_base_url(address)) is snowflakes


def test_hosts_are_read_off_a_list() -> None:
    assert parse_hosts(" proxy.example.com, https://b.example;C.example ") == (
        "proxy.example.com",
        "b.example",
        "c.example",
    )
    assert parse_hosts(" ") == ()


@pytest.mark.parametrize("address", ["${spcs_endpoint}", "https://${host}/v1", "${a}.snowflakecomputing.app"])
def test_a_variable_of_dss_is_told_as_that(address: str) -> None:
    with pytest.raises(UrlError, match="DSS variable"):
        parse_endpoint_url(address)
