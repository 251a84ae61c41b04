import type { GraphSpec } from '../../sdk/graph-spec.js';
import { MAX_WORKERS } from '../../sdk/service-options.js';
import { parseXPyD } from '../../sdk/xpyd.js';
import { DeployError } from '../deploy-error.js';
import type { WorkerPhase } from './worker-state.js';

const badScale = (message: string): DeployError => new DeployError('E_SCALE', message, { exitCode: 64 });

function countsOfRoles(spec: GraphSpec, text: string): [string, number][] {
  return Object.entries(parseXPyD(text)).map(([role, count]) => {
    const found = spec.services.find((service) => service.role === role);
    if (found === undefined) throw badScale(`graph ${spec.name} has no service of role ${role}`);
    return [found.name, count];
  });
}

const XPYD = /^\d+p\d+d$/i;
const COUNT = /^([^=]+)=(\d{1,6})$/;

/**
 * Checks the form of `Worker=3` or `3P2D`, before it is known what the graph has.
 *
 * @throws DeployError `E_SCALE` (64) for another form or more workers than a service may have
 */
export function checkScaleWords(words: readonly string[]): void {
  if (words.length === 0) throw badScale("expected SERVICE=COUNT or a text like '3P2D', got nothing");
  for (const word of words) {
    const [, name, count] = COUNT.exec(word) ?? [];
    if (name === undefined && !XPYD.test(word))
      throw badScale(`'${word}': expected SERVICE=COUNT or a text like '3P2D'`);
    if (name !== undefined) checkCount(name, Number(count));
  }
  for (const word of words.filter((one) => XPYD.test(one)))
    for (const [role, count] of Object.entries(parseXPyD(word))) checkCount(role, count);
}

function checkCount(name: string, count: number): void {
  if (count > MAX_WORKERS) throw badScale(`${name}: expected at most ${MAX_WORKERS} workers, got ${count}`);
}

/**
 * Reads `Worker=3` or `3P2D` for a graph.
 *
 * @returns numbers of workers by the name of the service
 * @throws DeployError `E_SCALE` (64) for another form, an unknown service or a wrong number
 */
export function parseScale(spec: GraphSpec, words: readonly string[]): ReadonlyMap<string, number> {
  checkScaleWords(words);
  const known = spec.services.map(({ name }) => name);
  const counts = words.flatMap((word): [string, number][] => {
    if (XPYD.test(word)) return countsOfRoles(spec, word);
    const [, name = '', count] = COUNT.exec(word) ?? [];
    if (!known.includes(name))
      throw badScale(`graph ${spec.name} has no service '${name}'; its services are ${known.join(', ')}`);
    return [[name, Number(count)]];
  });
  return new Map(counts);
}

/** A worker of the service that is scaled. */
export interface PresentWorker {
  readonly number: number;
  /** One that drains keeps its number until it has ended, but does not count. */
  readonly phase: WorkerPhase;
}

/**
 * The numbers of the workers to add and to remove. Those that do not serve yet are removed first, then the newest ones.
 * Free numbers are used again.
 */
export function scaleChange(
  present: readonly PresentWorker[],
  count: number,
): { readonly add: readonly number[]; readonly remove: readonly number[] } {
  const rank = ({ phase }: PresentWorker): number => (phase === 'ready' ? 0 : 1);
  const kept = present.filter(({ phase }) => phase !== 'draining');
  const sorted = kept.sort((a, b) => rank(a) - rank(b) || a.number - b.number);
  const taken = new Set(present.map(({ number }) => number));
  const add: number[] = [];
  for (let number = 0; sorted.length + add.length < count; number++) if (!taken.has(number)) add.push(number);
  return { add, remove: sorted.slice(count).map(({ number }) => number) };
}
