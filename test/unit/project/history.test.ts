import { describe, expect, it } from 'vitest';

import { type End, History } from '../../helpers/runtime/history.js';

type Step = ['start', number, number?] | ['item', number, number, number?] | ['end', number, End?];

/** Plays calls of three items. An item is `[its call, its index, the call that its content names]`. */
function play(...steps: Step[]): History {
  const history = new History();
  for (const step of steps) {
    if (step[0] === 'start') history.started(step[1], step[2] ?? 3);
    else if (step[0] === 'item') history.item(step[1], step[3] ?? step[1], step[2]);
    else history.ended(step[1], step[2] ?? 'whole');
  }
  return history;
}

const whole = (call: number): Step[] => [
  ['start', call],
  ['item', call, 0],
  ['item', call, 1],
  ['item', call, 2],
  ['end', call],
];

/** Two concurrent calls, step by step. */
const mixed = whole(1).flatMap((step, index) => [step, whole(2)[index] as Step]);

describe('a history without a bug', () => {
  it.each<[string, Step[], Record<End, number>]>([
    ['complete concurrent calls', mixed, { whole: 2, cut: 0, failed: 0 }],
    [
      'a call that its caller cut',
      [
        ['start', 1],
        ['item', 1, 0],
        ['end', 1, 'cut'],
      ],
      { whole: 0, cut: 1, failed: 0 },
    ],
    [
      'a call that failed before its first item',
      [
        ['start', 1],
        ['end', 1, 'failed'],
      ],
      { whole: 0, cut: 0, failed: 1 },
    ],
    [
      'a call without items',
      [
        ['start', 1, 0],
        ['end', 1],
      ],
      { whole: 1, cut: 0, failed: 0 },
    ],
  ])('passes: %s', (_, steps, ends) => {
    const history = play(...steps);
    expect(history.finish()).toEqual([]);
    expect(history.ends).toEqual(ends);
    expect(history.count).toBe(ends.whole + ends.cut + ends.failed);
  });
});

describe('a planted bug', () => {
  const others = [...whole(1), ...whole(3)];
  it.each<[string, string, Step[]]>([
    [
      'an end that is lost',
      'a call ends exactly once',
      [
        ['start', 2],
        ['item', 2, 0],
      ],
    ],
    ['a call that returns nothing', 'a call ends exactly once', [['start', 2]]],
    ['an end that comes twice', 'a call ends exactly once', [...whole(2), ['end', 2]]],
    ['an error after a good end', 'a call ends exactly once', [...whole(2), ['end', 2, 'failed']]],
    ['an end of a call that was never made', 'a call ends exactly once', [['end', 2, 'failed']]],
    [
      'two items swapped',
      'items come in order',
      [
        ['start', 2],
        ['item', 2, 1],
        ['item', 2, 0],
        ['item', 2, 2],
        ['end', 2],
      ],
    ],
    [
      'an item twice',
      'items come in order',
      [
        ['start', 2],
        ['item', 2, 0],
        ['item', 2, 0],
        ['end', 2, 'cut'],
      ],
    ],
    [
      'an item lost in the middle',
      'items come in order',
      [
        ['start', 2],
        ['item', 2, 0],
        ['item', 2, 2],
        ['end', 2],
      ],
    ],
    [
      'the last item lost',
      'a call that ends whole had all its items',
      [
        ['start', 2],
        ['item', 2, 0],
        ['item', 2, 1],
        ['end', 2],
      ],
    ],
    [
      'all items lost',
      'a call that ends whole had all its items',
      [
        ['start', 2],
        ['end', 2],
      ],
    ],
    ['an item too many', 'no more items than asked for', [...whole(2).slice(0, -1), ['item', 2, 3], ['end', 2]]],
    ['an item after the end', 'no item after the end', [...whole(2), ['item', 2, 3]]],
    [
      'an item after an error',
      'no item after the end',
      [
        ['start', 2],
        ['item', 2, 0],
        ['end', 2, 'failed'],
        ['item', 2, 1],
      ],
    ],
    [
      "another call's item",
      "items are the call's own",
      [
        ['start', 2],
        ['item', 2, 0, 1],
        ['end', 2, 'cut'],
      ],
    ],
    ['an item of a call that was never made', 'a call starts once', [['item', 2, 0]]],
    ['one number for two calls', 'a call starts once', [...whole(2), ...whole(2)]],
  ])('is found among good calls: %s', (_, rule, steps) => {
    const breaches = play(...others.slice(0, 5), ...steps, ...others.slice(5)).finish();
    expect(breaches[0]).toMatchObject({ call: 2, rule });
    expect(breaches.every(({ call }) => call === 2)).toBe(true);
  });
});
