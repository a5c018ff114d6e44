"""Numbers of things and amounts of money, for people."""

from __future__ import annotations

import math


def counted(count: int, word: str) -> str:
    """A number of things, such as 1 row or 1,200 rows.

    Args:
        count: How many.
        word: What one of them is called.

    Returns:
        Both.
    """
    return f"{count:,} {word}{'' if count == 1 else 's'}"


def rows_left(rows: int) -> str:
    """How many rows are left, as the beginning of a sentence."""
    return f"{counted(rows, 'row')} {'is' if rows == 1 else 'are'} left"


def usd(amount: float) -> str:
    """An amount in USD: in cents, or with two digits if it is less than one, so that it does not seem to be nothing."""
    if not 0 < amount < 0.01:
        return f"USD {amount:,.2f}"
    return f"USD {amount:.{1 - math.floor(math.log10(amount))}f}"
