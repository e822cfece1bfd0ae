"""`stocks`: prices. A subscriber may select a symbol: {"payload": {"symbol": "AAPL"}}. Staff may publish.

The newest price of each symbol is the channel's state, under the symbol as its key: a new subscriber gets it first.
"""

import math
from typing import Any

from channels_realtime import Channel, Client, action, register
from channels_realtime.errors import BadPayload

from .quotes import STOCKS, recent_prices, remember

LISTED_SYMBOLS = frozenset(stock.symbol for stock in STOCKS)


@register("stocks")
class StocksChannel(Channel):
    select = "symbol"
    state = "keyed"
    client_events = ("price",)

    async def can_subscribe(self, connection: Client) -> bool:
        return connection.user.is_authenticated

    async def can_publish(self, connection: Client) -> bool:
        return connection.user.is_staff

    def on_publish(self, connection: Client, payload: Any, event: str | None) -> Any:
        """Validate {"symbol": "AAPL", "price": 178.4}; the price may be missing, and more keys are allowed."""
        symbol = payload.get("symbol") if isinstance(payload, dict) else None
        if not isinstance(symbol, str) or not symbol:
            raise BadPayload('`symbol` is missing; expected {"symbol": "AAPL", "price": 178.4}.')
        price = payload.get("price")
        if price is None:
            return payload
        if (
            isinstance(price, bool)
            or not isinstance(price, int | float)
            or not math.isfinite(price)
        ):
            raise BadPayload("`price` must be a number.")
        if symbol in LISTED_SYMBOLS:
            remember(symbol, price, recent_prices()[symbol])
        return payload

    @action
    def latest(self, connection: Client, payload: Any) -> dict[str, Any]:
        """The last prices of each symbol, for the charts of a page that opens."""
        recent = recent_prices().items()
        return {"quotes": [{"symbol": symbol, "prices": prices} for symbol, prices in recent]}
