import { describe, expect, it, onTestFinished } from 'vitest';

import { Child } from '../../helpers/child.js';
import { temporaryFolder } from '../../helpers/runtime/runtime.js';

describe('a process with a runtime', () => {
  it.each(['fork', 'cluster'])(
    'can start children by %s, each with its own runtime that the process can call',
    async (how) => {
      const child = Child.program('test/lifecycle/programs/family.ts', [how, temporaryFolder()]);
      onTestFinished(() => child.stop());
      expect(await child.event('family')).toMatchObject({ isRight: true, own: true, codes: [0, 0] });
      await child.event('done');
      expect(await child.exit()).toMatchObject({ code: 0, signal: null });
    },
  );
});
