/** Renders both applications as a server does. */
import { renderToString as renderReact } from "react-dom/server";
import { createSSRApp } from "vue";
import { renderToString as renderVue } from "vue/server-renderer";

import { RealtimeProvider } from "channels-realtime/react";
import { realtime } from "channels-realtime/vue";

import { App } from "./App";
import { App as VueApp } from "./vue";

console.log(renderReact(<RealtimeProvider url="/ws/"><App /></RealtimeProvider>));
console.log(await renderVue(createSSRApp(VueApp).use(realtime, { url: "/ws/" })));
