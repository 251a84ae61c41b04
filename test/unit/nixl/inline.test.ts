import { setImmediate as nextTurn } from 'node:timers/promises';
import { describe, expect, it, onTestFinished } from 'vitest';
import { countInline, hasInlineTime, looks } from '../../../lib/nixl/inline.js';
import { Child } from '../../helpers/child.js';

describe('posts on the JavaScript thread', () => {
  it('have about 1 ms in each turn of the event loop', async () => {
    await nextTurn();
    for (let posts = 0; posts < 1000; posts++) {
      expect(hasInlineTime()).toBe(true);
      countInline(1000);
    }
    expect(hasInlineTime()).toBe(false);
    await Promise.resolve();
    expect(hasInlineTime()).toBe(false);
    await nextTurn();
    expect(hasInlineTime()).toBe(true);
  });

  it('have their time again if the event loop has slept before the next event', async () => {
    const child = Child.program('test/helpers/nixl/programs/inline-turn.ts');
    onTestFinished(() => child.stop());
    expect(await child.event('woken')).toMatchObject({ hasTime: true });
    await child.exit();
  });

  it('look for their end, unless the caller posts several without waiting', async () => {
    await nextTurn();
    expect(looks()).toBe(1);
    countInline(500);
    expect(looks()).toBe(1);
    countInline(20_000);
    expect(looks()).toBe(0);
    await Promise.resolve();
    expect(looks()).toBe(1);
  });

  it('count as long if they are still in flight', async () => {
    await nextTurn();
    countInline();
    expect(looks()).toBe(0);
    for (let posts = 1; posts < 17; posts++) countInline();
    expect(hasInlineTime()).toBe(false);
    await nextTurn();
    expect(hasInlineTime()).toBe(true);
  });
});
