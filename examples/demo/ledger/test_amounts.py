import pytest

from ledger import parse_amount


@pytest.mark.parametrize(("text", "cents"), [("0", 0), ("1.00", 100), ("12.34", 1234), ("7.05", 705)])
def test_amounts(text, cents):
    assert parse_amount(text) == cents


def test_one_decimal():
    """Fails on purpose: ``1.5`` is read as 1 and 5 cents."""
    assert parse_amount("1.5") == 150


@pytest.fixture
def currency():
    raise RuntimeError("no exchange rates here")


def test_other_currencies(currency):
    """An error on purpose: its fixture cannot be set up."""
    assert currency
