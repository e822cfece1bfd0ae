/*! channels_realtime 0.1.0-dev.0 | MIT license */
export const PROTOCOL: "realtime.v1.json";
/** Why a request or a subscription failed. */
export class RealtimeError extends Error {
	/**
	 * @param {string} code  From the wire, or one of the client's own: `disconnected`, `connection_lost`, `queue_full`,
	 *   `closed`, `unsubscribed`, `overflow`, `token_unavailable`, `load_failed`.
	 * @param {string} reason
	 * @param {{payload?: any, channel?: string, request?: string, cause?: unknown}} [context]
	 */
	constructor(code: string, reason: string, { payload, channel, request, cause }?: {
		payload?: any;
		channel?: string;
		request?: string;
		cause?: unknown;
	});
	code: string;
	reason: string;
	/** @type {number | null} Seconds to wait before trying again, if the server sent them. */
	retryAfter: number | null;
	payload: any;
	channel: string | undefined;
	request: string | undefined;
}
/**
 * A position in a channel's history.
 */
export type Position = {
	epoch: string;
	offset: number;
};
export type State = "idle" | "connecting" | "connected" | "reconnecting" | "unauthenticated" | "closed";
export type StateDetail = {
	/**
	 * Attempts since the last `welcome`, from 1 ("connecting", "reconnecting").
	 */
	attempt?: number | undefined;
	/**
	 * Seconds until the attempt ("reconnecting"); null while getToken is awaited.
	 */
	nextDelay?: number | null | undefined;
	/**
	 * The close code that caused this state.
	 */
	code?: number | undefined;
	reason?: string | undefined;
};
/**
 * A publication as received. Unknown fields are kept.
 */
export type Message = {
	/**
	 * Absent on a notice.
	 */
	channel: string;
	payload: any;
	event?: string | undefined;
	epoch?: string | undefined;
	offset?: number | undefined;
	/**
	 * Set by the server from the publisher's identity.
	 */
	sender?: any;
	/**
	 * True if it was missed and is replayed.
	 */
	recovered?: boolean | undefined;
	/**
	 * In a channel of versions.
	 */
	version?: number | undefined;
	/**
	 * In a channel with keyed state: the key that this is the newest message of.
	 */
	state_key?: string | undefined;
	/**
	 * True if it ends the state of its key.
	 */
	removed?: boolean | undefined;
	/**
	 * True if it is part of the state that a new subscriber gets first.
	 */
	state?: boolean | undefined;
};
export type Member = {
	id: string;
	user: string | null;
	info: any;
};
/**
 * `count` is of all; large channels send only some members.
 */
export type Members = {
	members: Member[];
	count: number;
};
export type SubscribedPayload = Partial<Position> & Partial<Members> & {
	recovered?: boolean;
};
/**
 * False: messages may be missing; load the state again.
 */
export type Recovery = {
	recovered: boolean;
} & Partial<Position>;
export type Ending = {
	code: string;
	reason: string;
};
export type PublishedPayload = {
	epoch?: string;
	offset?: number;
	duplicate?: boolean;
};
export type HistoryOptions = {
	since?: PositionLike;
	limit?: number;
	reverse?: boolean;
} & RequestOptions;
/**
 * A position, or its JSON text as a template writes it.
 */
export type PositionLike = Position | string | null;
/**
 * The position is where to go on from, as `since`.
 */
