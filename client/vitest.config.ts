import { defineConfig } from "vitest/config";

export default defineConfig({
  test: {
    include: ["js/test/**/*.test.ts", "js/test/**/*.test.tsx", "console/test/**/*.test.ts", "console/test/**/*.test.tsx"],
    testTimeout: 60_000,
    reporters: ["default"],
  },
});
