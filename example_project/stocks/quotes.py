"""The symbols of the ticker and the last prices of each, kept in the cache."""

import random
from dataclasses import dataclass

from django.core.cache import cache

KEPT_FOR_S = 24 * 3600
KEPT_PRICES = 40


@dataclass(frozen=True, slots=True, kw_only=True)
class Stock:
    symbol: str
    name: str
    opening_price: float
    simulated: bool  # a random walk moves it; the others move when staff publish


STOCKS = (
    Stock(symbol="ACME", name="Acme Anvils", opening_price=64.2, simulated=True),
    Stock(symbol="GLOBEX", name="Globex Corporation", opening_price=212.75, simulated=True),
    Stock(symbol="INITECH", name="Initech Software", opening_price=31.05, simulated=True),
    Stock(symbol="HOOLI", name="Hooli", opening_price=148.9, simulated=True),
    Stock(symbol="AAPL", name="Apple", opening_price=178.4, simulated=False),
    Stock(symbol="MSFT", name="Microsoft", opening_price=415.1, simulated=False),
    Stock(symbol="GOOG", name="Alphabet", opening_price=171.6, simulated=False),
)


def recent_prices() -> dict[str, list[float]]:
    """The last prices of every listed symbol, oldest first and never none."""
    known = cache.get_many([key_of(stock.symbol) for stock in STOCKS])
    return {stock.symbol: known.get(key_of(stock.symbol)) or opening(stock) for stock in STOCKS}


def remember(symbol: str, price: float, prices: list[float]) -> None:
    """Keep a price after those that came before it."""
    cache.set(key_of(symbol), [*prices, price][-KEPT_PRICES:], KEPT_FOR_S)


def opening(stock: Stock) -> list[float]:
    """Where a symbol begins: what is simulated with some past, so that its plot is not empty."""
    prices = [stock.opening_price]
    while stock.simulated and len(prices) < KEPT_PRICES:
        prices.append(next_price(stock, prices[-1]))
    return prices


def next_price(stock: Stock, price: float) -> float:
    """A step of about half a per cent, drawn back to the opening price the further it strays."""
    pull = (stock.opening_price - price) / stock.opening_price * 0.03
    return max(0.01, round(price * (1 + random.gauss(pull, 0.005)), 2))


def key_of(symbol: str) -> str:
    return f"stocks:{symbol}"
