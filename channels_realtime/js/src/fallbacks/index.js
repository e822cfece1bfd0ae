/** The ways to the server that need no WebSocket. The core loads them when one is blocked. */

export { Choice } from "./choice.js";
