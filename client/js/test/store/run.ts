/** Runs the contract of stores under vitest. */

import { describe, test } from "vitest";

import { contract, type Subject } from "./contract.ts";

const seed = Number(process.env.BELFRY_STORE_SEED ?? 1);

export function keepsContract(name: string, subject: () => Subject, effort: { runs: number; stepsPerRun: number } = { runs: 100, stepsPerRun: 40 }): void {
  describe(`${name} (seed ${seed})`, () => {
    for (const [what, run] of Object.entries(contract)) test(what, { timeout: 300_000 }, () => run(subject(), { seed, ...effort }));
  });
}
