import { defineConfig } from "vitest/config";
import { sdkAlias } from "./console/sdk-alias.ts";

export default defineConfig({
  resolve: { alias: sdkAlias },
  test: {
    include: ["js/test/**/*.test.ts", "js/test/**/*.test.tsx", "console/test/**/*.test.ts", "console/test/**/*.test.tsx", "examples/*.test.ts"],
    testTimeout: 60_000,
    reporters: ["default"],
  },
});
