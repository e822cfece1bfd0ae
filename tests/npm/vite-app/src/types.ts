/** What the types of the routes allow, and what they refuse. `tsc` compiles it; nothing runs it. */
import { connect, RealtimeClient, RealtimeError, type Message, type SubscriptionOptions } from "channels-realtime";
import { RealtimeChannel } from "channels-realtime/elements";

import type { Routes } from "./routes";

export async function typed(client: RealtimeClient<Routes> = connect<Routes>("/ws/")) {
  const subscription = client.subscribe("public/a", (message) => {
    if (message.event === "typing") message.payload.name satisfies string;
    else message.payload.text satisfies string;
    message.offset satisfies number | undefined;
  });
  for await (const { payload } of subscription) payload satisfies { name: string } | { text: string };
  await client.publish("public/a", { text: "hello" }, { key: "1" });
  (await client.call("public/a", "echo", "hello")) satisfies string;
  // @ts-expect-error: there is no such route
  client.subscribe("publik/a");
  // @ts-expect-error: another payload
  client.publish("public/a", { txt: "hello" });
  // @ts-expect-error: clients may not publish this event
  client.publish("public/a", { name: "me" }, { event: "typing" });
  // @ts-expect-error: there is no such method
  client.call("public/a", "ecko", "hello");
}

export function untyped(client: RealtimeClient = connect()) {
  const options: SubscriptionOptions = { presence: true, onMessage: (message: Message) => message.payload.anything };
  client.subscribe("any/name", options).on("error", (error) => error satisfies RealtimeError);
  client.publish("any/name", { any: "thing" }, { event: "any" });
  // @ts-expect-error: a misspelt option
  client.subscribe("any/name", { onMesage: console.log });
  // @ts-expect-error: what is internal is not declared
  client._handle({});
}

export function element(found: Element | null) {
  if (found instanceof RealtimeChannel) found.getAttribute("name") satisfies string | null;
}