type History$1<Told = Message> = {
	messages: Told[];
} & Position;
export type PublishOptions<Event extends string | undefined = string | undefined> = {
	event?: Event | undefined;
	/**
	 * Makes a repetition safe: a second publication with it is not published again.
	 */
	key?: string | undefined;
	/**
	 * False: everybody gets it but this connection (true).
	 */
	echo?: boolean | undefined;
	/**
	 * True: not kept, for notices such as "is typing".
	 */
	transient?: boolean | undefined;
	/**
	 * In a channel of versions: an older one is dropped.
	 */
	version?: number | undefined;
	/**
	 * In a channel with keyed state.
	 */
	stateKey?: string | undefined;
	/**
	 * Ends the state of `stateKey`.
	 */
	removed?: boolean | undefined;
	/**
	 * Only if the key is new or has that version; else `conflict`.
	 */
	onlyIf?: {
		new: true;
	} | {
		version: number;
	} | undefined;
};
export type SubscriptionOptions<Told = Message, Parameters = any> = {
	/**
	 * The payload of `subscribe`; the channel may filter by them.
	 */
	parameters?: Parameters | undefined;
	/**
	 * The channel class's `select`: the field to filter by. Needed only with several
	 * subscriptions with different parameters on one channel: without it, each of them gets the messages of all.
	 */
	select?: string | undefined;
	/**
	 * The position of what the page already has: what followed comes first.
	 */
	since?: PositionLike | undefined;
	/**
	 * Fetches the state, at the first subscribe without `since`
	 * and whenever messages may be missing. Live messages are held until then. Where its result has a `position`, those up
	 * to there are dropped.
	 */
	load?: ((context: {
		signal: AbortSignal;
	}) => any) | undefined;
	/**
	 * End it with `not_recoverable` where messages may be missing (false).
	 */
	requireRecovery?: boolean | undefined;
	/**
	 * Ask for the members, and hear who joins and leaves (false).
	 */
	presence?: boolean | undefined;
	/**
	 * Acknowledge each message once its listeners are done, or the loop asks for the next (false).
	 */
	ack?: boolean | undefined;
	/**
	 * Take the messages by a `for await` loop over the subscription, from the subscribe on (false).
	 */
	iterate?: boolean | undefined;
	/**
	 * How many messages are buffered for a slow `for await` loop (1000). When it is full,
	 * the oldest is dropped and counted in `dropped`. As many are held for `load`; beyond it the state is loaded again.
	 */
	bufferSize?: number | undefined;
	onMessage?: ((message: Told) => any) | undefined;
	onSubscribed?: ((payload: SubscribedPayload) => void) | undefined;
	onRecovered?: ((recovery: Recovery) => void) | undefined;
	/**
	 * Gets what `load` returned, right before the messages that follow it.
	 */
	onLoaded?: ((state: any) => void) | undefined;
	/**
	 * After each change.
	 */
	onMembers?: ((members: Map<string, Member>, count: number) => void) | undefined;
	onJoin?: ((member: Member) => void) | undefined;
	onLeave?: ((member: Member) => void) | undefined;
	onUnsubscribed?: ((ending: Ending) => void) | undefined;
	onError?: ((error: RealtimeError) => void) | undefined;
};
export type RequestOptions = {
	/**
	 * From the call to the reply, including the wait for a connection.
	 */
	timeoutSeconds?: number | undefined;
	whenDisconnected?: "wait" | "reject" | undefined;
};
export type TokenReason = "required" | "expiring" | "refused" | "anonymous";
export type Timing = {
	later: (seconds: number, callback: () => void) => any;
	cancel: (handle: any) => void;
	/**
	 * With jitter, in seconds.
	 */
	delay: (failures: number, wait: number) => number;
};
export type Timers = {
	setTimeout: (callback: () => void, milliseconds: number) => any;
	clearTimeout: (handle: any) => void;
};
export type ClientOptions = {
	/**
	 * Returns a JWT,
	 * or null if no user is logged in.
	 */
	getToken?: ((context: {
		reason: TokenReason;
	}) => (string | null | Promise<string | null>)) | undefined;
	/**
	 * The longest first delay (1); doubled with each attempt.
	 */
	backoffBaseSeconds?: number | undefined;
	/**
	 * The longest delay (30).
	 */
	backoffCapSeconds?: number | undefined;
	/**
	 * From connecting to `welcome` (20).
	 */
	connectTimeoutSeconds?: number | undefined;
	/**
	 * The default for requests (35: longer than the server's HOOK_TIMEOUT).
	 */
	requestTimeoutSeconds?: number | undefined;
	/**
	 * What requests do without connection ("wait").
	 */
	whenDisconnected?: "wait" | "reject" | undefined;
	/**
	 * The most unanswered requests (500); others get `queue_full`.
	 */
	maxPendingRequests?: number | undefined;
	/**
	 * The most bytes of publications that wait for a connection (1,000,000); others get `queue_full`.
	 */
	maxQueuedBytes?: number | undefined;
	/**
	 * How long a publication waits for a connection (120).
	 */
	maxQueueSeconds?: number | undefined;
	/**
	 * Send the requests of one task in one frame (true).
	 */
	batch?: boolean | undefined;
	/**
	 * Of the frames ("json").
	 */
	format?: "json" | "msgpack" | undefined;
	/**
	 * One connection for all tabs of the site (false).
	 */
	shareConnection?: boolean | undefined;
	/**
	 * Tabs with another key do not share. Who is signed in; needed with `getToken`, and without a CSRF token.
	 */
	shareKey?: string | undefined;
	/**
	 * What may be used (all). The WebSocket comes first, the others
	 * in their order.
	 */
	transports?: ("websocket" | "sse" | "polling")[] | undefined;
	/**
	 * The base of the server's HTTP views. Without it, as the page says.
	 */
	httpUrl?: string | URL | undefined;
	WebSocket?: (new (url: string, protocols: string[]) => any) | undefined;
	fetch?: typeof fetch | undefined;
	timers?: Timers | undefined;
	/**
	 * In [0, 1).
	 */
	random?: (() => number) | undefined;
	/**
	 * Gets `online`, `pageshow` and `visibilitychange` (the window).
	 */
	wakeTarget?: EventTarget | undefined;
};
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
	actions: {
		[method: string]: {
			payload: any;
			result: any;
		};
	};
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
		actions: {
			[method: string]: {
				payload: any;
				result: any;
			};
		};
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
export interface Register {
}
/** What is registered, or else every name. */
export type RegisteredRoutes = Register extends {
	routes: infer Routes;
} ? Routes : AnyRoutes;
/** The names of the channels of all routes. */
export type ChannelName<Routes> = {
	[Pattern in keyof Routes]: Routes[Pattern] extends {
		name: infer Name extends string;
	} ? Name : never;
}[keyof Routes];
/** The route of a channel's name: a union where several match. */
export type RouteOf<Routes, Name extends string> = {
	[Pattern in keyof Routes]: Routes[Pattern] extends Route ? IfMatches<Routes[Pattern], Name> : never;
}[keyof Routes];
export type IfMatches<Found extends Route, Name extends string> = Name extends Found["name"] ? Found extends {
	path: true;
} ? Found : Slashes<Name> extends Slashes<Found["name"]> ? Found : never : never;
export type Slashes<Name extends string> = Name extends `${string}/${infer Rest}` ? [
	"/",
	...Slashes<Rest>
] : [
];
/** What subscribers of a channel get. */
export type MessageOf<Routes, Name extends string> = RouteOf<Routes, Name>["messages"];
/** A message of a channel as a page gets it: what the class declares, in a `Message`. */
export type MessageFrom<Routes, Name extends string> = Received<MessageOf<Routes, Name>>;
export type Received<Declared> = Declared extends AnyMessage ? Omit<Message, "event" | "payload"> & Declared & {
	payload: Declared["payload"];
} : never;
/** The names of a channel's events. */
export type EventOf<Routes, Name extends string> = NonNullable<MessageOf<Routes, Name>["event"]>;
/** The payload of a channel's messages with an event; without one, of those that have none. */
export type PayloadOf<Routes, Name extends string, Event extends string | undefined = undefined> = PayloadIn<MessageOf<Routes, Name>, Event>;
/** The events that clients may publish to a channel; `undefined` stands for none. */
export type PublishableEvent<Routes, Name extends string> = RouteOf<Routes, Name>["publish"]["event"];
/** The payload that clients may publish to a channel with an event. */
export type PublishablePayload<Routes, Name extends string, Event extends string | undefined = undefined> = PayloadIn<RouteOf<Routes, Name>["publish"], Event>;
export type PayloadIn<Messages, Event> = Messages extends AnyMessage ? Event extends Messages["event"] ? Messages["payload"] : never : never;
/** The methods of a channel. */
export type MethodOf<Routes, Name extends string> = keyof RouteOf<Routes, Name>["actions"] & string;
/** The payload of a call. */
export type ArgumentOf<Routes, Name extends string, Method> = Method extends keyof RouteOf<Routes, Name>["actions"] ? RouteOf<Routes, Name>["actions"][Method]["payload"] : never;
/** The result of a call. */
export type ResultOf<Routes, Name extends string, Method> = Method extends keyof RouteOf<Routes, Name>["actions"] ? RouteOf<Routes, Name>["actions"][Method]["result"] : never;
/** The parameters of a channel. */
export type ParametersOf<Routes, Name extends string> = RouteOf<Routes, Name>["parameters"];
declare class Emitter<Events extends Record<string, any[]>> {
	/**
	 * @param {string[]} events  Their names.
	 * @param {boolean} [named]  Whether any other name is that of publications: `status` stands for `event:status`.
	 */
	constructor(events: string[], named?: boolean);
	/**
	 * @template {keyof Events} Name
	 * @param {Name} event
	 * @param {(...args: Events[Name]) => any} listener
	 * @returns {() => void}  Removes the listener.
	 */
	on<Name extends keyof Events>(event: Name, listener: (...args: Events[Name]) => any): () => void;
	/**
	 * @template {keyof Events} Name
	 * @param {Name} event
	 * @param {(...args: Events[Name]) => any} listener
	 */
	off<Name extends keyof Events>(event: Name, listener: (...args: Events[Name]) => any): void;
	#private;
}
/**
 * The subscription of one caller. All with the same channel and parameters share one subscription on the wire.
 *
 * Messages go to the `message` listeners and to a `for await` loop over the subscription. Without a listener, all
 * messages are buffered, so that none is lost before the loop begins. With a listener, buffering starts with the loop.
 * Leaving the loop (break, return, throw) unsubscribes.
 *
 * @template [Told=Message]  Its messages.
 * @extends {Emitter<SubscriptionEvents<Told>>}
 */
