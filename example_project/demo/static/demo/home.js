/** The home page's two charts. Its other tiles have no script: the server renders them. */
import { sparkline } from "chart";
import { call, follow } from "site";

const byId = (id) => document.getElementById(id);

/* host/metrics */

const samples = new Map();
function addSamples(...fresh) {
  for (const sample of fresh) samples.set(sample.at, sample);
  const ordered = [...samples.values()].sort((a, b) => a.at - b.at);
  for (const old of ordered.splice(0, Math.max(0, ordered.length - 120))) samples.delete(old.at);
  const last = ordered[ordered.length - 1];
  if (!last) return;
  byId("home-cpu").textContent = Math.round(last.cpu_percent);
  byId("home-memory").textContent = Math.round(last.memory_percent);
  sparkline(byId("home-cpu-chart"), ordered.map((s) => s.cpu_percent), { low: 0, high: 100 });
}
follow("host/metrics", {
  onMessage: (sample) => addSamples(sample),
  load: () => call("host/metrics", "recent"),
  onLoaded: ({ samples: recent }) => addSamples(...recent),
});

/* stocks */

const SHOWN_QUOTES = 5;
const quotes = new Map();
function addQuote({ symbol, price }) {
  const quote = quotes.get(symbol);
  if (!quote || typeof price !== "number") return;
  quote.prices.push(price);
  if (quote.prices.length > 40) quote.prices.shift();
  showQuote(quote);
}
function showQuote({ prices, spark, shown, change: changed }) {
  const price = prices[prices.length - 1];
  const change = (price / prices[0] - 1) * 100;
  const trend = change > 0 ? "up" : change < 0 ? "down" : "still";
  shown.textContent = price.toFixed(2);
  changed.textContent = `${{ up: "+", down: "−", still: "" }[trend]}${Math.abs(change).toFixed(2)} %`;
  changed.className = trend;
  spark.setAttribute("class", `spark ${trend}`);
  sparkline(spark, prices);
}
function listQuotes(all) {
  const listed = all.slice(0, SHOWN_QUOTES);
  const rows = listed.map(({ symbol, prices }) => {
    const row = document.createElement("li");
    const name = document.createElement("b");
    name.textContent = symbol;
    const spark = document.createElementNS("http://www.w3.org/2000/svg", "svg");
    spark.setAttribute("aria-hidden", "true");
    const shown = document.createElement("span");
    const change = document.createElement("span");
    row.append(name, spark, shown, change);
    quotes.set(symbol, { prices, spark, shown, change });
    return row;
  });
  byId("home-quotes").replaceChildren(...rows);
  for (const { symbol } of listed) showQuote(quotes.get(symbol));
}
follow("stocks", {
  onMessage: (quote, { state }) => state || addQuote(quote),
  load: () => call("stocks", "latest"),
  onLoaded: ({ quotes: latest }) => listQuotes(latest),
});
