// npm run test:kubernetes [-- ARGUMENTS OF VITEST]
// Tests deployments against the API server of custom resources. The first run builds it with Go, which takes minutes.
import { existsSync, mkdirSync } from 'node:fs';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { main } from './setup/index.mjs';
import { root, run, SetUpError, which } from './setup/process.mjs';

/** The module with the server. Its own go.mod names the Go that it needs. */
const MODULE = 'k8s.io/apiextensions-apiserver@v0.36.6';
const folder = join(homedir(), '.cache/dynamo-node/kubernetes');

await main(async () => {
  if (!existsSync(join(folder, 'apiextensions-apiserver'))) {
    if (!which('go')) throw new SetUpError('the API server needs Go 1.26 or later, which is not installed');
    mkdirSync(folder, { recursive: true });
    const env = { ...process.env, GOBIN: folder, GOFLAGS: '-p=2' };
    await run('go', ['install', '-ldflags', '-s -w', MODULE], { cwd: folder, env });
  }
  const env = { ...process.env, DYNAMO_TEST_FOLDERS: 'kubernetes' };
  const vitest = join(root, 'node_modules/vitest/vitest.mjs');
  await run(process.execPath, [vitest, 'run', ...process.argv.slice(2)], { env });
});
