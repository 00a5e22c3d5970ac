/** A process that starts a browser, prints its pid and its profile, and waits to be killed. */

import { launchChromium } from "./chromium.ts";
import { makeProfile } from "./process.ts";

const { folder } = await makeProfile();
const { pid } = await launchChromium({ folder });
console.log(JSON.stringify({ pid, folder }));
