import { setImmediate as nextTurn } from 'node:timers/promises';
import { describe, expect, it, onTestFinished } from 'vitest';
import { completed, countInline, hasInlineTime, looks } from '../../../lib/nixl/inline.js';
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

  it('settle at once, and in the next turn after 0.75 ms', async () => {
    await nextTurn();
    const order: string[] = [];
    const post = (name: string, nanoseconds: number): void => {
      countInline(nanoseconds);
      void completed(name).then((result) => order.push(result));
    };
    post('early', 700_000);
    post('late', 100_000);
    post('later', 100_000);
    await Promise.resolve();
    await Promise.resolve();
    expect(order).toEqual(['early']);
    await nextTurn();
    expect(order).toEqual(['early', 'late', 'later']);
    post('next', 1000);
    await Promise.resolve();
    await Promise.resolve();
    expect(order).toContain('next');
  });

  it('of a caller that waits for each leave the event loop free, and their time is never used up', async () => {
    await nextTurn();
    let [turns, refused] = [0, 0];
    const counting = setInterval(() => (turns += 1));
    for (let posts = 0; posts < 100_000; posts++) {
      if (!hasInlineTime()) refused += 1;
      countInline(1000);
      await completed(posts);
    }
    clearInterval(counting);
    expect(refused).toBe(0);
    expect(turns).toBeGreaterThan(5);
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