export class Subscription<Told = Message> extends Emitter<SubscriptionEvents<Told>> {
	private constructor();
	channel: string;
	parameters: any;
	/** How many messages were dropped because the buffer was full. */
	dropped: number;
	/** Whether it has ended: unsubscribed, refused, ended by the server, or because the client was closed. */
	ended: boolean;
	/** Resolves with the first `subscribed` payload. Rejects if it is refused; stays pending without a connection. */
	get ready(): Promise<SubscribedPayload>;
	/** With `presence: true`: the channel's members by their id. Of a large channel, the server sends only some. */
	get members(): Map<string, Member>;
	/** With `presence: true`: how many members there are; null until it is known. */
	get count(): number | null;
	/** In a channel with state: the newest message of each state key; of a last-value channel that of the key "". @returns {Map<string, Told>} */
	get values(): Map<string, Told>;
	/** @param {RequestOptions} [options] @returns {Promise<Members>} Who is on the channel, without a subscription to it. */
	presence(options?: RequestOptions): Promise<Members>;
	/** @param {HistoryOptions} [options] @returns {Promise<History>} */
	history(options?: HistoryOptions): Promise<History$1>;
	/** Acknowledges a message, and all before it, without the option `ack`. @param {Told | Position} message */
	ack(message: Told | Position): void;
	/** Tells the others that this user is typing: `on("typing", …)`. At most every 3 seconds. @param {any} [payload] */
	typing(payload?: any): void;
	/** Unsubscribes at once. Resolves when the server has answered, if a request was needed. Never rejects. */
	unsubscribe(): Promise<void>;
	/** @returns {Promise<IteratorResult<Told>>} */
	next(): Promise<IteratorResult<Told>>;
	/** @returns {Promise<IteratorResult<Told>>} */
	return(): Promise<IteratorResult<Told>>;
	[Symbol.asyncIterator](): this;
	#private;
}
export type SubscriptionEvents<Told = Message> = {
	message: [
		Told
	];
	subscribed: [
		SubscribedPayload
	];
	recovered: [
		Recovery
	];
	loaded: [
		any
	];
	members: [
		Map<string, Member>,
		number
	];
	join: [
		Member
	];
	leave: [
		Member
	];
	unsubscribed: [
		Ending
	];
	error: [
		RealtimeError
	];
} & {
	[event: string]: any[];
};
export type PageConfiguration = {
	url?: string;
	http?: string;
	csrfToken?: string;
	csrfHeader?: string;
};
/**
 * The connection of a page: connects, authenticates, keeps it alive, reconnects and subscribes again.
 *
 * Names that begin with an underscore are for the other modules: `connection.js` opens and watches the socket,
 * `requests.js` sends, `session.js` resumes after a reconnect, and `channels.js` subscribes and receives.
 *
 * @template [Routes=AnyRoutes]  The types of the site's channels, as `manage.py realtime_schema` writes them.
 * @extends {Emitter<{state: [State, StateDetail], message: [Message], notice: [Message], channel: [string, boolean],
 *   error: [RealtimeError]}>}
 */
