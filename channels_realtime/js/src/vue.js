/**
 * Composables for Vue 3.3 and later. A plugin provides the client:
 *
 *     app.use(realtime, { url: "/ws/" });
 *
 * They subscribe at once and not on a server, and end with the component or the effect scope.
 */
import { inject, onScopeDispose, shallowRef, toValue, unref, watch } from "vue";

import { connect } from "./index.js";

/** @import {App, InjectionKey, MaybeRef, MaybeRefOrGetter, ShallowRef} from "vue" */
/** @import {RealtimeClient, Subscription} from "./index.js" */
/** @import {ClientOptions, Member, Message, PublishedPayload, PublishOptions, RequestOptions, State, StateDetail, SubscriptionOptions} from "./typedefs.js" */
/** @import {RealtimeError} from "./errors.js" */
/** @import {ChannelName, MessageFrom, ParametersOf, PublishablePayload, RegisteredRoutes} from "./types.js" */

const KEY = /** @type {InjectionKey<RealtimeClient | null>} */ (Symbol("realtime"));

/** The plugin: a client for the whole application, the one it is given or one of its own. */
export const realtime = {
  /** @param {App} app @param {{client?: RealtimeClient, url?: string | URL | null, options?: ClientOptions}} [how] */
  install(app, { client, url, options } = {}) {
    app.provide(KEY, client ?? (globalThis.window ? connect(url, options) : null));
  },
};

/** @returns {RealtimeClient<RegisteredRoutes> | null} The application's client. Null while a server renders. */
export function useClient() {
  const client = inject(KEY, undefined);
  if (client === undefined) throw new Error("no client: call app.use(realtime, { url }) first");
  return client;
}

/**
 * The connection's state, for a component that shows it.
 * @returns {{state: ShallowRef<State>, detail: ShallowRef<StateDetail>, user: ShallowRef<string | null>}}
 */
export function useConnection() {
  const client = useClient();
  const state = shallowRef(client?.state ?? /** @type {State} */ ("idle"));
  const detail = shallowRef(/** @type {StateDetail} */ ({}));
  const user = shallowRef(client?.user ?? null);
  const stop = client?.on("state", (now, more) => {
    state.value = now;
    detail.value = more;
    user.value = client.user;
  });
  if (stop) onScopeDispose(stop);
  return { state, detail, user };
}

/**
 * Subscribes until the component is unmounted.
 * @template {ChannelName<RegisteredRoutes>} Name
 * @param {MaybeRefOrGetter<Name | null | undefined>} channel  Another value is another subscription; without one there
 *   is none.
 * @param {MaybeRef<SubscriptionOptions<MessageFrom<RegisteredRoutes, Name>, ParametersOf<RegisteredRoutes, Name>>> |
 *   ((message: MessageFrom<RegisteredRoutes, Name>) => void)} [options]  A function means `{onMessage}`. What it has of
 *   refs is read when it subscribes.
 * @returns {{
 *   status: ShallowRef<"waiting" | "subscribed" | "ended">,
 *   subscription: ShallowRef<Subscription<MessageFrom<RegisteredRoutes, Name>> | null>,
 *   error: ShallowRef<RealtimeError | null>,
 *   publish: <Event extends string | undefined = undefined>(
 *     payload: PublishablePayload<RegisteredRoutes, Name, Event>, options?: PublishOptions<Event> & RequestOptions,
 *   ) => Promise<PublishedPayload>,
 * }}
 */
export function useChannel(channel, options = {}) {
  const client = useClient();
  const status = shallowRef(/** @type {"waiting" | "subscribed" | "ended"} */ ("waiting"));
  const subscription = shallowRef(/** @type {any} */ (null));
  const error = shallowRef(/** @type {RealtimeError | null} */ (null));
  const leave = () => {
    const left = subscription.value;
    subscription.value = error.value = null;
    status.value = "waiting";
    left?.unsubscribe();
  };
  watch(
    () => toValue(channel),
    (name) => {
      leave();
      if (!client || !name) return;
      const made = client.subscribe(name, {
        onError: () => {}, // It is told below, so the client does not report it.
        ...(typeof options === "function" ? { onMessage: /** @type {any} */ (options) } : unref(options)),
      });
      const mine = (/** @type {() => void} */ show) => () => void (subscription.value === made && show());
      made.on("subscribed", mine(() => (status.value = "subscribed")));
      made.on("unsubscribed", mine(() => (status.value = "ended")));
      made.on("error", (failure) => mine(() => (error.value = failure))());
      subscription.value = made;
    },
    { immediate: true },
  );
  onScopeDispose(leave);
  const publish = (/** @type {any} */ payload, /** @type {any} */ how) =>
    /** @type {RealtimeClient} */ (client).publish(/** @type {string} */ (toValue(channel)), payload, how);
  return { status, subscription, error, publish };
}

/**
 * Who is on a channel.
 * @param {MaybeRefOrGetter<ChannelName<RegisteredRoutes> | null | undefined>} channel
 * @returns {{members: ShallowRef<Member[]>, count: ShallowRef<number | null>}}  `count` is null until it is known.
 */
export function usePresence(channel) {
  const members = shallowRef(/** @type {Member[]} */ ([]));
  const count = shallowRef(/** @type {number | null} */ (null));
  watch(
    () => toValue(channel),
    () => {
      members.value = [];
      count.value = null;
    },
    { flush: "sync" },
  );
  useChannel(channel, {
    presence: true,
    onMembers(found, number) {
      members.value = [...found.values()];
      count.value = number;
    },
  });
  return { members, count };
}
