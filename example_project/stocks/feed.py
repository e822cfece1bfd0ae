"""Moves the prices of the invented symbols at random and publishes them to `stocks`."""

import random
import time

from channels_realtime import publish

from .quotes import STOCKS, Quote, next_price, recent_prices, remember

UNCHANGED_PROBABILITY = 0.25


class PriceFeed:
    interval_s = 2.0

    def publish(self) -> None:
        at = round(time.time(), 3)
        recent = recent_prices()
        for stock in STOCKS:
            if not stock.simulated or random.random() < UNCHANGED_PROBABILITY:
                continue
            prices = recent[stock.symbol]
            price = next_price(stock, prices[-1])
            remember(stock.symbol, price, prices)
            quote = Quote(symbol=stock.symbol, price=price, at=at)
            publish("stocks", quote, event="price", state_key=stock.symbol)
