"""The symbols, and the last prices of each, which the cache keeps."""

import random
from dataclasses import dataclass
from typing import Annotated

from django.core.cache import cache
from msgspec import UNSET, Meta, Struct, UnsetType

PRICES_TIMEOUT_S = 24 * 3600
MAX_PRICES = 40


class Quote(Struct):
    """A price."""

    symbol: Annotated[str, Meta(min_length=1)]
    price: float
    at: float | UnsetType = UNSET


@dataclass(frozen=True, slots=True, kw_only=True)
class Stock:
    symbol: str
    name: str
    opening_price: float
    simulated: bool  # a feed moves its price at random; the others change when staff publish


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
    """The last prices of every listed symbol, at least one each, oldest first."""
    cached = cache.get_many([cache_key(stock.symbol) for stock in STOCKS])
    return {
        stock.symbol: cached.get(cache_key(stock.symbol)) or first_prices(stock) for stock in STOCKS
    }


def remember(symbol: str, price: float, prices: list[float]) -> None:
    """Store a price after the earlier `prices`, and drop the oldest beyond `MAX_PRICES`."""
    cache.set(cache_key(symbol), [*prices, price][-MAX_PRICES:], PRICES_TIMEOUT_S)


def first_prices(stock: Stock) -> list[float]:
    """A symbol's first prices: several where they are simulated, so that its chart is not empty."""
    prices = [stock.opening_price]
    while stock.simulated and len(prices) < MAX_PRICES:
        prices.append(next_price(stock, prices[-1]))
    return prices


def next_price(stock: Stock, price: float) -> float:
    """A random step of about 0.5 %, pulled towards the opening price in proportion to the distance."""
    pull = (stock.opening_price - price) / stock.opening_price * 0.03
    return max(0.01, round(price * (1 + random.gauss(pull, 0.005)), 2))


def cache_key(symbol: str) -> str:
    return f"stocks:{symbol}"
