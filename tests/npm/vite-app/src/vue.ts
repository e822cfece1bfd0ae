import { createApp, defineComponent, h, ref, shallowRef } from "vue";

import { realtime, useChannel, useConnection, usePresence } from "channels-realtime/vue";

const Room = defineComponent({
  props: { name: { type: String, required: true } },
  setup(props) {
    const texts = shallowRef<string[]>([]);
    const { status, publish } = useChannel(
      () => `public/${props.name}` as const,
      ({ event, payload }) => {
        if (event === undefined) texts.value = [...texts.value, payload.text];
      },
    );
    return () =>
      h("section", [
        h("p", { id: "status" }, `${props.name} ${status.value}`),
        h("ul", { id: "texts" }, texts.value.map((text) => h("li", text))),
        h("button", { onClick: () => publish({ text: `from ${props.name}` }) }, "say"),
      ]);
  },
});

export const App = defineComponent(() => {
  const room = ref("one");
  const { state } = useConnection();
  const { count } = usePresence("devices/lobby");
  return () => [
    h("p", { id: "state" }, state.value),
    h("button", { onClick: () => (room.value = "two") }, "the other room"),
    h(Room, { name: room.value }), // The same component with another channel.
    h("p", { id: "count" }, count.value ?? "?"),
  ];
});

if (globalThis.window) {
  const app = createApp(App).use(realtime, { url: new URLSearchParams(location.search).get("url") });
  app.mount("#root");
  Object.assign(window, { unmount: () => app.unmount() });
}
