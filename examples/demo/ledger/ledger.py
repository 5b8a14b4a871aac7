"""Double-entry book-keeping in a few lines; amounts are whole cents."""


class Ledger:
    def __init__(self):
        self._balances = {}
        self.entries = []

    def transfer(self, source, target, cents):
        if cents <= 0:
            raise ValueError("an amount is more than 0")
        self._balances[source] = self._balances.get(source, 0) - cents
        self._balances[target] = self._balances.get(target, 0) + cents
        self.entries.append((source, target, cents))

    def balance(self, account):
        return self._balances.get(account, 0)

    def total(self):
        return sum(self._balances.values())


def parse_amount(text):
    """``12.34`` -> 1234.

    >>> parse_amount("12.34")
    1234
    >>> parse_amount("5")
    500
    """
    whole, _, cents = text.partition(".")
    return int(whole) * 100 + int(cents or 0)
