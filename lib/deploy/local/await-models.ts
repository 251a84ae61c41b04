import { setTimeout as after } from 'node:timers/promises';

import type { GraphSpec } from '../../sdk/graph-spec.js';

const INTERVAL_MS = 50;
const TIMEOUT_MS = 10_000;

/** Programs that register a model with the frontends. A Python service may be another component. */
const ENGINES: ReadonlySet<string> = new Set(['engine', 'builtIn']);

/**
 * Waits until the frontends of a graph list a model. They find the engines through discovery, shortly after these are
 * ready.
 *
 * @param urlOf the address of a frontend, undefined if it does not run
 * @param isOver whether the graph ends already
 * @returns the names of the frontends that list none after 10 s
 */
export async function awaitModels(
  { services }: GraphSpec,
  urlOf: (service: string) => string | undefined,
  isOver: () => boolean,
): Promise<readonly string[]> {
  if (!services.some(({ program, workers }) => ENGINES.has(program) && workers > 0)) return [];
  const frontends = services.filter(({ program }) => program === 'frontend');
  const deadline = performance.now() + TIMEOUT_MS;
  const missing: string[] = [];
  for (const { name } of frontends) {
    const url = urlOf(name);
    while (url !== undefined && !isOver() && !(await listsModel(url))) {
      if (performance.now() > deadline) {
        missing.push(name);
        break;
      }
      await after(INTERVAL_MS);
    }
  }
  return missing;
}

async function listsModel(url: string): Promise<boolean> {
  try {
    const response = await fetch(`${url}/v1/models`, { signal: AbortSignal.timeout(TIMEOUT_MS) });
    const { data } = (await response.json()) as { readonly data: readonly unknown[] };
    return data.length > 0;
  } catch {
    return false;
  }
}
