import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { DynamoError } from 'dynamo-node';
import { ConfigError, GraphError } from 'dynamo-node/sdk';
import { describe, expect, it } from 'vitest';
import { cliFailureOf } from '../../../lib/cli/failure.js';
import { CRATES } from '../../../lib/cli/version.js';
import { root } from '../../helpers/project.js';

const fileError = (code: string) => Object.assign(new Error('a file'), { code });

describe('the failure of', () => {
  it.each([
    ['a graph', new GraphError('graph.link_no_match', 'm'), 'E_LINK_NO_MATCH', 65],
    ['mixed namespaces', new GraphError('graph.namespaces', 'm'), 'E_NAMESPACE_MIXED', 65],
    ['a request', new DynamoError('InvalidRequest', 'm'), 'DYN_INVALID_REQUEST', 65],
    ['an addon that cannot be loaded', Object.assign(new Error('m'), { code: 'DYN_NO_ADDON' }), 'E_NO_ADDON', 69],
    ['a missing configuration', new ConfigError('config.unreadable', undefined, 'm'), 'E_BAD_CONFIG', 66],
    ['a server', new DynamoError('Unavailable', 'm'), 'DYN_UNAVAILABLE', 69],
    ['access', new DynamoError('PermissionDenied', 'm'), 'DYN_PERMISSION_DENIED', 77],
    ['the native side', new DynamoError('Internal', 'm'), 'DYN_INTERNAL', 1],
    ['a file that is not there', fileError('ENOENT'), 'E_ENOENT', 66],
    ['a folder without access', fileError('EACCES'), 'E_EACCES', 77],
    ['a full disk', fileError('ENOSPC'), 'E_ENOSPC', 73],
    ['a bug', new Error('m'), 'E_FAILED', 1],
    ['a thrown text', 'm', 'E_FAILED', 1],
  ])('%s has a code and an exit code', (_, error, code, exitCode) => {
    expect(cliFailureOf(error)).toMatchObject({ code, exitCode });
  });

  it('an error of another room has its own exit code, hint and path', () => {
    const error = Object.assign(new Error('m'), { code: 'E_X', exitCode: 73, hint: 'h', path: 'p' });
    expect(cliFailureOf(error)).toEqual({ code: 'E_X', message: 'm', exitCode: 73, hint: 'h', path: 'p' });
  });
});

describe('the version', () => {
  it('names the versions of the crates that are built in', () => {
    const manifest = readFileSync(join(root, 'native/core/Cargo.toml'), 'utf8');
    for (const [name, version] of Object.entries(CRATES))
      expect(manifest).toMatch(new RegExp(`^${name} = .*"=${version.replaceAll('.', '\\.')}"`, 'm'));
  });
});
