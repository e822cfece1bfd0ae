// 1,000 browser clients in one Node process: when does each try again after the server was killed?
//
//     node tests/benchmarks/reconnects.mjs <url> <clients>
//
// It is the client's own source, on Node's WebSocket. Writes "connected", then "back" once all have lost their
// connection and have one again, and then the attempts as JSON: [[client, number since the loss, lost at, delay that
// the client drew, began at]], in seconds since the first loss.

import { connect } from "../../channels_realtime/js/src/index.js";

const [url, count] = [process.argv[2], Number(process.argv[3])];
const attempts = [];
const connected = new Set();
const lost = new Set();
let began = false;

console.warn = () => {}; // After the third failed handshake each client says so.

for (let id = 0; id < count; id += 1) {
  /** @type {{number: number, at: number, delay: number} | null} */
  let waiting = null;
  class Recorded extends WebSocket {
    constructor(...parameters) {
      super(...parameters);
      if (waiting) attempts.push([id, waiting.number, waiting.at, waiting.delay, performance.now()]);
      waiting = null;
    }
  }
  const client = connect(url, { WebSocket: Recorded });
  client.on("state", (state, { attempt, nextDelay }) => {
    if (state === "connected") {
      connected.add(id);
      if (connected.size < count) return;
      if (!began) {
        began = true;
        console.log("connected");
      } else if (lost.size === count) {
        console.log("back");
        const start = attempts.reduce((least, [, , at]) => Math.min(least, at), Infinity);
        const rows = attempts.map(([client, number, at, delay, began]) => {
          return [client, number, (at - start) / 1000, delay, (began - start) / 1000];
        });
        process.stdout.write(JSON.stringify(rows) + "\n", () => process.exit());
      }
    } else if (state === "reconnecting" && began) {
      connected.delete(id);
      lost.add(id);
      waiting = { number: attempt - 1, at: performance.now(), delay: nextDelay };
    }
  });
}
