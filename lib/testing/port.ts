import { createServer } from 'node:net';

const FIRST = 10_000;
const COUNT = 10_000;
/** Test processes that run concurrently begin at different ports. */
const SPREAD = 97;

let next = (process.pid * SPREAD) % COUNT;

/**
 * A free port of 127.0.0.1 for a server that cannot listen on port 0. It is below the ports that the system assigns,
 * and was not returned before in this process.
 */
export async function freePort(): Promise<number> {
  for (;;) {
    const port = FIRST + (next++ % COUNT);
    const server = createServer();
    const isFree = await new Promise<boolean>((resolve) => {
      server.once('error', () => resolve(false));
      server.listen(port, '127.0.0.1', () => server.close(() => resolve(true)));
    });
    if (isFree) return port;
  }
}
