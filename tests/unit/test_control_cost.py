"""The cost report: what it adds up, what it never adds, and what it says of the rest."""

from __future__ import annotations

import re
from datetime import date, datetime, timezone
from html import unescape
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spcs_llm.control.cost_report import CostReport, make_report
from spcs_llm.control.cost_report_page import cost_report_page
from spcs_llm.control.families import price_list
from spcs_llm.control.session import Identity
from spcs_llm.control.usage_views import (
    CreditPrice,
    PoolDay,
    ServiceCredits,
    read_service_days,
    service_days,
)

from .scripted_session import ABSENT, NO_WAREHOUSE, ScriptedSession, rows

NOW = datetime(2026, 11, 26, 9, 0, tzinfo=timezone.utc)
POOL_HISTORY = 'SELECT CAST(START_TIME AS DATE) AS "day"'
SERVING = 'SELECT SERVICE_NAME AS "service"'
PRICES = 'SELECT DATE AS "day"'
DAYS = rows(
    "day pool credits until",
    "2026-11-23|GPU|10.0|2026-11-24T00:00:00Z",
    "2026-11-24|GPU|14.0|2026-11-25T00:00:00Z",
    "2026-11-24|CPU|1.0|2026-11-25T00:00:00Z",
    "2026-11-25|GPU|12.0|2026-11-26T00:00:00Z",
    "2026-11-26|GPU|3.0|2026-11-26T06:00:00Z",
)


def account(**answers: Any) -> ScriptedSession:
    return ScriptedSession(
        {
            POOL_HISTORY: DAYS,
            SERVING: rows("service model pool workload credits", "CHAT|QWEN|GPU|SERVICE|30.0"),
            PRICES: rows(
                "day service_type currency rate",
                "2026-11-25|WAREHOUSE_METERING|EUR|2.5",
                "2026-11-25|SNOWPARK_CONTAINER_SERVICES|EUR|2.75",
                "2026-11-24|SNOWPARK_CONTAINER_SERVICES|EUR|9.99",
            ),
            "SHOW COMPUTE POOLS": rows(
                "name state instance_family active_nodes idle_nodes max_nodes",
                "GPU|ACTIVE|GPU_NV_S|1|1|2",
                "CPU|SUSPENDED|CPU_X64_XS|0|0|1",
            ),
            "SHOW NODES": rows("instance_family", "GPU_NV_S", "GPU_NV_S"),
            **answers,
        }
    )


def report(session: ScriptedSession | None = None, **how: Any) -> CostReport:
    how = {"days": 7, "credit_price": None, "default_price": 3.0, "now": NOW, **how}
    return make_report(session or account(), price_list(), **how)


def test_the_bill_is_the_pools_and_what_is_attributed_is_never_added() -> None:
    made = report()
    assert made.credits == 40
    assert made.by_pool == {"GPU": 39.0, "CPU": 1.0}
    assert made.attributed == {"GPU": 30.0}


def test_many_days_add_up_to_what_snowflake_shows() -> None:
    days = rows(
        "day pool credits until",
        *(f"2026-11-{day:02}|GPU|7.41|2026-11-{day + 1:02}T00:00:00Z" for day in range(1, 16)),
    )
    made = report(account(**{POOL_HISTORY: days}), days=30)
    assert (made.credits, made.by_pool) == (111.15, {"GPU": 111.15})
    assert "111.2 credits" in cost_report_page(made)


def test_the_pools_of_a_day_add_up_to_what_snowflake_shows() -> None:
    credits = {"A": 0.105, "B": 0.125, "C": 0.215}
    days = rows(
        "day pool credits until",
        *(f"2026-11-25|{pool}|{used}|2026-11-26T00:00:00Z" for pool, used in credits.items()),
    )
    assert "0.45 credits" in cost_report_page(report(account(**{POOL_HISTORY: days})))


def test_a_month_is_calculated_from_complete_days() -> None:
    made = report()
    assert made.complete_days == [date(2026, 11, 23), date(2026, 11, 24), date(2026, 11, 25)]
    assert made.month_credits == pytest.approx((10 + 15 + 12) / 3 * 730 / 24)


def test_days_after_the_last_credits_count_as_they_are() -> None:
    """The view has rows for hours with credits only: pools that stand still for a weekend have none."""
    used = rows(
        "day pool credits until",
        "2026-11-19|GPU|12.0|2026-11-20T00:00:00Z",
        "2026-11-20|GPU|9.0|2026-11-20T18:00:00Z",
    )
    made = report(account(**{POOL_HISTORY: used}), now=datetime(2026, 11, 23, 8, 0, tzinfo=timezone.utc))
    assert made.complete_days == [date(2026, 11, day) for day in (19, 20, 21, 22)]
    assert made.month_credits == pytest.approx(21 / 4 * 730 / 24)
    page = cost_report_page(made)
    assert "usage view are of 20 November, 18:00; it may be three hours late" in page
    assert page.count("(so far)") == 1


