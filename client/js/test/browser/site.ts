/** Pages for browsers, from a server on the loopback interface. */

import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { resolve } from "node:path";
import { fileURLToPath } from "node:url";

import { build } from "esbuild";

export interface Site {
  readonly origin: string;
  url(path: string): string;
  /** Resolves when no connection is left. */
  close(): Promise<void>;
}

/** Pages may load what the server has, and connect to this machine. */
const policy = "default-src 'self' blob: data:; style-src 'self' 'unsafe-inline'; connect-src 'self' http://127.0.0.1:* ws://127.0.0.1:*";

const types: Readonly<Record<string, string>> = { html: "text/html", js: "text/javascript", css: "text/css", svg: "image/svg+xml" };

/**
 * Serves for each path a page with a script, whose exports are the page's global
 * `page`: the bundle of a TypeScript file, relative to this folder or absolute. Its
 * globals are there once `goto` has resolved. `files` are served as they are;
 * `policies` are added to the Content-Security-Policy of paths.
 */
export async function serve(
  pages: Readonly<Record<string, string>>,
  files: Readonly<Record<string, string | Uint8Array>> = {},
  policies: Readonly<Record<string, string>> = {},
): Promise<Site> {
  const content = new Map<string, string | Uint8Array>(Object.entries(files));
  for (const [path, entry] of Object.entries(pages)) {
    const script = `/scripts${path === "/" ? "/index" : path}.js`;
    content.set(path, `<!doctype html><meta charset="utf-8"><title>${path}</title><div id="root"></div><script type="module" src="${script}"></script>`);
    content.set(script, await bundle(entry));
  }
  const server = createServer((request, response) => {
    const path = new URL(request.url ?? "/", "http://127.0.0.1").pathname;
    const body = content.get(path);
    const type = types[/\.(\w+)$/.exec(path)?.[1] ?? "html"] ?? "application/octet-stream";
    response.writeHead(body === undefined ? 404 : 200, {
      "Content-Type": `${type}; charset=utf-8`,
      "Content-Security-Policy": path in policies ? `${policy}; ${policies[path]}` : policy,
      "Access-Control-Allow-Origin": "*", // sandboxed pages are no origin of their own
    });
    response.end(body ?? "");
  });
  await new Promise<void>((done) => server.listen(0, "127.0.0.1", done));
  const origin = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  return {
    origin,
    url: (path) => origin + path,
    close: () =>
      new Promise((done) => {
        server.close(() => done());
        server.closeAllConnections();
      }),
  };
}

async function bundle(entry: string): Promise<string> {
  const file = resolve(fileURLToPath(new URL(".", import.meta.url)), entry);
  const { outputFiles } = await build({
    stdin: { contents: `import * as page from ${JSON.stringify(file)};\nglobalThis.page = page;`, resolveDir: resolve(file, ".."), loader: "js" },
    bundle: true,
    format: "esm",
    target: "es2022",
    sourcemap: "inline",
    write: false,
  });
  return outputFiles[0]?.text ?? "";
}
