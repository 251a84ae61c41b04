import type { GraphSpec } from '../../sdk/graph-spec.js';

/**
 * The names of the services in groups. Each group depends only on earlier ones, and starts when they are ready. The
 * entry is the last group, because it also needs the workers that only discovery connects to it. Services of a circle
 * are in one group.
 */
export function startGroups(spec: GraphSpec): string[][] {
  const groups: string[][] = [];
  const placed = new Set<string>();
  let open = spec.services.filter(({ name }) => name !== spec.entry);
  while (open.length > 0) {
    const waits = ({ dependencies }: (typeof open)[number]): boolean =>
      dependencies.some(({ service }) => !placed.has(service) && open.some(({ name }) => name === service));
    const free = open.filter((one) => !waits(one));
    const group = (free.length > 0 ? free : open).map(({ name }) => name);
    groups.push(group);
    for (const name of group) placed.add(name);
    open = open.filter(({ name }) => !placed.has(name));
  }
  return spec.services.some(({ name }) => name === spec.entry) ? [...groups, [spec.entry]] : groups;
}

/** The order in which a graph drains: who calls before who is called. */
export const drainGroups = (spec: GraphSpec): string[][] => startGroups(spec).reverse();
