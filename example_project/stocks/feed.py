"""A random walk of the invented symbols, so that the ticker lives. It leaves the real ones alone."""

import random
import time
from typing import Any

from channels_realtime import publish_many
from demo.feed import Feed

from .quotes import STOCKS, next_price, recent_prices, remember

REST = 0.25  # how likely a price is to stay where it is for a beat


class PriceFeed(Feed):
    job = "stock-prices"
    interval_s = 2.0

    def collect(self) -> float:
        return round(time.time(), 3)

    def deliver(self, news: Any) -> None:
        recent = recent_prices()
        ticks = []
        for stock in STOCKS:
            prices = recent[stock.symbol]
            if not stock.simulated or random.random() < REST:
                continue
            price = next_price(stock, prices[-1])
            remember(stock.symbol, price, prices)
            ticks.append(("stocks", {"symbol": stock.symbol, "price": price, "at": news}))
        publish_many(ticks, event="price")
