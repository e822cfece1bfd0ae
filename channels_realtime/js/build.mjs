/**
 * Builds the files that the wheel has from `src/`, and the declarations that the npm package has. `make client` runs it.
 * The static files are committed, so that nobody needs Node to use the package; `make check-client` sees that they are
 * fresh.
 *
 *     node build.mjs [directory of the static files]
 *     node build.mjs --types    only the declarations of the npm package
 *
 * The core is one file in three forms. What it loads only when it is needed is an extra: a file in `realtime/`, which the
 * core imports with `import("./fallbacks/index.js")`, as in the sources. An extra must not import the core's modules (it
 * would have copies of its classes): it is given what it needs as arguments, and imports only pure functions.
 *
 * A core that the browser has cached, or that an open page runs, may find an extra of another version on the server. So
 * the address of an extra has its version, which is a hash of its content, and the import rejects if the file has another.
 */
import { createHash } from "node:crypto";
import { appendFile, cp, mkdir, mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { fileURLToPath } from "node:url";

import { build } from "esbuild";
import { generateDtsBundle } from "dts-bundle-generator";
import { minify } from "terser";
import ts from "typescript";

/**
 * The extras: their name in `realtime/`, and their source. One that another imports comes before it. `worker: true` is the
 * script of a worker, at `new URL("./worker.js", import.meta.url)` in the sources.
 * @type {Record<string, string | {source: string, worker: true}>}
 */
const EXTRAS = {
  fallbacks: "src/fallbacks/index.js",
  msgpack: "src/msgpack.js",
  worker: { source: "src/tabs/worker.js", worker: true },
  tabs: "src/tabs/shared-socket.js",
};

/**
 * Parts of the core that few pages need. Unlike an extra, a part is handed objects of the core and uses their internal
 * names, those that begin with an underscore. So the minified core and its parts are built with the same short names for
 * them, and `realtime.js`, which keeps the names, contains the parts.
 * @type {Record<string, string>}
 */
const PARTS = {
  credentials: "src/credentials.js",
  delivery: "src/delivery/index.js",
  presence: "src/presence.js",
};

const ROOT = fileURLToPath(new URL(".", import.meta.url));
const TYPES_ONLY = process.argv[2] === "--types";
const STATIC = path.resolve(process.argv[2] ?? `${ROOT}../static/channels_realtime`);
const TYPES = `${ROOT}types`;
const { version, license } = JSON.parse(await readFile(`${ROOT}package.json`, "utf8"));
/** The base of the extras where only the names are wanted. */
const NOWHERE = "nowhere";
const INTERNAL = /^_/;
const BANNER = `/*! channels_realtime ${version} | ${license} license */`;

/** The built extras, by the absolute path of their source. @type {Map<string, {file: string, hash: string}>} */
const built = new Map();

/** The short form of each internal name. @type {Record<string, string | false>} */
let names = {};

/**
 * Leads what is imported dynamically to the built extras.
 * @param {string} base  Where they are, from the importing file. @param {boolean} whole  Whether the parts stay inside.
 */
const extras = (base, whole) => ({
  name: "extras",
  /** @param {import("esbuild").PluginBuild} hooks */
  setup(hooks) {
    const address = (/** @type {string} */ source) => {
      const extra = built.get(source);
      if (!extra && base === NOWHERE) return base;
      if (!extra) throw new Error(`${source} is imported dynamically; enter it in EXTRAS, before what imports it`);
      return `${base}${extra.file}?v=${extra.hash}`;
    };
    const parts = Object.values(PARTS).map((source) => path.resolve(ROOT, source));
    hooks.onResolve({ filter: /^\./ }, ({ kind, path: wanted, resolveDir }) => {
      const source = path.resolve(resolveDir, wanted);
      if (kind !== "dynamic-import" || (whole && parts.includes(source))) return undefined;
      return { path: address(source), external: true };
    });
    hooks.onLoad({ filter: /\.js$/ }, async ({ path: file }) => {
      const source = await readFile(file, "utf8");
      const contents = source
        // ManifestStaticFilesStorage takes an import() in a comment for code.
        .replace(/\/\*\*.*?\*\//gs, (comment) => comment.replace(/\bimport\("[^"]*"\)\.?/g, ""))
        .replace(
          /new URL\("(\.[^"]+)", import\.meta\.url\)/g,
          (_, wanted) => `new URL("${address(path.resolve(path.dirname(file), wanted))}", import.meta.url)`,
        );
      return { contents, loader: "js" };
    });
  },
});

/**
 * @param {string} source @param {import("esbuild").BuildOptions} options @param {string} base
 * @returns {Promise<string>}
 */
async function bundle(source, options, base) {
  const { minify: small, mangleProps } = options;
  const { outputFiles, mangleCache } = await build({
    absWorkingDir: ROOT,
    entryPoints: [source],
    bundle: true,
    write: false,
    format: "esm",
    target: "es2022",
    charset: "utf8",
    legalComments: "none",
    logLevel: "warning",
    plugins: [extras(base, !mangleProps)],
    ...options,
    ...(mangleProps && { mangleCache: names }),
  });
  names = mangleCache ?? names;
  let [{ text }] = /** @type {any} */ (outputFiles);
  if (small) text = await smaller(text, options.format !== "iife");
  return text.replace(/\bimport\("[^"?]+\?v=(\w+)"\)/g, '$&,"$1"'); // For `ofThisBuild`.
}

/** What esbuild minified, by terser: its names for variables compress better, by 5% of the core. @param {string} text @param {boolean} module */
async function smaller(text, module) {
  const compress = { passes: 3, ecma: /** @type {const} */ (2020) }; // An object of its own: terser writes into it.
  const { code } = await minify(text, { module, compress, ecma: 2020, format: { comments: /^!/ } });
  return /** @type {string} */ (code);
}

/** @param {string} name @param {string} text */
async function write(name, text) {
  await mkdir(path.dirname(`${STATIC}/${name}`), { recursive: true });
  await writeFile(`${STATIC}/${name}`, text.endsWith("\n") ? text : `${text}\n`);
}

async function buildExtras() {
  await rm(`${STATIC}/realtime`, { recursive: true, force: true });
  // Those that are used most get the shortest names.
  await bundle("src/index.js", { minify: true, mangleProps: INTERNAL }, NOWHERE);
  for (const [name, entry] of Object.entries({ ...EXTRAS, ...PARTS })) {
    const { source, worker } = typeof entry === "string" ? { source: entry, worker: false } : entry;
    /** @type {import("esbuild").BuildOptions} */
    const internal = name in PARTS ? { mangleProps: INTERNAL } : {};
    let text = await bundle(source, { minify: true, format: worker ? "iife" : "esm", ...internal }, "./");
    const hash = createHash("sha256").update(text).digest("hex").slice(0, 8);
    if (worker) text = `globalThis.realtimeVersion="${hash}";${text}`;
    else text = `${text.trimEnd()}export const version="${hash}";`;
    await write(`realtime/${name}.js`, `${BANNER}\n${text}`);
    built.set(path.resolve(ROOT, source), { file: `${name}.js`, hash });
  }
}

async function buildCore() {
  const source = "src/index.js";
  const banner = { js: BANNER };
  // A classic script has no import.meta.
  const script = { define: { "import.meta.url": "scriptUrl" }, inject: ["script-url.js"] };
  const classic = /** @type {const} */ ({ format: "iife", globalName: "Realtime", ...script });
  const small = /** @type {const} */ ({ minify: true, mangleProps: INTERNAL });
  await write("realtime.js", await bundle(source, { banner }, "./realtime/"));
  await write("realtime.min.js", await bundle(source, { banner, ...small }, "./realtime/"));
  // The client with the elements: one file, so that a page which has no script of its own loads one.
  await write("realtime-elements.min.js", await bundle("src/elements/index.js", { banner, ...small }, "./realtime/"));
  await write("realtime.global.min.js", await bundle(source, { banner, ...small, ...classic }, "./realtime/"));
}

/** Removes what is not public from a declaration file: what begins with `_` or is `@internal`, and comments on types. */
function publicOnly(/** @type {string} */ text) {
  const file = ts.createSourceFile("a.d.ts", text, ts.ScriptTarget.Latest, true);
  /** @type {[number, number, string][]} */
  const cuts = [];
  for (const statement of file.statements) {
    if (!ts.isClassDeclaration(statement)) continue;
    for (const member of statement.members) {
      const internal = ts.getJSDocTags(member).some((tag) => tag.tagName.text === "internal");
      const hidden = member.name && ts.isIdentifier(member.name) && member.name.text.startsWith("_");
      const left = ts.isConstructorDeclaration(member) ? "\n    private constructor();" : "";
      if (internal || hidden) cuts.push([member.getFullStart(), member.getEnd(), left]);
    }
  }
  for (const [start, end, left] of cuts.reverse()) text = text.slice(0, start) + left + text.slice(end);
  return text.replace(/^\/\*\*(?:(?!\*\/).)*?@(?:typedef|import)\b.*?\*\/\n/gms, "");
}

/** The npm package's declarations are one file for each module, the static files' are one file. */
async function buildTypes() {
  const emitted = await mkdtemp(path.join(tmpdir(), "realtime-types-"));
  try {
    const configFile = ts.readConfigFile(`${ROOT}tsconfig.json`, ts.sys.readFile).config;
    const { fileNames, options } = ts.parseJsonConfigFileContent(configFile, ts.sys, ROOT);
    const emit = { noEmit: false, declaration: true, emitDeclarationOnly: true, outDir: emitted, rootDir: `${ROOT}src` };
    const program = ts.createProgram(fileNames, { ...options, ...emit });
    const problems = [...ts.getPreEmitDiagnostics(program), ...program.emit().diagnostics];
    if (problems.length > 0) {
      const host = { getCanonicalFileName: String, getCurrentDirectory: () => ROOT, getNewLine: () => "\n" };
      throw new Error(ts.formatDiagnostics(problems, host));
    }
    await rm(TYPES, { recursive: true, force: true });
    for (const name of await readdir(emitted, { recursive: true })) {
      if (!name.endsWith(".d.ts")) continue;
      await mkdir(path.dirname(`${TYPES}/${name}`), { recursive: true });
      await writeFile(`${TYPES}/${name}`, publicOnly(await readFile(`${emitted}/${name}`, "utf8")));
    }
    await appendFile(`${TYPES}/index.d.ts`, 'export * from "./typedefs.js";\nexport * from "./types.js";\n');
    // What is written as declarations goes along.
    const written = (await readdir(`${ROOT}src`, { recursive: true })).filter((name) => name.endsWith(".d.ts"));
    for (const name of written) await cp(`${ROOT}src/${name}`, `${TYPES}/${name}`);
  } finally {
    await rm(emitted, { recursive: true });
  }
  if (TYPES_ONLY) return;
  const entry = { filePath: `${TYPES}/index.d.ts`, output: { noBanner: true, exportReferencedTypes: true } };
  const [text] = generateDtsBundle([entry], { preferredConfigPath: `${ROOT}tsconfig.json` });
  await write("realtime.d.ts", `${BANNER}\n${text}`);
}

if (!TYPES_ONLY) {
  await buildExtras();
  await buildCore();
}
await buildTypes();
