import { closeAfterTest, requireGpu, type TestContext } from 'dynamo-node/testing';
import { afterEach, describe, expect, it } from 'vitest';

import { missingGpu } from '../../../lib/testing/test-context.js';

/** The part of a test context that a framework has. */
class Context implements TestContext {
  readonly skips: (string | undefined)[] = [];
  readonly closes: (() => unknown)[] = [];

  skip(reason?: string): void {
    this.skips.push(reason);
  }

  after(close: () => unknown): void {
    this.closes.push(close);
  }
}

const before = process.env['REQUIRE_GPU'];
afterEach(() => {
  if (before === undefined) delete process.env['REQUIRE_GPU'];
  else process.env['REQUIRE_GPU'] = before;
});

describe('requireGpu', () => {
  const missing = missingGpu();

  it('skips with the reason and returns false without a GPU, else returns true', () => {
    delete process.env['REQUIRE_GPU'];
    const context = new Context();
    expect(requireGpu(context)).toBe(missing === undefined);
    expect(context.skips).toEqual(missing === undefined ? [] : [missing]);
  });

  it('fails under REQUIRE_GPU=1 without a GPU', () => {
    process.env['REQUIRE_GPU'] = '1';
    const context = new Context();
    if (missing === undefined) expect(requireGpu(context)).toBe(true);
    else expect(() => requireGpu(context)).toThrow(`REQUIRE_GPU=1, but ${missing}`);
    expect(context.skips).toEqual([]);
  });

  it('rejects what is no context of a test', () => {
    expect(() => requireGpu({} as never)).toThrow('requireGpu context: expected the context of a test of vitest or');
  });
});

describe('closeAfterTest', () => {
  it('closes a part at the end of a test of node:test', async () => {
    const context = new Context();
    const part = {
      isClosed: false,
      close(): void {
        this.isClosed = true;
      },
    };
    closeAfterTest(context, part);
    for (const close of context.closes) await close();
    expect(part.isClosed).toBe(true);
  });

  it('closes a part at the end of a test of vitest', (context) => {
    const closes: (() => unknown)[] = [];
    let isClosed = false;
    closeAfterTest(
      { skip: context.skip, onTestFinished: (close) => void closes.push(close) },
      {
        close: () => {
          isClosed = true;
        },
      },
    );
    closes[0]?.();
    expect(isClosed).toBe(true);
  });
});
