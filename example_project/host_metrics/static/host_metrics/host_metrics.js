/** The charts of `host/metrics`. A call fetches the last minutes; then a sample comes each second. */
import { TimeChart, rate } from "chart";
import { call, follow, showError } from "site";

const SECONDS = 180;
const byId = (id) => document.getElementById(id);
const percent = (value) => `${Math.round(value)} %`;

const charts = [
  new TimeChart(byId("cpu-chart"), { seconds: SECONDS, series: [(s) => s.cpu_percent], high: 100, format: percent }),
  new TimeChart(byId("memory-chart"), { seconds: SECONDS, series: [(s) => s.memory_percent], high: 100, format: percent }),
  new TimeChart(byId("network-chart"), {
    seconds: SECONDS,
    series: [(s) => s.received_bytes_per_s, (s) => s.sent_bytes_per_s],
    low_high: 10 * 1024,
    format: rate,
  }),
];
/** Samples by time: one that came both by the call and by the channel counts once. */
const samples = new Map();

function show() {
  const ordered = [...samples.values()].sort((a, b) => a.at - b.at);
  for (const old of ordered.splice(0, Math.max(0, ordered.length - SECONDS))) samples.delete(old.at);
  for (const chart of charts) chart.draw(ordered);
  const last = ordered[ordered.length - 1];
  if (!last) return;
  const gigabytes = (bytes) => (bytes / 1024 ** 3).toFixed(1);
  byId("cpu").textContent = Math.round(last.cpu_percent);
  byId("memory").textContent = Math.round(last.memory_percent);
  byId("memory-detail").textContent = `${gigabytes(last.memory_used_bytes)} of ${gigabytes(last.memory_total_bytes)} GB`;
  byId("received").textContent = rate(last.received_bytes_per_s);
  byId("sent").textContent = rate(last.sent_bytes_per_s);
  byId("host-source").textContent = `The last sample is from ${last.host}, process ${last.process}.`;
  if (!byId("samples").closest("details").open) return;
  const rows = ordered.slice(-10).reverse().map((sample) => {
    const row = document.createElement("tr");
    const cells = [
      new Date(sample.at * 1000).toLocaleTimeString(),
      percent(sample.cpu_percent),
      percent(sample.memory_percent),
      rate(sample.received_bytes_per_s),
      rate(sample.sent_bytes_per_s),
    ];
    for (const text of cells) row.insertCell().textContent = text;
    return row;
  });
  byId("samples").tBodies[0].replaceChildren(...rows);
}

byId("samples").closest("details").addEventListener("toggle", show);

function add(...fresh) {
  for (const sample of fresh) samples.set(sample.at, sample);
  show();
}

follow("host/metrics", {
  onMessage: (sample) => add(sample),
  load: () => call("host/metrics", "recent"),
  onLoaded: ({ samples: recent }) => add(...recent),
  onError: (error) => showError("host-error", error),
});
