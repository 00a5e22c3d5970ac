#!/usr/bin/env bash
# playwright-core 1.65.1 does not start Debian's firefox-esr (Firefox 140), though both speak WebDriver BiDi.
#
# Most would guess: playwright's own protocol needs its own build of Firefox, but its BiDi
# channel (`moz-firefox`) drives any Firefox that is current enough for BiDi, as the
# extended-support release is.
#
# What happens: the browser starts and answers, then launch() fails, since playwright sends
# network.addDataCollector, which this Firefox does not have yet.
#
# Why it matters to us: Firefox is driven by a BiDi client of our own, in js/test/browser.
set -euo pipefail
command -v node >/dev/null || { echo "node is needed" >&2; exit 2; }
command -v npm >/dev/null || { echo "npm is needed" >&2; exit 2; }
command -v firefox-esr >/dev/null || { echo "firefox-esr is needed (Debian)" >&2; exit 2; }

dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
firefox-esr --version
npm install --no-audit --no-fund --silent --ignore-scripts playwright-core@1.65.1
cat >launch.mjs <<'JS'
import { firefox } from "playwright-core";
try {
  const browser = await firefox.launch({ executablePath: "/usr/bin/firefox-esr", channel: "moz-firefox", timeout: 120_000 });
  console.log(`started ${browser.version()}`);
  await browser.close();
  process.exit(1);
} catch (err) {
  const line = String(err).split("\n")[0];
  console.log(line);
  process.exit(line.includes("network.addDataCollector") ? 0 : 1);
}
JS
node launch.mjs || { echo "this has changed" >&2; exit 1; }
