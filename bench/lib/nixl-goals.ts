import { type Case, type OwnFigures, PLACE_NAMES } from './nixl-report.js';
import type { Goal } from './result.js';
import { round } from './stats.js';

const MIB = 1024 * 1024;

/** The case that is furthest from its goal. */
function worst(
  cases: readonly Case[],
  value: (one: Case) => number | undefined,
): { value: number; name: string } | undefined {
  const all = cases.flatMap((one) => {
    const found = value(one);
    return found === undefined
      ? []
      : [
          {
            value: found,
            name: `${one.what}${one.bytes === 0 ? '' : `, ${PLACE_NAMES[one.place]}`}`,
          },
        ];
  });
  return all.sort((a, b) => a.value - b.value)[0];
}

function atLeast(goal: string, min: number, cases: readonly Case[], value: (one: Case) => number | undefined): Goal {
  const found = worst(cases, value);
  if (found === undefined) return { goal, got: 'no such peer here', met: 'not measured' };
  const reached = cases.filter((one) => (value(one) ?? Number.POSITIVE_INFINITY) >= min).length;
  return {
    goal,
    got: `at least ${found.value} (${found.name}); reached in ${reached} of ${cases.length} rows`,
    met: found.value >= min,
  };
}

function atMost(goal: string, max: number, value: number, unit: string): Goal {
  return { goal, got: `${round(value)} ${unit}`, met: value <= max };
}

export function goalsOf(cases: readonly Case[], own: OwnFigures): Goal[] {
  const named = (prefix: string): Case[] => cases.filter(({ what }) => what.startsWith(prefix));
  const max = (prefix: string, value: (one: Case) => number): number => Math.max(...named(prefix).map(value));
  const us = (one: Case): number => (one.ns.node?.median ?? 0) / 1e3;
  return [
    atLeast(
      '0.95 of the C++ program at 1 MiB and more',
      0.95,
      named('bandwidth').filter(({ bytes }) => bytes >= MIB),
      ({ of }) => of.c?.median,
    ),
    atMost('4 KiB awaited at most 8 us if it completes inline', 8, max('latency inline, 4 KiB', us), 'us'),
    atMost("4 KiB awaited at most 16 us through the agent's thread", 16, max('latency executor, 4 KiB', us), 'us'),
    atMost(
      '4 KiB inline at most 1.1 of the C++ program',
      1.1,
      max('latency inline, 4 KiB', ({ of }) => 1 / (of.c?.median ?? 0)),
      'times',
    ),
    atLeast('ahead of Python in each row', 1, cases, ({ of }) => of.python?.median),
    atLeast('3 times Python on create, post, release at 4 KiB', 3, named('create'), ({ of }) => of.python?.median),
    atMost('an idle agent takes less than 1% of a core', 1, (own.idle.node?.median ?? Number.NaN) * 100, '%'),
    atMost('and with a reader of notifications', 1, own.listening.median * 100, '%'),
    atMost('timers 1 ms apart while 1 GiB moves: p99 under 5 ms', 5, own.loop.p99Ms.median, 'ms'),
  ];
}
