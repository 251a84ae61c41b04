import { existsSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { RuntimeOptions } from '../runtime/config.js';
import { parseEndpointPath } from '../runtime/endpoint-path.js';
import { TestLink } from './link.js';
import { waitFor } from './wait.js';

/** A registration in the folder of file discovery. Source: `dynamo-runtime` `component.rs`. */
interface Registration {
  readonly file: string;
  readonly text: string;
  readonly path: string;
  /** In the form of a JSON number: it has more digits than a number of JavaScript. */
  readonly instanceId: string;
  /** `HOST:PORT`. */
  readonly address: string;
}

function registrationIn(file: string): Registration | undefined {
  const text = readFileSync(file, 'utf8');
  const [, address] = /"tcp":"([^/"]+)\//.exec(text) ?? [];
  const [, instanceId] = /"instance_id":(\d+)/.exec(text) ?? [];
  if (address === undefined || instanceId === undefined) return undefined;
  const { namespace, component, endpoint } = JSON.parse(text) as Record<string, string>;
  return { file, text, path: `${namespace}.${component}.${endpoint}`, instanceId, address };
}

function registrations(dir: string): Registration[] {
  const folder = join(dir, 'v1', 'instances');
  if (!existsSync(folder)) return [];
  return readdirSync(folder).flatMap((name) => {
    try {
      return registrationIn(join(folder, name)) ?? [];
    } catch {
      // It was removed in the meantime.
      return [];
    }
  });
}

/** How long callers may take to see that a file is gone: a file that only changes is not read again. */
const GONE_MS = 200;

/**
 * Puts a link before all endpoints of the process of one instance, by its addresses in the folder of file discovery.
 */
export async function linkInstances(
  { discovery, requestPlane }: RuntimeOptions,
  endpoint: string,
  instanceId: bigint | undefined,
): Promise<TestLink> {
  const { path } = parseEndpointPath('cluster.link endpoint', endpoint);
  if (discovery?.kind !== 'file' || discovery.dir === undefined || requestPlane === 'nats')
    throw new Error('cluster.link: expected a cluster with discovery by files and requests over TCP');
  const { dir } = discovery;
  const found = await waitFor(
    `an instance ${instanceId ?? ''} of ${path}`,
    () => registrations(dir).filter((one) => one.path === path),
    (all) => all.some((one) => instanceId === undefined || one.instanceId === String(instanceId)),
  );
  const wanted = found.filter((one) => instanceId === undefined || one.instanceId === String(instanceId));
  const [first, another] = wanted;
  if (first === undefined || another !== undefined)
    throw new Error(`cluster.link ${path}: expected one instance, got ${wanted.length}; name it by its id`);
  const link = await TestLink.start(first.address);
  const moved = registrations(dir).filter(({ address }) => address === first.address);
  for (const { file } of moved) rmSync(file, { force: true });
  await new Promise((resolve) => setTimeout(resolve, GONE_MS));
  for (const { file, text, address } of moved) {
    writeFileSync(`${file}.link`, text.replaceAll(`"${address}/`, `"${link.address}/`));
    renameSync(`${file}.link`, file);
  }
  return link;
}
