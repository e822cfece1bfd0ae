/** Other people's clients, as their documentation says to use them. `heard` has what each was sent, by its name. */
import { useWebSocket } from "@vueuse/core";
import ReconnectingWebSocket from "reconnecting-websocket";
import { repeat, retry } from "rxjs";
import { webSocket } from "rxjs/webSocket";
import { effectScope } from "vue";

const CHANNEL = "public/others";
const DELAY_MS = 300; // so that the test need not wait
const url = `ws://${location.host}/ws/`;
const subscribe = { type: "subscribe", channel: CHANNEL };

/** Opens each client. @param {Record<string, any[]>} heard */
export function start(heard) {
  const hear = (name, payload) => (heard[name] ??= []).push(payload);

  /** Subscribes on `welcome`. Returns what a frame tells the page. */
  const speak = (name, send) => (data) => {
    const message = JSON.parse(data);
    if (message.type === "welcome") send?.(JSON.stringify(subscribe));
    if (message.type === "subscribed") hear(name, "subscribed");
    if (message.type === "message") hear(name, message.payload);
  };

  function plain() {
    const socket = new WebSocket(url);
    const take = speak("WebSocket", (text) => socket.send(text));
    socket.onmessage = ({ data }) => take(data);
    socket.onclose = ({ code }) => {
      if (code !== 1008 && code < 4000) setTimeout(plain, DELAY_MS);
    };
  }
  plain();

  const reconnecting = new ReconnectingWebSocket(url, [], { minReconnectionDelay: DELAY_MS, maxReconnectionDelay: 1000 });
  const take = speak("reconnecting-websocket", (text) => reconnecting.send(text));
  reconnecting.onmessage = ({ data }) => take(data);

  // `retry` after the connection was lost, `repeat` after a close, which completes it.
  webSocket(url)
    .multiplex(
      () => subscribe,
      () => ({ ...subscribe, type: "unsubscribe" }),
      ({ channel }) => channel === CHANNEL,
    )
    .pipe(retry({ delay: DELAY_MS }), repeat({ delay: DELAY_MS }))
    .subscribe(({ type, payload }) => hear("rxjs", type === "subscribed" ? type : payload));

  effectScope().run(() => {
    const { send } = useWebSocket(url, {
      autoReconnect: { delay: DELAY_MS },
      heartbeat: { message: "ping", responseMessage: "pong", pongTimeout: 5000 },
      onMessage: (_, { data }) => said(data),
    });
    const said = speak("vueuse", send);
  });

  const events = new EventSource("/realtime/sse/?channel=kept/others"); // it keeps the cursor, and comes back with it
  const listen = speak("EventSource");
  events.onmessage = ({ data }) => listen(data);
}
