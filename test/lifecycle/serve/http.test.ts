import { createServer, type Server } from 'node:net';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';

import { ServeTest } from '../../helpers/deploy/serve.js';
import { root } from '../../helpers/project.js';
import { freePort } from '../../helpers/runtime/cluster.js';

const target = join(root, 'test/helpers/deploy/graphs/chat.ts');

describe('the frontend of a graph', () => {
  it('listens on the port that the command names, and answers', async () => {
    await using test = new ServeTest();
    const httpPort = await freePort();
    const { local } = await test.local({}, { httpHost: '127.0.0.1', httpPort }, target);
    await local.start();
    expect(local.state.urls).toEqual([`http://127.0.0.1:${httpPort}`]);
    const models = await fetch(`http://127.0.0.1:${httpPort}/v1/models`);
    expect(await models.json()).toMatchObject({ data: [{ id: 'echo' }] });
  });

  it('fails with the port if it is taken', async () => {
    await using test = new ServeTest();
    const server = await new Promise<Server>((resolve) => {
      const made = createServer().listen(0, '127.0.0.1', () => resolve(made));
    });
    const { port } = server.address() as { port: number };
    const { local } = await test.local({}, { httpHost: '127.0.0.1', httpPort: port }, target);
    await expect(local.start()).rejects.toMatchObject({
      code: 'E_WORKER_FAILED',
      message: expect.stringMatching(new RegExp(`^Chat#0 did not start: .*${port}`)) as string,
    });
    server.close();
  });
});
