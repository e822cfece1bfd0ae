/**
 * Hooks for React 18 and later. A component subscribes in an effect, so nothing happens while it renders, on a server or
 * in a render that React throws away, and StrictMode's second run of the effects is another subscription.
 */
import {
  createContext,
  createElement,
  useCallback,
  useContext,
  useEffect,
  useInsertionEffect,
  useRef,
  useState,
  useSyncExternalStore,
} from "react";

import { RealtimeClient } from "./index.js";

/** @import {ReactElement, ReactNode} from "react" */
/** @import {Subscription} from "./index.js" */
/** @import {ClientOptions, Member, Message, PublishedPayload, PublishOptions, RequestOptions, State, StateDetail, SubscriptionOptions} from "./typedefs.js" */
/** @import {RealtimeError} from "./errors.js" */
/** @import {ChannelName, MessageFrom, ParametersOf, PublishablePayload, RegisteredRoutes} from "./types.js" */

/**
 * @typedef {{state: State, detail: StateDetail, user: string | null}} ConnectionSnapshot
 */

/**
 * @template {ChannelName<RegisteredRoutes>} Name
 * @typedef {object} ChannelResult
 * @property {"waiting" | "subscribed" | "ended"} status  "waiting": not confirmed by the server yet.
 * @property {Subscription<MessageFrom<RegisteredRoutes, Name>> | null} subscription  Null before the first effect, and without a channel.
 * @property {RealtimeError | null} error  The last one.
 * @property {<Event extends string | undefined = undefined>(
 *   payload: PublishablePayload<RegisteredRoutes, Name, Event>, options?: PublishOptions<Event> & RequestOptions,
 * ) => Promise<PublishedPayload>} publish
 */

/** @type {ConnectionSnapshot} */
const IDLE = { state: "idle", detail: {}, user: null };
const WAITING = /** @type {const} */ ({ status: "waiting", subscription: null, error: null });
/** @type {{members: Member[], count: number | null}} */
const EMPTY = { members: [], count: null };

/** Undefined outside of a provider; null while a server renders. */
const Context = createContext(/** @type {RealtimeClient | null | undefined} */ (undefined));

/**
 * Gives its tree a client: the one it is given, or one of its own, which is connected as long as the provider is mounted.
 * @param {{client?: RealtimeClient, url?: string | URL | null, options?: ClientOptions, children?: ReactNode}} props
 *   `url` and `options` are read once.
 * @returns {ReactElement}
 */
export function RealtimeProvider({ client, url, options, children }) {
  const [own] = useState(() => (client || !globalThis.window ? null : new RealtimeClient(url, options)));
  useEffect(() => {
    own?.connect();
    return () => own?.close();
  }, [own]);
  return createElement(Context.Provider, { value: client ?? own }, children);
}

/** @returns {RealtimeClient<RegisteredRoutes> | null} The provider's client. Null while a server renders. */
export function useClient() {
  const client = useContext(Context);
  if (client === undefined) throw new Error("no client: put a <RealtimeProvider> around the components that use it");
  return client;
}

/** @type {WeakMap<RealtimeClient, ConnectionSnapshot>} */
const snapshots = new WeakMap();

/** @param {RealtimeClient} client @returns {ConnectionSnapshot} The same object until the state changes. */
function snapshotOf(client) {
  let snapshot = snapshots.get(client);
  if (!snapshot) {
    const keep = (/** @type {State} */ state, /** @type {StateDetail} */ detail) =>
      snapshots.set(client, (snapshot = { state, detail, user: client.user }));
    keep(client.state, {});
    client.on("state", keep); // Before the components' listeners.
  }
  return /** @type {ConnectionSnapshot} */ (snapshots.get(client));
}

/** @returns {ConnectionSnapshot} The connection's state, for a component that shows it. */
export function useConnection() {
  const client = useClient();
  const subscribe = useCallback((/** @type {() => void} */ changed) => client?.on("state", changed) ?? (() => {}), [client]);
  return useSyncExternalStore(subscribe, () => (client ? snapshotOf(client) : IDLE), () => IDLE);
}

/**
 * Subscribes while the component is mounted. The handlers are those of the last render; other options that change make
 * a new subscription.
 * @template {ChannelName<RegisteredRoutes>} Name
 * @param {Name | null | undefined} channel  Without one there is no subscription.
 * @param {SubscriptionOptions<MessageFrom<RegisteredRoutes, Name>, ParametersOf<RegisteredRoutes, Name>> |
 *   ((message: MessageFrom<RegisteredRoutes, Name>) => void)} [options]  A function means `{onMessage}`.
 * @returns {ChannelResult<Name>}
 */
export function useChannel(channel, options = {}) {
  const client = useClient();
  const given = typeof options === "function" ? { onMessage: options } : options;
  const latest = useRef(given);
  useInsertionEffect(() => {
    latest.current = given;
  });
  // The options that are data. A new `since` is for the next subscription.
  const data = JSON.stringify({ ...given, since: undefined, load: Boolean(given.load) });
  const key = `${channel} ${data}`;
  const [found, setFound] = useState(/** @type {any} */ (WAITING));
  useEffect(() => {
    if (!client || !channel) return;
    const call = (/** @type {keyof SubscriptionOptions} */ name) => (/** @type {any[]} */ ...args) =>
      /** @type {any} */ (latest.current)[name]?.(...args);
    const { load, since } = latest.current;
    const show = (/** @type {Partial<ChannelResult<any>>} */ news) =>
      setFound((/** @type {any} */ before) => ({ ...before, ...news }));
    const subscription = client.subscribe(channel, {
      ...JSON.parse(data),
      since,
      load: load && call("load"),
      onMessage: call("onMessage"),
      onRecovered: call("onRecovered"),
      onLoaded: call("onLoaded"),
      onMembers: call("onMembers"),
      onSubscribed(payload) {
        show({ status: "subscribed" });
        call("onSubscribed")(payload);
      },
      onUnsubscribed(ending) {
        if (left) return;
        show({ status: "ended" });
        call("onUnsubscribed")(ending);
      },
      onError(error) {
        show({ error });
        call("onError")(error);
      },
    });
    let left = false;
    setFound({ ...WAITING, key, subscription });
    return () => {
      left = true;
      subscription.unsubscribe();
    };
  }, [client, key]);
  const publish = useCallback(
    (/** @type {any} */ payload, /** @type {any} */ how) =>
      /** @type {RealtimeClient} */ (client).publish(/** @type {string} */ (channel), payload, how),
    [client, channel],
  );
  const { status, subscription, error } = found.key === key ? found : WAITING;
  return { status, subscription, error, publish };
}

/**
 * Who is on a channel.
 * @param {ChannelName<RegisteredRoutes> | null | undefined} channel
 * @returns {{members: Member[], count: number | null}}  `count` is null until it is known.
 */
export function usePresence(channel) {
  const [found, setFound] = useState(/** @type {any} */ (null));
  useChannel(channel, {
    presence: true,
    onMembers: (members, count) => setFound({ channel, members: [...members.values()], count }),
  });
  return found?.channel === channel ? found : EMPTY;
}
