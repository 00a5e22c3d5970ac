/** What `<script src="belfry.js">` makes: the exports of `@belfry/client`, and `indexedDB`. */
declare global {
  var belfry: typeof import("./dist/global.js");
}
export {};
