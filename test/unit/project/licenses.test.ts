import { describe, expect, it } from 'vitest';

import { isAllowed, linkedCrates, notices, refusalOf, refusals, runtimePackages } from '../../../scripts/licenses.mjs';
import { installRust } from '../../../scripts/setup/rust.mjs';

describe('the licences of what is shipped', () => {
  it.each([
    'MIT',
    'MIT/Apache-2.0',
    'GPL-2.0 OR MIT',
    '(MIT OR Apache-2.0) AND Unicode-3.0',
    'Apache-2.0 WITH LLVM-exception',
  ])('accept %s', (expression) => {
    expect(isAllowed(expression)).toBe(true);
  });

  it.each([
    'GPL-3.0-only',
    'LGPL-3.0 AND MIT',
    'MPL-2.0',
    'MIT AND (GPL-2.0 OR AGPL-3.0)',
    'SSPL-1.0',
    'Proprietary',
    '',
  ])('reject %j', (expression) => {
    expect(isAllowed(expression)).toBe(false);
  });

  it('reject a part without a licence, with an unknown one, or with a copyleft text under a permissive name', () => {
    expect(refusalOf({ name: 'planted', license: null })).toContain('no licence');
    expect(refusalOf({ name: 'planted', license: 'SSPL-1.0' })).toContain('SSPL-1.0');
    expect(
      refusalOf({ name: 'planted', license: 'MIT' }, ['... under the GNU Lesser General Public License ...']),
    ).toContain('read it');
    expect(refusalOf({ name: 'planted', license: 'MIT' }, ['Permission is hereby granted ...'])).toBeUndefined();
  });

  it('are all allowed, and the notices contain every crate and every text', async () => {
    await installRust();
    const [crates, packages] = [linkedCrates(), runtimePackages()];
    expect(refusals(crates, packages)).toEqual([]);
    expect(crates.map(({ name }) => name)).toEqual(
      expect.arrayContaining(['dynamo-runtime', 'dynamo-llm', 'tokio', 'zeromq-src']),
    );
    expect(packages.map(({ name }) => name)).toEqual(expect.arrayContaining(['node-gyp-build']));

    const text = notices(crates, packages);
    for (const { name, version } of [...crates, ...packages]) expect(text).toContain(`\n${name} ${version}: `);
    expect(text).toContain('SPECIAL EXCEPTION GRANTED BY COPYRIGHT HOLDERS');
    expect(text).toContain('GCC-exception-3.1');
  });
});