def test_a_day_counts_when_the_view_must_have_it() -> None:
    used = rows("day pool credits until", "2026-11-25|GPU|12.0|2026-11-25T20:00:00Z")
    early, late = (
        report(account(**{POOL_HISTORY: used}), now=datetime(2026, 11, 26, hour, 30, tzinfo=timezone.utc))
        for hour in (2, 3)
    )
    assert (early.complete_days, late.complete_days) == ([], [date(2026, 11, 25)])


def test_what_runs_now_is_counted_by_node() -> None:
    made = report()
    assert made.credits_per_hour_now == pytest.approx(2 * 0.57)
    assert made.idle_nodes_now == (1, 2)


def test_the_price_is_the_contracts_newest_one_of_container_services() -> None:
    assert report().price == CreditPrice(2.75, "EUR", "your contract, 2026-11-25")


def test_the_price_of_warehouses_stands_in_for_it() -> None:
    only = rows("day service_type currency rate", "2026-11-25|WAREHOUSE_METERING|USD|2.5")
    assert report(account(**{PRICES: only})).price.amount == 2.5


def test_a_price_that_is_entered_is_used_and_the_contract_is_not_asked_for() -> None:
    session = account()
    assert report(session, credit_price=2.0).price == CreditPrice(2.0, "USD", "as entered")
    assert not [statement for statement in session.asked if "RATE_SHEET" in statement]


def test_a_view_that_is_not_granted_is_named_with_the_grant() -> None:
    made = report(account(**{POOL_HISTORY: ABSENT, SERVING: ABSENT, PRICES: ABSENT}))
    hints = [entry.hint for entry in made.missing]
    assert hints[0].endswith("GRANT DATABASE ROLE SNOWFLAKE.USAGE_VIEWER TO ROLE ANALYST")
    assert hints[2].endswith("GRANT DATABASE ROLE SNOWFLAKE.ORGANIZATION_BILLING_VIEWER TO ROLE ANALYST")
    assert (made.credits, made.month_credits, made.price.amount) == (0, None, 3.0)
    assert made.credits_per_hour_now is not None
    page = cost_report_page(made)
    assert "Not in this report" in page
    assert "an assumption" in page


def test_without_a_warehouse_the_field_is_named() -> None:
    made = report(account(**{POOL_HISTORY: NO_WAREHOUSE}))
    assert "'Warehouse'" in made.missing[0].hint


def test_a_reseller_s_customer_is_told_to_enter_the_price() -> None:
    made = report(account(**{PRICES: []}))
    assert made.missing[0].hint == "Enter 'Cost of a credit'."


def test_the_statements_look_back_as_many_days_as_were_asked_for() -> None:
    session = account()
    report(session, days=7)
    assert "DATEADD('day', -7, CURRENT_DATE())" in session.asked[0]


def test_the_page_shows_figures_bars_and_how_late_the_view_is() -> None:
    page = cost_report_page(report(estimates={date(2026, 11, 25): 11.0, date(2025, 1, 1): 99.0}))
    assert "EUR 110.00" in page  # 40 credits at 2.75
    assert "3 hours before this report was made" in page
    assert "width:93.333%" in page  # 14 of 15 credits, the dearest day
    assert "23 %" in page  # of the GPU pool's credits are not attributed
    assert "1 of 2 nodes run without a service" in page
    assert "estimates USD 11.00" in page


def test_an_account_without_any_cost_has_a_page_too() -> None:
    page = cost_report_page(report(account(**{POOL_HISTORY: [], SERVING: [], "SHOW COMPUTE POOLS": []})))
    assert "shows no credits" in page
    assert "not known yet" in page


