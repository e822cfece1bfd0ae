/** Small SVG charts without a library. The style sheet sets the colours. */

const SVG = "http://www.w3.org/2000/svg";

function element(name, attributes = {}, text = "") {
  const node = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  if (text) node.textContent = text;
  return node;
}

const path = (points) =>
  points.map(([x, y], i) => `${i ? "L" : "M"}${x.toFixed(1)} ${y.toFixed(1)}`).join("");

/** Draw the values as a line with a filled area below; it uses the whole element. */
export function sparkline(svg, values, { low = null, high = null } = {}) {
  const width = svg.clientWidth || 200;
  const height = svg.clientHeight || 40;
  svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
  svg.replaceChildren();
  if (!values.length) return;
  if (values.length === 1) values = [values[0], values[0]];
  let bottom = low ?? Math.min(...values);
  let span = (high ?? Math.max(...values)) - bottom;
  if (!span) [bottom, span] = [bottom - 1, 2]; // all values are equal: a line in the middle
  const points = values.map((value, i) => [
    (i / (values.length - 1)) * width,
    height - 3 - ((value - bottom) / span) * (height - 6),
  ]);
  svg.append(
    element("path", { class: "plot-area", d: `${path(points)}L${width} ${height}L0 ${height}Z` }),
    element("path", { class: "plot-line", d: path(points) }),
  );
}

/**
 * A chart of the last minutes. The right edge is now.
 *
 * @param {SVGElement} svg
 * @param {{seconds: number, series: ((sample: object) => number)[], high?: number,
 *   low_high?: number, format: (value: number) => string}} options
 *   `high`: the top of the scale. Without it the scale follows the values, and is at least `low_high`.
 */
export class TimeChart {
  constructor(svg, { seconds, series, high = null, low_high = 1, format }) {
    Object.assign(this, { svg, seconds, series, high, low_high, format, samples: [] });
    new ResizeObserver(() => this.draw(this.samples)).observe(svg);
  }

  /** @param {{at: number}[]} samples oldest first */
  draw(samples) {
    this.samples = samples;
    const width = this.svg.clientWidth;
    const height = this.svg.clientHeight;
    if (!width || !height) return;
    this.svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
    const now = samples.length ? samples[samples.length - 1].at : 0;
    const seen = samples.filter((sample) => now - sample.at <= this.seconds);
    const high = this.high ?? scale(Math.max(this.low_high, ...seen.flatMap((s) => this.series.map((f) => f(s)))));
    const labels = [0, 0.5, 1].map((part) => this.format(part * high));
    // A letter is about seven pixels wide at this size.
    const left = 14 + 6.6 * Math.max(...labels.map((label) => label.length));
    const [right, top, bottom] = [width - 8, 10, height - 22];
    const x = (at) => right - ((now - at) / this.seconds) * (right - left);
    const y = (value) => bottom - (Math.min(value, high) / high) * (bottom - top);

    const nodes = [0, 0.5, 1].flatMap((part, index) => [
      element("line", { class: "plot-grid", x1: left, x2: right, y1: y(part * high), y2: y(part * high) }),
      element("text", { class: "plot-text", x: left - 8, y: y(part * high) + 4, "text-anchor": "end" }, labels[index]),
    ]);
    const minutes = Math.round(this.seconds / 60);
    for (let minute = 0; minute <= minutes; minute += 1) {
      const at = right - (minute / minutes) * (right - left);
      const anchor = minute === 0 ? "end" : minute === minutes ? "start" : "middle";
      nodes.push(element("text", { class: "plot-text", x: at, y: height - 5, "text-anchor": anchor }, minute ? `−${minute} min` : "now"));
    }
    this.series.forEach((value, index) => {
      const points = seen.map((sample) => [x(sample.at), y(value(sample))]);
      if (!points.length) return;
      const group = element("g", { class: `series-${index + 1}` });
      // Five seconds without a sample (the feed did not run) are shown as a gap.
      let start = 0;
      for (let i = 1; i <= points.length; i += 1) {
        if (i < points.length && seen[i].at - seen[i - 1].at < 5) continue;
        const run = points.slice(start, i);
        const close = `L${run[run.length - 1][0].toFixed(1)} ${bottom}L${run[0][0].toFixed(1)} ${bottom}Z`;
        group.append(
          element("path", { class: "plot-area", d: path(run) + close }),
          element("path", { class: "plot-line", d: path(run) }),
        );
        start = i;
      }
      const [endX, endY] = points[points.length - 1];
      group.append(element("circle", { class: "plot-end", cx: endX, cy: endY, r: 4 }));
      nodes.push(group);
    });
    this.svg.replaceChildren(...nodes);
  }
}

/** The next round number: 1, 2 or 5 times a power of 1024 or of 10. */
function scale(value) {
  const unit = value >= 1024 ** 2 ? 1024 ** 2 : value >= 1024 ? 1024 : 1;
  const scaled = value / unit;
  const power = 10 ** Math.floor(Math.log10(scaled));
  return unit * power * [1, 2, 5, 10].find((step) => step * power >= scaled);
}

/** 1536 as "1.5 kB/s". */
export function rate(bytes) {
  for (const [unit, size] of [["GB", 1024 ** 3], ["MB", 1024 ** 2], ["kB", 1024]]) {
    if (bytes >= size) return `${trim(bytes / size)} ${unit}/s`;
  }
  return `${Math.round(bytes)} B/s`;
}

const trim = (number) => (number >= 10 || Number.isInteger(number) ? number.toFixed(0) : number.toFixed(1));
