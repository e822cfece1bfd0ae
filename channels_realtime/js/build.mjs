/**
 * Builds what the wheel has from `src/`: `make client` runs it. The outputs are committed, so that nobody needs Node to
 * use the package; a test checks that they are fresh.
 *
 * Each entry is one file. What an entry imports dynamically is another entry: the path is kept, so that it is loaded when
 * it is needed. An entry other than the core must not import the core's modules (it would have copies of its classes):
 * it is given what it needs as arguments, and imports only pure functions.
 */
import { build } from "esbuild";
import { fileURLToPath } from "node:url";

const root = fileURLToPath(new URL(".", import.meta.url));
const out = process.argv[2] ?? `${root}../static/channels_realtime`;

const shared = {
  absWorkingDir: root,
  bundle: true,
  target: "es2022",
  charset: "utf8",
  legalComments: "none",
  logLevel: "warning",
};

await build({ ...shared, entryPoints: ["src/index.js"], format: "esm", outfile: `${out}/realtime.js` });
await build({ ...shared, entryPoints: ["src/index.js"], format: "esm", minify: true, outfile: `${out}/realtime.min.js` });
await build({
  ...shared,
  entryPoints: ["src/index.js"],
  format: "iife",
  globalName: "Realtime",
  minify: true,
  outfile: `${out}/realtime.global.min.js`,
});
