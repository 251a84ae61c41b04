import { readFileSync } from 'node:fs';
import { join } from 'node:path';

import { expect, it } from 'vitest';

import { missingPeers } from '../../helpers/interop/peers.js';
import { execute, root } from '../../helpers/project.js';

const rows = [...readFileSync(join(root, 'docs/python.md'), 'utf8').matchAll(/^\| (`.+?) \| (.+) \|$/gm)];
const names = (text: string): string[] => [...text.matchAll(/`(\w+)`/g)].map(([, name]) => name as string);

it("every public name of Python's binding stands in docs/python.md, once, and no other", async (context) => {
  if (missingPeers !== undefined) context.skip(missingPeers);
  const program =
    "import dynamo._core as core; print(' '.join(name for name in dir(core) if not name.startswith('_')))";
  const { stdout } = await execute(join(root, '.peers/bin/python'), ['-c', program]);
  const listed = rows.flatMap(([, python]) => names(python as string)).sort();
  expect(listed).toEqual(stdout.trim().split(' ').sort());
  console.log(`${listed.length} names of the wheel`);
});

it('what docs/python.md names in capitals on our side is exported', () => {
  const exported = new Set(
    [...readFileSync(join(root, 'lib/index.ts'), 'utf8').matchAll(/\b[A-Za-z]\w+\b/g)].map(([name]) => name),
  );
  const ours = rows
    .flatMap(([, , here]) => names((here as string).replace(/not here.*$/, '')))
    .filter((name) => /^[A-Z]/.test(name));
  expect(ours.length).toBeGreaterThan(40);
  expect([...new Set(ours)].filter((name) => !exported.has(name))).toEqual(['Disconnected']);
});

it("the names of metrics are those of Dynamo's own list", async (context) => {
  if (missingPeers !== undefined) context.skip(missingPeers);
  const { stdout } = await execute(join(root, '.peers/bin/python'), [join(root, 'scripts/metric-names.py')]);
  expect(readFileSync(join(root, 'lib/runtime/metric-names.ts'), 'utf8')).toBe(stdout);
});
