import { describe, expect, it, onTestFinished } from 'vitest';

import { Child } from '../../helpers/child.js';

describe('a process', () => {
  it('is ended by no callback of its user and by no bytes of a peer', async () => {
    const child = Child.program('test/lifecycle/programs/callbacks.ts', [], {
      env: { DYN_GRACEFUL_SHUTDOWN_GRACE_PERIOD_SECS: '0' },
    });
    onTestFinished(() => child.stop());
    const { names } = await child.event('end');
    const all = (event: string) => child.events.filter((one) => one.event === event);
    expect(all('trapped')).toEqual([]);
    expect(all('failed')).toEqual([]);
    expect(all('done').map(({ name }) => name)).toEqual(names);
    expect(await child.exit()).toMatchObject({ code: 0, signal: null });
  });
});
