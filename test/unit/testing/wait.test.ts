import { createServer } from 'node:net';
import type { RequestContext } from 'dynamo-node';
import { RecordedRequests, recorded, TestLink, TestProcess, waitFor, waitForModel, within } from 'dynamo-node/testing';
import { describe, expect, it } from 'vitest';

const never = new Promise<never>(() => {});

describe('waitFor', () => {
  it('rejects at the deadline with the last state, also if a look never settles', async () => {
    let looks = 0;
    const observe = () => (++looks < 3 ? Promise.resolve(looks) : never);
    await expect(waitFor('ten', observe, (count) => count === 10, 100)).rejects.toThrow(
      'ten: not so within 100 ms; the state is 2',
    );
    await expect(waitFor('any', () => never, Boolean, 10)).rejects.toThrow("the state is 'not known'");
  });

  it('rejects wrong arguments with their names', async () => {
    await expect(waitFor('it', 5 as never)).rejects.toThrow('waitFor observe: expected a function, got 5');
    for (const timeoutMs of [Number.NaN, -1, Number.POSITIVE_INFINITY]) {
      await expect(waitFor('it', () => 1, Boolean, timeoutMs)).rejects.toThrow(RangeError);
      await expect(within(timeoutMs, 'it', Promise.resolve())).rejects.toThrow(RangeError);
    }
  });
});

describe('waitForModel', () => {
  it('rejects at the deadline if the frontend accepts connections and never answers', async () => {
    const server = createServer();
    const port = await new Promise<number>((resolve) => {
      server.listen(0, '127.0.0.1', () => resolve((server.address() as { port: number }).port));
    });
    const sockets: { destroy(): void }[] = [];
    server.on('connection', (socket) => sockets.push(socket));
    try {
      await expect(waitForModel(`http://127.0.0.1:${port}`, 'tiny', 200)).rejects.toThrow(
        /lists tiny: not so within 200 ms/,
      );
    } finally {
      for (const socket of sockets) socket.destroy();
      server.close();
    }
  });
});

describe('RecordedRequests', () => {
  const record = (requests: RecordedRequests, request: string) =>
    requests.record(request, { id: request, metadata: {} } as unknown as RequestContext);

  it('gives concurrent calls of next two requests, and none to a call that was too late', async () => {
    const requests = new RecordedRequests();
    await expect(requests.next(10)).rejects.toThrow('1 requests: not so within 10 ms');
    const both = Promise.all([requests.next(), requests.next()]);
    record(requests, 'one');
    record(requests, 'two');
    expect((await both).map(({ id }) => id)).toEqual(['one', 'two']);
  });

  it('rejects what is no handler', () => {
    expect(() => recorded(5 as never)).toThrow('recorded handler: expected a function, got 5');
  });
});

describe('TestProcess', () => {
  it('returns each line once for a pattern that keeps its place', async () => {
    await using child = TestProcess.start('sh', ['-c', 'echo abc; echo abcd; exec sleep 60']);
    const pattern = /c/g;
    expect([await child.line(pattern), await child.line(pattern)]).toEqual(['abc', 'abcd']);
  });

  it('rejects a command and arguments that are no strings', () => {
    expect(() => TestProcess.start(undefined as never)).toThrow('TestProcess.start command: expected a string');
    expect(() => TestProcess.start('echo', 'a' as never)).toThrow(
      'TestProcess.start args: expected an array of strings',
    );
    expect(() => TestProcess.start('echo', [1] as never)).toThrow(
      'TestProcess.start args[0]: expected a string, got 1',
    );
  });
});

describe('TestLink', () => {
  it('keeps its address when it is closed, twice', async () => {
    const link = await TestLink.start('127.0.0.1:9');
    const { address } = link;
    await Promise.all([link.close(), link.close()]);
    await link.close();
    expect(link.address).toBe(address);
  });
});
