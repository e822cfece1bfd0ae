import type { Message } from "./typedefs.js";

/**
 * What a site's channels carry, by route: `manage.py realtime_schema --format typescript` writes an
 * interface `Routes` of it, and `connect<Routes>()` types `client.subscribe("orders/42", …)` with it.
 *
 *     export interface Routes {
 *       "orders/<int:order_id>": {
 *         name: `orders/${number}`;
 *         messages: { event: "status"; payload: StatusChanged } | { event?: undefined; payload: Note };
 *         publish: { event: "note"; payload: NewNote };
 *         actions: { rename: { payload: Rename; result: Order } };
 *         parameters: OrderParameters | undefined;
 *       };
 *     }
 *
 * A class that declares nothing has `AnyMessage` for messages and publications, and `any` elsewhere.
 */
export interface Route {
  /** The names of the route's channels. `${string}` stands for one segment, unless `path` is true. */
  name: string;
  /** Whether the last `${string}` of `name` may contain slashes. */
  path?: true;
  /** What subscribers get, told apart by `event`. */
  messages: AnyMessage;
  /** What clients may publish, told apart by `event`; `never` where they may not. */
  publish: AnyMessage;
  /** The methods that clients may call. */
  actions: { [method: string]: { payload: any; result: any } };
  /** The parameters of a `subscribe`; `undefined` is in it where they may be left out. */
  parameters: any;
}

/** A message of a channel that declares no types. */
export interface AnyMessage {
  event?: string | undefined;
  payload?: any;
}

/** The default of `RealtimeClient` and `connect`: every name, any payload. */
export interface AnyRoutes {
  "": {
    name: string;
    path: true;
    messages: AnyMessage;
    publish: AnyMessage;
    actions: { [method: string]: { payload: any; result: any } };
    parameters: any;
  };
}

/**
 * Where a site says its routes once, for the hooks:
 *
 *     declare module "channels-realtime" {
 *       interface Register { routes: Routes }
 *     }
 */
export interface Register {}

/** What is registered, or else every name. */
export type RegisteredRoutes = Register extends { routes: infer Routes } ? Routes : AnyRoutes;

/** The names of the channels of all routes. */
export type ChannelName<Routes> = {
  [Pattern in keyof Routes]: Routes[Pattern] extends { name: infer Name extends string } ? Name : never;
}[keyof Routes];

/** The route of a channel's name: a union where several match. */
export type RouteOf<Routes, Name extends string> = {
  [Pattern in keyof Routes]: Routes[Pattern] extends Route ? IfMatches<Routes[Pattern], Name> : never;
}[keyof Routes];

type IfMatches<Found extends Route, Name extends string> = Name extends Found["name"]
  ? Found extends { path: true }
    ? Found
    : Slashes<Name> extends Slashes<Found["name"]>
      ? Found
      : never
  : never;

type Slashes<Name extends string> = Name extends `${string}/${infer Rest}` ? ["/", ...Slashes<Rest>] : [];

/** What subscribers of a channel get. */
export type MessageOf<Routes, Name extends string> = RouteOf<Routes, Name>["messages"];

/** A message of a channel as a page gets it: what the class declares, in a `Message`. */
export type MessageFrom<Routes, Name extends string> = Received<MessageOf<Routes, Name>>;

type Received<Declared> = Declared extends AnyMessage
  ? Omit<Message, "event" | "payload"> & Declared & { payload: Declared["payload"] }
  : never;

/** The names of a channel's events. */
export type EventOf<Routes, Name extends string> = NonNullable<MessageOf<Routes, Name>["event"]>;

/** The payload of a channel's messages with an event; without one, of those that have none. */
export type PayloadOf<Routes, Name extends string, Event extends string | undefined = undefined> =
  PayloadIn<MessageOf<Routes, Name>, Event>;

/** The events that clients may publish to a channel; `undefined` stands for none. */
export type PublishableEvent<Routes, Name extends string> = RouteOf<Routes, Name>["publish"]["event"];

/** The payload that clients may publish to a channel with an event. */
export type PublishablePayload<Routes, Name extends string, Event extends string | undefined = undefined> =
  PayloadIn<RouteOf<Routes, Name>["publish"], Event>;

type PayloadIn<Messages, Event> = Messages extends AnyMessage
  ? Event extends Messages["event"]
    ? Messages["payload"]
    : never
  : never;

/** The methods of a channel. */
export type MethodOf<Routes, Name extends string> = keyof RouteOf<Routes, Name>["actions"] & string;

/** The payload of a call. */
export type ArgumentOf<Routes, Name extends string, Method> =
  Method extends keyof RouteOf<Routes, Name>["actions"] ? RouteOf<Routes, Name>["actions"][Method]["payload"] : never;

/** The result of a call. */
export type ResultOf<Routes, Name extends string, Method> =
  Method extends keyof RouteOf<Routes, Name>["actions"] ? RouteOf<Routes, Name>["actions"][Method]["result"] : never;

/** The parameters of a channel. */
export type ParametersOf<Routes, Name extends string> = RouteOf<Routes, Name>["parameters"];
