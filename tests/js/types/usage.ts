/** What a site's generated `Routes` allow and refuse; compiled by `tests/browser/test_typed_client.py`, never run. */
import type {
  AnyRoutes,
  ArgumentOf,
  ChannelName,
  EventOf,
  MessageOf,
  MethodOf,
  ParametersOf,
  PayloadOf,
  PublishableEvent,
  PublishablePayload,
  ResultOf,
} from "../../../channels_realtime/static/channels_realtime/realtime.js";
import { connect } from "../../../channels_realtime/static/channels_realtime/realtime.js";
import type { Card, Cash, Filter, Line, LineInput, NewNote, Note, Rename, Routes, StatusChanged } from "./routes.js";

type Equal<A, B> = (<T>() => T extends A ? 1 : 2) extends <T>() => T extends B ? 1 : 2 ? true : false;
declare function same<_ extends true>(): void;
declare function named(name: ChannelName<Routes>): void;
declare function order(handler: (message: MessageOf<Routes, "orders/42">) => void): void;
declare function publish<Name extends ChannelName<Routes>, Event extends PublishableEvent<Routes, Name>>(
  name: Name,
  event: Event,
  payload: PublishablePayload<Routes, Name, Event>,
): void;

// Names.
const id: number = 42;
const board: string = "a";
named("orders/42");
named(`orders/${id}`);
named(`boards/${board}/cards`);
named("files.d/a/b/c");
named("users/7");
// @ts-expect-error: no such route
named("order/42");
// @ts-expect-error: the route has a number
named("orders/last");
// @ts-expect-error: not known to be a channel
named(board);

// The route of a name: by its segments.
same<Equal<EventOf<Routes, "orders/42">, "status" | "note" | "paid" | "cleared" | "said" | "typing">>();
same<Equal<MessageOf<Routes, "boards/a/cards">, { event?: undefined; payload: Card }>>();
same<Equal<PublishableEvent<Routes, "files.d/a/b/c">, "moved" | undefined>>();
same<Equal<EventOf<Routes, `orders/${number}`>, EventOf<Routes, "orders/42">>>();

// Messages, told apart by their event.
same<Equal<PayloadOf<Routes, "orders/42", "status">, StatusChanged>>();
same<Equal<PayloadOf<Routes, "orders/42", "cleared">, null>>();
same<Equal<PayloadOf<Routes, "orders/42">, Line>>();
order((message) => {
  switch (message.event) {
    case "status":
      return message.payload.status === "paid" && message.payload.total.length;
    case "note":
      return message.payload.lines.map((line: Line) => line.pieces.toFixed());
    case "paid":
      return message.payload.type === "card" ? message.payload.last4 : (message.payload satisfies Cash);
    case undefined:
      return message.payload.productName;
  }
  // @ts-expect-error: the payload of typing has no text
  return message.payload.text;
});
// @ts-expect-error: no such event
order((message) => message.event === "stauts");
// @ts-expect-error: no such field
order((message) => message.event === "status" && message.payload.state);

// What clients publish is another type, and may leave out what has a default.
same<Equal<PublishablePayload<Routes, "orders/42", "note">, NewNote>>();
same<Equal<PublishablePayload<Routes, "orders/42">, LineInput>>();
publish("orders/42", "note", { text: "a", lines: [{ productName: "b" }] });
publish("orders/42", undefined, { productName: "b" });
// @ts-expect-error: clients do not publish it
publish("orders/42", "status", { status: "paid" });
// @ts-expect-error: a field is missing
publish("orders/42", "note", {});
// @ts-expect-error: clients publish nothing there
publish("boards/a/cards", undefined, { type: "card", last4: "1234" });

// Calls and parameters.
same<Equal<MethodOf<Routes, "orders/42">, "rename" | "anything" | "double">>();
same<Equal<ArgumentOf<Routes, "orders/42", "rename">, Rename>>();
same<Equal<ResultOf<Routes, "orders/42", "double">, number>>();
same<Equal<ResultOf<Routes, "boards/a/cards", "count-all">, { [key: string]: [number, string] }>>();
same<Equal<ArgumentOf<Routes, "orders/42", "renam">, never>>();
same<Equal<ParametersOf<Routes, "prices">, Filter | undefined>>();
same<Equal<MessageOf<Routes, "orders/1">["payload"], StatusChanged | Note | Card | Cash | null | string | Line | { name: string; since?: number }>>();

// Without a map, everything goes.
const anywhere: ChannelName<AnyRoutes> = board;
same<Equal<PayloadOf<AnyRoutes, typeof anywhere, "any">, any>>();
same<Equal<PublishablePayload<AnyRoutes, string>, any>>();
same<Equal<ArgumentOf<AnyRoutes, string, "any">, any>>();

// The client.
const client = connect<Routes>("wss://www.example.com/ws/");
client.subscribe("orders/42", (message) => {
  if (message.event === "status") return message.payload.status satisfies "paid" | "sent";
  // @ts-expect-error: a card has no text
  return message.event === "paid" && message.payload.text;
});
client.subscribe(`orders/${id}`, { parameters: { symbol: "MSFT" } });
// @ts-expect-error: no such route
client.subscribe("order/42");
// @ts-expect-error: no such parameter
client.subscribe("prices", { parameters: { simbol: "MSFT" } });
client.publish("orders/42", { text: "a" }, { event: "note" });
// @ts-expect-error: another type
client.publish("orders/42", { text: 1 }, { event: "note" });
// @ts-expect-error: clients do not publish it
client.publish("orders/42", {}, { event: "status" });
client.call("orders/42", "rename", { name: "a" }).then((line) => line.productName);
// @ts-expect-error: no such method
client.call("orders/42", "renam", { name: "a" });
// @ts-expect-error: another argument
client.call("orders/42", "double", "a");
connect().subscribe("anything", ({ payload }) => payload.anything);
