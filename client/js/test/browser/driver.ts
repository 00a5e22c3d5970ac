/** What the harness needs of a browser: one implementation for the Chrome DevTools Protocol, one for WebDriver BiDi. */

import type { Params } from "./rpc.ts";

export type BrowserName = "chromium" | "firefox";

export interface LaunchOptions {
  /** The profile's folder. */
  readonly folder: string;
  /** All windows are private ones. */
  readonly private?: boolean;
  /** Firefox only: preferences beside the harness's own. */
  readonly prefs?: Readonly<Record<string, string | number | boolean>>;
  /** Chromium only: switches beside the harness's own. */
  readonly args?: readonly string[];
}

export interface Driver {
  readonly version: string;
  readonly pid: number;
  /** Where playwright-core's connectOverCDP finds Chromium. */
  readonly cdpUrl?: string;
  /** Opens a tab, null: in the browser's own storage, otherwise in that of `newContext`. */
  open(context: string | null): Promise<TabDriver>;
  newContext(): Promise<string>;
  removeContext(context: string): Promise<void>;
  /** Ends as if the user had asked for it. */
  quit(): Promise<void>;
  kill(): Promise<void>;
}

export interface TabDriver {
  /** What the page logged, and errors that nothing caught, in their order. */
  readonly log: string[];
  /** Resolves when the page's load event has happened. */
  goto(url: string): Promise<void>;
  reload(): Promise<void>;
  /** Goes back, from the back-forward cache if the page is there, without waiting for it. */
  back(): Promise<void>;
  /** Evaluates an expression whose value is a promise of a text. Rejects with what it throws. */
  evaluate(expression: string): Promise<string>;
  front(): Promise<void>;
  close(): Promise<void>;
  /** Has the tab's process die. Firefox may take other tabs of the origin with it. */
  crash(): Promise<void>;
  /** Chromium only: a call of the Chrome DevTools Protocol to this tab. */
  cdp?<T = Params>(method: string, params?: Params): Promise<T>;
}
