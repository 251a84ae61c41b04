import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { serveGraph, startCluster, type TestContext, TestLink } from 'dynamo-node/testing';
import { root } from '../project.js';

/** What a failing test had started. */
export interface Started {
  readonly folder: string;
  readonly pids: readonly number[];
  readonly port: number;
}

/** Starts one of everything, reports it to the file `$STARTED`, and then fails in the way that `$FAULT` says. */
export async function failingTest(test: TestContext): Promise<void> {
  const cluster = await startCluster({ test });
  const link = cluster.use(await TestLink.start('127.0.0.1:9'));
  const program = cluster.program(join(root, 'test/helpers/testing/programs/sleeper.ts'));
  const grandchild = Number((await program.line('grandchild ')).split(' ')[1]);
  const served = await serveGraph(join(root, 'test/helpers/deploy/graphs/serve.ts'), { cluster, test });
  const workers = served.state.services.flatMap(({ workers }) => workers.flatMap(({ pid }) => pid ?? []));
  const pids = [program.pid as number, grandchild, ...workers];
  const started: Started = { folder: cluster.folder, pids, port: link.port };
  writeFileSync(process.env['STARTED'] as string, JSON.stringify(started));
  if (process.env['FAULT'] === 'throw') throw new Error('fails on purpose');
  if (process.env['FAULT'] === 'exit') process.exit(3);
  await new Promise((resolve) => setTimeout(resolve, 2 ** 30).unref());
}
