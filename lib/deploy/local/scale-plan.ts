import type { GraphSpec } from '../../sdk/graph-spec.js';
import { MAX_WORKERS } from '../../sdk/service-options.js';
import { parseXPyD } from '../../sdk/xpyd.js';
import { DeployError } from '../deploy-error.js';

const badScale = (message: string): DeployError => new DeployError('E_SCALE', message, { exitCode: 64 });

function countsOfRoles(spec: GraphSpec, text: string): [string, number][] {
  return Object.entries(parseXPyD(text)).map(([role, count]) => {
    const found = spec.services.find((service) => service.role === role);
    if (found === undefined) throw badScale(`graph ${spec.name} has no service of role ${role}`);
    return [found.name, count];
  });
}

/**
 * Reads `Worker=3` or `3P2D` for a graph.
 *
 * @returns numbers of workers by the name of the service
 * @throws DeployError `E_SCALE` (64) for another form, an unknown service or a wrong number
 */
export function parseScale(spec: GraphSpec, words: readonly string[]): ReadonlyMap<string, number> {
  const known = spec.services.map(({ name }) => name);
  const counts = words.flatMap((word): [string, number][] => {
    if (/^\d+p\d+d$/i.test(word)) return countsOfRoles(spec, word);
    const [, name, count] = /^([^=]+)=(\d{1,6})$/.exec(word) ?? [];
    if (name === undefined) throw badScale(`'${word}': expected SERVICE=COUNT or a text like '3P2D'`);
    if (!known.includes(name))
      throw badScale(`graph ${spec.name} has no service '${name}'; its services are ${known.join(', ')}`);
    return [[name, Number(count)]];
  });
  if (counts.length === 0) throw badScale("expected SERVICE=COUNT or a text like '3P2D', got nothing");
  const tooMany = counts.find(([, count]) => count > MAX_WORKERS);
  if (tooMany !== undefined)
    throw badScale(`${tooMany[0]}: expected at most ${MAX_WORKERS} workers, got ${tooMany[1]}`);
  return new Map(counts);
}

/** The numbers of the workers to add and to remove. The newest ones are removed first; free numbers are used again. */
export function scaleChange(present: readonly number[], count: number): { add: number[]; remove: number[] } {
  const sorted = [...present].sort((a, b) => a - b);
  const remove = sorted.slice(count);
  const add: number[] = [];
  for (let number = 0; sorted.length + add.length < count; number++) if (!present.includes(number)) add.push(number);
  return { add, remove };
}
