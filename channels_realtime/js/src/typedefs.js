/** The types of the public interface and of the wire. No code. */

/**
 * @typedef {{epoch: string, offset: number}} Position  A position in a channel's history.
 * @typedef {"idle" | "connecting" | "connected" | "reconnecting" | "unauthenticated" | "closed"} State
 *
 * @typedef {object} StateDetail
 * @property {number} [attempt]  Attempts since the last `welcome`, from 1 ("connecting", "reconnecting").
 * @property {number | null} [nextDelay]  Seconds until the attempt ("reconnecting"); null while getToken is awaited.
 * @property {number} [code]  The close code that caused this state.
 * @property {string} [reason]
 *
 * @typedef {object} Message  A publication as received. Unknown fields are kept.
 * @property {string} channel  Absent on a notice.
 * @property {any} payload
 * @property {string} [event]
 * @property {string} [epoch]
 * @property {number} [offset]
 * @property {any} [sender]  Set by the server from the publisher's identity.
 * @property {boolean} [recovered]  True if it was missed and is replayed.
 * @property {number} [version]  In a channel of versions.
 * @property {string} [state_key]  In a channel with keyed state: the key that this is the newest message of.
 * @property {boolean} [removed]  True if it ends the state of its key.
 * @property {boolean} [state]  True if it is part of the state that a new subscriber gets first.
 *
 * @typedef {{id: string, user: string | null, info: any}} Member
 * @typedef {{members: Member[], count: number}} Members  `count` is of all; large channels send only some members.
 * @typedef {Partial<Position> & Partial<Members> & {recovered?: boolean}} SubscribedPayload
 * @typedef {{recovered: boolean} & Partial<Position>} Recovery  False: messages may be missing; load the state again.
 * @typedef {{code: string, reason: string}} Ending
 * @typedef {{epoch?: string, offset?: number, duplicate?: boolean}} PublishedPayload
 * @typedef {{since?: PositionLike, limit?: number, reverse?: boolean} & RequestOptions} HistoryOptions
 * @typedef {Position | string | null} PositionLike  A position, or its JSON text as a template writes it.
 */

/**
 * @template [Told=Message]
 * @typedef {{messages: Told[]} & Position} History  The position is where to go on from, as `since`.
 */

/**
 * @template {string | undefined} [Event=string | undefined]
 * @typedef {object} PublishOptions
 * @property {Event} [event]
 * @property {string} [key]  Makes a repetition safe: a second publication with it is not published again.
 * @property {boolean} [echo]  False: everybody gets it but this connection (true).
 * @property {boolean} [transient]  True: not kept, for notices such as "is typing".
 * @property {number} [version]  In a channel of versions: an older one is dropped.
 * @property {string} [stateKey]  In a channel with keyed state.
 * @property {boolean} [removed]  Ends the state of `stateKey`.
 * @property {{new: true} | {version: number}} [onlyIf]  Only if the key is new or has that version; else `conflict`.
 */

/**
 * @template [Told=Message]
 * @template [Parameters=any]
 * @typedef {object} SubscriptionOptions
 * @property {Parameters} [parameters]  The payload of `subscribe`; the channel may filter by them.
 * @property {string} [select]  The channel class's `select`: the field to filter by. Needed only with several
 *   subscriptions with different parameters on one channel: without it, each of them gets the messages of all.
 * @property {PositionLike} [since]  The position of what the page already has: what followed comes first.
 * @property {(context: {signal: AbortSignal}) => any} [load]  Fetches the state, at the first subscribe without `since`
 *   and whenever messages may be missing. Live messages are held until then. Where its result has a `position`, those up
 *   to there are dropped.
 * @property {boolean} [requireRecovery]  End it with `not_recoverable` where messages may be missing (false).
 * @property {boolean} [presence]  Ask for the members, and hear who joins and leaves (false).
 * @property {boolean} [ack]  Acknowledge each message once its listeners are done, or the loop asks for the next (false).
 * @property {boolean} [iterate]  Take the messages by a `for await` loop over the subscription, from the subscribe on (false).
 * @property {number} [bufferSize]  How many messages are buffered for a slow `for await` loop (1000). When it is full,
 *   the oldest is dropped and counted in `dropped`. As many are held for `load`; beyond it the state is loaded again.
 * @property {(message: Told) => any} [onMessage]
 * @property {(payload: SubscribedPayload) => void} [onSubscribed]
 * @property {(recovery: Recovery) => void} [onRecovered]
 * @property {(state: any) => void} [onLoaded]  Gets what `load` returned, right before the messages that follow it.
 * @property {(members: Map<string, Member>, count: number) => void} [onMembers]  After each change.
 * @property {(member: Member) => void} [onJoin]
 * @property {(member: Member) => void} [onLeave]
 * @property {(ending: Ending) => void} [onUnsubscribed]
 * @property {(error: import("./errors.js").RealtimeError) => void} [onError]
 */

/**
 * @typedef {object} RequestOptions
 * @property {number} [timeoutSeconds]  From the call to the reply, including the wait for a connection.
 * @property {"wait" | "reject"} [whenDisconnected]
 *
 * @typedef {"required" | "expiring" | "refused" | "anonymous"} TokenReason
 *
 * @typedef {object} Timing
 * @property {(seconds: number, callback: () => void) => any} later
 * @property {(handle: any) => void} cancel
 * @property {(failures: number, wait: number) => number} delay  With jitter, in seconds.
 *
 * @typedef {object} Timers
 * @property {(callback: () => void, milliseconds: number) => any} setTimeout
 * @property {(handle: any) => void} clearTimeout
 *
 * @typedef {object} ClientOptions
 * @property {(context: {reason: TokenReason}) => (string | null | Promise<string | null>)} [getToken]  Returns a JWT,
 *   or null if no user is logged in.
 * @property {number} [backoffBaseSeconds]  The longest first delay (1); doubled with each attempt.
 * @property {number} [backoffCapSeconds]  The longest delay (30).
 * @property {number} [connectTimeoutSeconds]  From connecting to `welcome` (20).
 * @property {number} [requestTimeoutSeconds]  The default for requests (35: longer than the server's HOOK_TIMEOUT).
 * @property {"wait" | "reject"} [whenDisconnected]  What requests do without connection ("wait").
 * @property {number} [maxPendingRequests]  The most unanswered requests (500); others get `queue_full`.
 * @property {number} [maxQueuedBytes]  The most bytes of publications that wait for a connection (1,000,000); others get `queue_full`.
 * @property {number} [maxQueueSeconds]  How long a publication waits for a connection (120).
 * @property {boolean} [batch]  Send the requests of one task in one frame (true).
 * @property {"json" | "msgpack"} [format]  Of the frames ("json").
 * @property {boolean} [shareConnection]  One connection for all tabs of the site (false).
 * @property {string} [shareKey]  Tabs with another key do not share. Who is signed in; needed with `getToken`, and without a CSRF token.
 * @property {("websocket" | "sse" | "polling")[]} [transports]  What may be used (all). The WebSocket comes first, the others
 *   in their order.
 * @property {string | URL} [httpUrl]  The base of the server's HTTP views. Without it, as the page says.
 * @property {new (url: string, protocols: string[]) => any} [WebSocket]
 * @property {typeof globalThis.fetch} [fetch]
 * @property {Timers} [timers]
 * @property {() => number} [random]  In [0, 1).
 * @property {EventTarget} [wakeTarget]  Gets `online`, `pageshow` and `visibilitychange` (the window).
 */

export {};
