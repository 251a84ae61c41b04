// Serves the services of graph.ts on two nodes, with etcd and NATS between them, and sends a request.
// Usage: npm run example -- multi-node (as root: it makes network namespaces)
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { fail, temporaryFolder } from '../processes.js';
import { missingForNodes, type Node, Nodes } from './nodes.js';

const dynamo = fileURLToPath(new URL('dist/cli/main.js', import.meta.resolve('dynamo-node/package.json')));
const graph = fileURLToPath(new URL('graph.ts', import.meta.url));
const folder = temporaryFolder('dynamo-multi-node-');
const planes = ['--discovery-backend', 'etcd', '--request-plane', 'nats', '--event-plane', 'nats'];

const missing = missingForNodes();
if (missing !== undefined) fail(missing);
await using nodes = new Nodes();
const { first, second } = nodes;
const env = {
  ETCD_ENDPOINTS: `http://${first.address}:2379`,
  NATS_SERVER: `nats://${first.address}:4222`,
  DYN_LOCAL_STATE_DIR: folder,
};
first.start('etcd', [
  ...['--data-dir', `${folder}/etcd`, '--logger', 'zap', '--log-level', 'error'],
  ...['--listen-client-urls', env.ETCD_ENDPOINTS, '--advertise-client-urls', env.ETCD_ENDPOINTS],
]);
first.start('nats-server', [
  ...['--addr', first.address, '--jetstream', '--store_dir', `${folder}/nats`, '--log', `${folder}/nats.log`],
]);

await serve(second, 'Worker');
await serve(first, 'Frontend');
const request = ['-H', 'content-type: application/json', '-d', '"moved in blocks"'];
console.log((await first.run('curl', '-sS', 'http://127.0.0.1:8000/generate', ...request)).trimEnd());

/** Runs `dynamo serve --service-name` on a node until it is ready. */
async function serve(node: Node, service: string): Promise<void> {
  const words = [dynamo, 'serve', graph, '--service-name', service, ...planes, '--json'];
  const child = node.start(process.execPath, words, { env, read: true });
  const ended = once(child, 'exit').then(([code]) => Promise.reject(new Error(`dynamo serve ended with ${code}`)));
  ended.catch(() => {});
  await Promise.race([once(createInterface({ input: child.stdout! }), 'line'), ended]);
  console.log(`${service.padEnd(8)} serves on ${node.address}`);
}
