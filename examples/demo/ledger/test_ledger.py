import random
import unittest

import pytest

from ledger import Ledger


class LedgerTest(unittest.TestCase):
    def setUp(self):
        self.ledger = Ledger()

    def test_a_transfer_moves_money(self):
        self.ledger.transfer("cash", "rent", 700)
        self.assertEqual(self.ledger.balance("rent"), 700)
        self.assertEqual(self.ledger.balance("cash"), -700)

    def test_amounts_are_checked(self):
        for cents in (0, -1):
            with self.subTest(cents=cents), self.assertRaises(ValueError):
                self.ledger.transfer("a", "b", cents)


@pytest.mark.parametrize("seed", range(25))
def test_the_books_balance(seed):
    chance, ledger = random.Random(seed), Ledger()
    for _ in range(100):
        ledger.transfer(*chance.sample(["cash", "bank", "rent", "food"], 2), chance.randint(1, 9999))
    assert ledger.total() == 0
