// routing.mjs ROUTER: a frontend with router options from JSON. It reports its port.
import { Frontend } from 'dynamo-node';

const [router] = process.argv.slice(2);
const frontend = await Frontend.start(
  { host: '127.0.0.1' },
  { host: '127.0.0.1', port: 0, router: JSON.parse(router) },
);
await frontend.ready;
console.log(JSON.stringify({ bench: { port: frontend.port } }));
process.stdin.resume().once('end', () => void frontend.close({ timeoutMs: 1000 }));
