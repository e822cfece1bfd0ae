"""`stocks`: prices. A subscriber may select a symbol: {"payload": {"symbol": "AAPL"}}. Staff may publish.

The newest price of each symbol is the channel's state, under the symbol as its key: a new subscriber gets it first.
"""

from dataclasses import dataclass
from typing import TypedDict

from channels_realtime import Channel, Client, action, register

from .quotes import STOCKS, Quote, recent_prices, remember

LISTED_SYMBOLS = frozenset(stock.symbol for stock in STOCKS)


@dataclass
class Selection:
    """A subscriber's parameters."""

    symbol: str | None = None


class Prices(TypedDict):
    symbol: str
    prices: list[float]


class Latest(TypedDict):
    quotes: list[Prices]


@register("stocks")
class StocksChannel(Channel):
    messages = {"price": Quote, None: Quote}
    client_events = ("price",)
    parameters_type = Selection
    select = "symbol"
    state = "keyed"

    async def can_subscribe(self, connection: Client) -> bool:
        return connection.user.is_authenticated

    async def can_publish(self, connection: Client) -> bool:
        return connection.user.is_staff

    def on_publish(self, connection: Client, payload: Quote, event: str | None) -> Quote:
        if payload.symbol in LISTED_SYMBOLS:
            remember(payload.symbol, payload.price, recent_prices()[payload.symbol])
        return payload

    @action
    def latest(self, connection: Client, payload: None) -> Latest:
        """The last prices of each symbol, for the charts of a page that opens."""
        recent = recent_prices().items()
        return {"quotes": [{"symbol": symbol, "prices": prices} for symbol, prices in recent]}
