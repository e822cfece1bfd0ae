import { StrictMode } from "react";
import { createRoot } from "react-dom/client";

import { RealtimeProvider } from "channels-realtime/react";

import { App } from "./App";
import type { Routes } from "./routes";

declare module "channels-realtime" {
  interface Register {
    routes: Routes;
  }
}

const url = new URLSearchParams(location.search).get("url");
const root = createRoot(document.querySelector("#root")!);
root.render(
  <StrictMode>
    <RealtimeProvider url={url}>
      <App />
    </RealtimeProvider>
  </StrictMode>,
);
Object.assign(window, { unmount: () => root.unmount() });
