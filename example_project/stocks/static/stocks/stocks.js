/** The ticker: one subscription for each symbol, so that the server sends no prices of others. */
import { sparkline } from "chart";
import { call, clearError, follow, publish, showError } from "site";

const MAX_PRICES = 40;

class Tile {
  constructor(node) {
    this.node = node;
    this.symbol = node.dataset.symbol;
    this.opening = Number(node.dataset.opening);
    this.prices = [];
    this.subscription = null;
    this.switch = node.querySelector("input");
    this.switch.addEventListener("change", () => this.follow(this.switch.checked));
    this.follow(true);
  }

  follow(wanted) {
    this.node.classList.toggle("off", !wanted);
    this.subscription?.end();
    this.subscription = wanted
      ? follow("stocks", {
          parameters: { symbol: this.symbol },
          select: "symbol",
          load: latest,
          onLoaded: ({ quotes }) => this.showEarlier(quotes.find(({ symbol }) => symbol === this.symbol).prices),
          onMessage: (quote, { state }) => this.receive(quote.price, state === true),
          onError: (error) => showError("publish-error", error),
        })
      : null;
  }

  /** The newest price comes first, as the channel's state; it may be on the chart already. */
  receive(price, state) {
    if (state && price === this.prices[this.prices.length - 1]) return;
    this.show(price);
  }

  showEarlier(prices) {
    this.prices = prices.slice(0, -1);
    this.show(prices[prices.length - 1]);
  }

  show(price) {
    if (typeof price !== "number") return;
    const before = this.prices[this.prices.length - 1];
    this.prices.push(price);
    if (this.prices.length > MAX_PRICES) this.prices.shift();
    const shown = this.node.querySelector("[data-price]");
    shown.textContent = price.toFixed(2);
    if (before !== undefined && before !== price) {
      shown.classList.remove("tick-up", "tick-down");
      void shown.offsetWidth; // restart the animation
      shown.classList.add(price > before ? "tick-up" : "tick-down");
    }
    const change = ((price - this.opening) / this.opening) * 100;
    const trend = change > 0 ? "up" : change < 0 ? "down" : "still";
    const sign = { up: "▲ +", down: "▼ −", still: "" }[trend];
    const changed = this.node.querySelector("[data-change]");
    changed.textContent = `${sign}${Math.abs(change).toFixed(2)} %`;
    changed.className = trend;
    const spark = this.node.querySelector(".spark");
    spark.setAttribute("class", `spark ${trend}`);
    sparkline(spark, this.prices);
  }
}

/** The last prices of all symbols: one call for the tiles that ask at the same time. */
let asked = null;
function latest() {
  asked ??= call("stocks", "latest").finally(() => (asked = null));
  return asked;
}

for (const node of document.querySelectorAll(".stock")) new Tile(node);

const form = document.querySelector("#publish");
const done = document.querySelector("#publish-done");
form.addEventListener("submit", async (event) => {
  event.preventDefault();
  const symbol = form.elements.symbol.value;
  const price = Number(form.elements.price.value);
  done.hidden = true;
  try {
    // Not later: a price is old soon.
    await publish("stocks", { symbol, price }, { stateKey: symbol, whenDisconnected: "reject" });
    clearError("publish-error");
    done.textContent = `Published: ${symbol} at ${price.toFixed(2)}.`;
    done.hidden = false;
  } catch (error) {
    showError("publish-error", error, "Not published");
  }
});