class _Page(HTMLParser):
    """What a browser would act on."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: set[str] = set()
        self.open: list[str] = []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}
        if tag != "wbr":  # which has no end
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


HOSTILE = st.text() | st.sampled_from(
    [
        "<script>alert(1)</script>",
        '"><img src=x onerror=alert(1)>',
        "</td></table>",
        "&lt;b&gt;",
        "url(x)",
        "'",
    ]
)


@given(
    pool=HOSTILE,
    service=HOSTILE,
    currency=HOSTILE,
    user=HOSTILE,
    credits=st.floats(allow_nan=False, allow_infinity=False, width=32),
)
def test_no_text_of_anybody_becomes_markup(
    pool: str, service: str, currency: str, user: str, credits: float
) -> None:
    made = CostReport(
        Identity(user, user, None),
        NOW,
        date(2026, 11, 20),
        date(2026, 11, 26),
        CreditPrice(2.0, currency, service),
        (PoolDay(date(2026, 11, 21), pool, credits), PoolDay(date(2026, 11, 22), service, 1.0)),
        NOW,
        (ServiceCredits(service, pool, pool, service, 1.0),),
        True,
    )
    page = _Page(cost_report_page(made))
    assert page.open == []
    assert page.tags - {"wbr"} <= {
        "div",
        "h2",
        "h3",
        "p",
        "b",
        "ul",
        "li",
        "span",
        "table",
        "thead",
        "tbody",
        "tr",
        "th",
        "td",
    }
    assert page.attributes <= {"style", "title", "scope"}


def test_styles_load_nothing_from_elsewhere() -> None:
    assert not re.search(r"url\(|@import|http", cost_report_page(report()))


def test_bars_are_printed() -> None:
    """W3C, CSS Color Adjustment 1: backgrounds, which the bars are, may be left out on paper unless the page asks."""
    assert "print-color-adjust:exact" in cost_report_page(report())


def test_a_report_that_is_saved_is_read_in_any_encoding() -> None:
    """A part of a page does not say its encoding, and browsers take it for Windows-1252 (WHATWG, HTML)."""
    days = rows("day pool credits until", "2026-11-25|KÄLTE漢|3.0|2026-11-26T00:00:00Z")
    page = cost_report_page(report(account(**{POOL_HISTORY: days})))
    assert page.isascii()
    assert "KÄLTE漢" in unescape(page)


def test_an_adjustment_below_zero_lowers_the_sum_and_draws_no_bar() -> None:
    """Snowflake documentation, METERING_DAILY_HISTORY and USAGE_IN_CURRENCY_DAILY: adjustments are negative."""
    lowered = rows(
        "day pool credits until",
        "2026-11-24|GPU|10.0|2026-11-25T00:00:00Z",
        "2026-11-25|GPU|-4.0|2026-11-26T00:00:00Z",
        "2026-11-25|CPU|-1.0|2026-11-26T00:00:00Z",
    )
    made = report(account(**{POOL_HISTORY: lowered}))
    assert made.credits == pytest.approx(5.0)
    page = cost_report_page(made)
    assert not re.search(r"width:-", page)


def test_a_contract_whose_currency_changed_is_told_in_the_newer_one() -> None:
    """get-select/dbt-snowflake-monitoring#99: one view has rates of two currencies."""
    prices = rows(
        "day service_type currency rate",
        "2026-11-25|WAREHOUSE_METERING|USD|3.0",
        "2026-11-20|SNOWPARK_CONTAINER_SERVICES|EUR|2.75",
        "2026-11-19|WAREHOUSE_METERING|EUR|2.5",
    )
    assert report(account(**{PRICES: prices})).price.currency == "USD"


FAMILIES = (
    "GEN_ARM_G1_2 GEN_ARM_G1_32 GEN_X64_G2_2 GEN_X64_G2_16 GEN_X64_G2_32 MEM_X64_G2_8 MEM_X64_G2_96 MEM_X64_G2_192"
    " GPU_L40S_G1_8 GPU_L40S_G1_192 GPU_R6K_G1_8 GPU_R6K_G1_192 GPU_A100_G1_12 GPU_A100_G1_48"
)


@pytest.mark.parametrize("name", FAMILIES.split())
def test_families_of_this_year_have_a_price(name: str) -> None:
    """snowflakedb/terraform-provider-snowflake#4918."""
    assert price_list().family(name) is not None


def test_a_credit_that_costs_nothing_has_a_report_with_estimates() -> None:
    """The form takes 0: for an account that somebody else pays, or where only credits are of interest."""
    page = cost_report_page(report(credit_price=0.0, estimates={date(2026, 11, 25): 2.0}))
    assert "USD 2.00" in page
    assert "% of what" not in page


def test_credits_that_were_given_back_have_no_share() -> None:
    """Snowflake documentation, "Reconcile a billing usage statement": adjustments are below zero."""
    days = rows("day pool credits until", "2026-11-25|GPU|-3.0|2026-11-26T00:00:00Z")
    page = cost_report_page(
        report(account(**{POOL_HISTORY: days}), credit_price=3.0, estimates={date(2026, 11, 25): 2.0})
    )
    assert "% of what" not in page


def test_the_script_adds_up_the_days_that_the_report_has() -> None:
    """Snowflake documentation, METERING_DAILY_HISTORY: START_TIME is in the time zone of the session, the bill in UTC.

    An account that nobody has set up has days of Los Angeles.
    """
    script = (Path(__file__).parents[2] / "resource" / "sql" / "cost.sql").read_text(encoding="utf-8")
    assert "DATE_TRUNC('day', CONVERT_TIMEZONE('UTC', start_time))" in script


def test_of_more_days_of_services_than_are_read_the_newest_are() -> None:
    """BasedHardware/omi#10191, monogon/NetMeta#131: a limit on rows in the order of days cuts off the newest ones.

    Four hundred services over a month have 12,000 days. Those that were up only of late were left out.
    """
    assert "ORDER BY 1 DESC LIMIT" in service_days(30)
    found = read_service_days(
        rows(
            "day database schema service credits",
            "2026-11-25|D|S|A|1.0",
            "2026-11-24|D|S|B|2.0",
            "2026-11-24|D|S|A|3",
        )
    )
    assert [entry.day.day for entry in found] == [24, 24, 25]


def test_what_is_attributed_to_a_service_is_no_sign_of_a_call() -> None:
    """Snowflake documentation, MODEL_SERVING_USAGE_HISTORY: a row for each hour in which the service was up."""
    assert "what they were up for, whether they were called or not" in cost_report_page(report())