export class RealtimeClient<Routes = AnyRoutes> extends Emitter<{
	state: [
		State,
		StateDetail
	];
	message: [
		Message
	];
	notice: [
		Message
	];
	channel: [
		string,
		boolean
	];
	error: [
		RealtimeError
	];
}> {
	/**
	 * @param {string | URL | null} [url]  Relative to the page; http and https become ws and wss. Without it, the address
	 *   in the page's configuration or its `<meta name="realtime-url">`, or else `/ws/`.
	 * @param {ClientOptions} [options]
	 * @param {import("./page.js").PageConfiguration} [page]  The configuration in the page.
	 */
	constructor(url?: string | URL | null, options?: ClientOptions, page?: PageConfiguration);
	url: string;
	/** @type {string | null} The user's primary key as text, as last sent by the server. */
	user: string | null;
	/** @type {string | null} The connection's public id, once it was welcomed. It stays the same through a resume. */
	connectionId: string | null;
	get state(): State;
	/**
	 * For an HTTP request that publishes: tells the server what to `exclude`, so that this page does not get its own change.
	 * @returns {Record<string, string>}
	 */
	get headers(): Record<string, string>;
	/** Connects, also again after "closed" or "unauthenticated". @returns {this} */
	connect(): this;
	/** Closes with 1000 and ends all subscriptions. Requests made in this task are still sent. */
	close(): void;
	/**
	 * Subscribes, or waits for `connect()` where the client is not connected.
	 * @template {ChannelName<Routes>} Name
	 * @param {Name} channel
	 * @param {SubscriptionOptions<MessageFrom<Routes, Name>, ParametersOf<Routes, Name>> |
	 *   ((message: MessageFrom<Routes, Name>) => void)} [options]  A function means `{onMessage}`. Without options, the
	 *   messages go to listeners added with `on`, or to a loop. Options must have a handler, or `iterate: true`.
	 * @returns {Subscription<MessageFrom<Routes, Name>>}
	 */
	subscribe<Name extends ChannelName<Routes>>(channel: Name, options?: SubscriptionOptions<MessageFrom<Routes, Name>, ParametersOf<Routes, Name>> | ((message: MessageFrom<Routes, Name>) => void), ...args: any[]): Subscription<MessageFrom<Routes, Name>>;
	/**
	 * @template {ChannelName<Routes>} Name
	 * @template {string | undefined} [Event=undefined]
	 * @param {Name} channel
	 * @param {PublishablePayload<Routes, Name, Event>} payload
	 * @param {PublishOptions<Event> & RequestOptions} [options]
	 * @returns {Promise<PublishedPayload>}
	 */
	publish<Name extends ChannelName<Routes>, Event extends string | undefined = undefined>(channel: Name, payload: PublishablePayload<Routes, Name, Event>, options?: PublishOptions<Event> & RequestOptions): Promise<PublishedPayload>;
	/** @param {ChannelName<Routes>} channel @param {RequestOptions} [options] @returns {Promise<Members>} Who is on a channel. */
	presence(channel: ChannelName<Routes>, options?: RequestOptions): Promise<Members>;
	/**
	 * What a channel keeps.
	 * @template {ChannelName<Routes>} Name
	 * @param {Name} channel
	 * @param {HistoryOptions} [options]
	 * @returns {Promise<History<MessageFrom<Routes, Name>>>}
	 */
	history<Name extends ChannelName<Routes>>(channel: Name, { since, limit, reverse, ...options }?: HistoryOptions): Promise<History$1<MessageFrom<Routes, Name>>>;
	/**
	 * @template {ChannelName<Routes>} Name
	 * @template {MethodOf<Routes, Name>} Method
	 * @param {Name} channel
	 * @param {Method} method
	 * @param {ArgumentOf<Routes, Name, Method>} [payload]
	 * @param {RequestOptions} [options]
	 * @returns {Promise<ResultOf<Routes, Name, Method>>}
	 */
	call<Name extends ChannelName<Routes>, Method extends MethodOf<Routes, Name>>(channel: Name, method: Method, payload?: ArgumentOf<Routes, Name, Method>, options?: RequestOptions): Promise<ResultOf<Routes, Name, Method>>;
	/**
	 * Sends any request of the protocol. The client adds the `id`.
	 * @param {{type: string, [field: string]: any}} message
	 * @param {RequestOptions} [options]
	 * @returns {Promise<any>}  The reply's payload.
	 */
	request(message: {
		type: string;
		[field: string]: any;
	}, options?: RequestOptions): Promise<any>;
	#private;
}
/**
 * The page's client, which connects when it is first asked for.
 * @param {ClientOptions} [options]  Only in the first call: a later call with options throws.
 * @returns {RealtimeClient}
 */
export function pageClient(options?: ClientOptions): RealtimeClient;
/** Pure functions for what is on the wire: names, positions, sizes. Extras may import them too. */
/**
 * Makes any text one segment of a channel name, as `channels_realtime.quote` in Python: letters, digits and `_-.:@` stay,
 * any other character becomes `=` and two hexadecimal digits for each byte of its UTF-8 encoding.
 *
 * @param {unknown} value
 * @returns {string}
 */
export function quote(value: unknown): string;
/**
 * Returns a client that is connecting. Listeners added in the same task miss no message.
 * @template [Routes=AnyRoutes]  The types of the site's channels, as `manage.py realtime_schema` writes them.
 * @param {string | URL | null} [url]  As for {@link RealtimeClient}.
 * @param {ClientOptions} [options]
 * @returns {RealtimeClient<Routes>}
 */
export function connect<Routes = AnyRoutes>(url?: string | URL | null, options?: ClientOptions): RealtimeClient<Routes>;

export {
	History$1 as History,
};

export {};
