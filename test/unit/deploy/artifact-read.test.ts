import { mkdirSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';

import { readArtifact } from '../../../lib/deploy/artifact-read.js';
import { WrittenArtifact } from '../../helpers/deploy/artifacts.js';

const EMPTY = 'e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855';

async function failureOf(damage: (artifact: WrittenArtifact) => void): Promise<unknown> {
  using artifact = new WrittenArtifact();
  damage(artifact);
  return await readArtifact(artifact.folder).then(
    () => 'it was read',
    (error: unknown) => error,
  );
}

describe('reading an artifact', () => {
  it('returns its manifest', async () => {
    using artifact = new WrittenArtifact();
    expect((await readArtifact(artifact.folder)).manifest).toEqual(artifact.manifest);
  });

  it.each([
    '../outside',
    'src/../../outside',
    '/etc/passwd',
    '..',
    '.',
    '',
    './src/graph.js',
    'src//graph.js',
    'src/',
    'C:/windows',
    'src\\graph.js',
    'src/\0graph.js',
    'src/\ngraph.js',
  ])('rejects the hostile path %j', async (path) => {
    const error = await failureOf((artifact) => {
      writeFileSync(join(artifact.parent, 'outside'), '');
      artifact.change({ files: [...artifact.manifest.files, { path, sha256: EMPTY }] });
    });
    expect(error).toMatchObject({
      code: 'E_BAD_ARTIFACT',
      exitCode: 65,
      message: expect.stringContaining(
        'dynamo.yaml.files[2].path: expected a relative path without .., with / between folders, got ',
      ),
    });
  });

  it.each<[string, object, string]>([
    [
      'another schema',
      { schema: 'dynamo-node.artifact/v2' },
      'dynamo.yaml.schema: expected one of dynamo-node.artifact/v1',
    ],
    ['a name that is a path', { name: '../agg' }, 'dynamo.yaml.name: expected a name of a-z, 0-9 and -'],
    ['a version that is a path', { version: '../1' }, 'dynamo.yaml.version: expected a version of letters'],
    ['an entry that is no file of it', { entry: 'src/other.js' }, 'dynamo.yaml.entry: expected one of its files'],
    ['a graph of another kind', { graph: { schema: 'x' } }, 'dynamo.yaml.graph.schema: expected one of'],
    ['a digest that is none', { digest: 'abc' }, 'dynamo.yaml.digest: expected a SHA-256 of 64 hexadecimal digits'],
    ['a field that is not known', { run: 'rm' }, 'dynamo.yaml.run: unknown option'],
    ['no files', { files: undefined }, 'dynamo.yaml.files: expected an array'],
    [
      'commands for the terminal',
      { runtime: { dynamo: '1.6.1\x1b]0;title\x07', node: '24' } },
      'dynamo.yaml.runtime.dynamo: expected text without control characters, got "1.6.1\\u001b]0;title\\u0007"',
    ],
  ])('rejects a manifest with %s', async (_, changes, message) => {
    expect(await failureOf((artifact) => artifact.change(changes))).toMatchObject({
      code: 'E_BAD_ARTIFACT',
      message: expect.stringContaining(message),
    });
  });

  it('rejects a path that is listed twice, and the manifest as one of its files', async () => {
    for (const path of ['package.json', 'dynamo.yaml']) {
      const error = await failureOf((artifact) =>
        artifact.change({ files: [...artifact.manifest.files, { path, sha256: EMPTY }] }),
      );
      expect(error).toMatchObject({
        message: expect.stringContaining(`expected different paths, got '${path}' again`),
      });
    }
  });

  it.each<[string, (artifact: WrittenArtifact) => void, RegExp]>([
    [
      'a changed file',
      (one) => one.write('src/graph.js', 'evil'),
      /src\/graph\.js: expected the SHA-256 [0-9a-f]{64}, got /,
    ],
    ['a missing file', (one) => rmSync(join(one.folder, 'package.json')), /package\.json: the file is missing$/],
    [
      'a file that is not listed',
      (one) => one.write('src/more.js', ''),
      /src\/more\.js: expected only the files of dynamo\.yaml$/,
    ],
    ['text that is no YAML', (one) => one.write('dynamo.yaml', 'a: ['), /dynamo\.yaml: line 1, column 5: /],
    [
      'text that is no YAML, without quoting it',
      (one) => one.write('dynamo.yaml', 'a: 1\n\x1b[2Jb\n'),
      /dynamo\.yaml: line \d+, column \d+: [ -~]+$/,
    ],
    ['two documents', (one) => one.write('dynamo.yaml', 'a: 1\n---\nb: 2\n'), /dynamo\.yaml: /],
    ['an alias', (one) => one.write('dynamo.yaml', 'a: &a [1]\nb: [*a, *a]\n'), /dynamo\.yaml: .*alias/i],
    ['a list', (one) => one.write('dynamo.yaml', '- a\n'), /dynamo\.yaml: expected an object, got an array/],
    [
      'more bytes than a manifest has',
      (one) => one.write('dynamo.yaml', ' '.repeat(17 << 20)),
      /expected at most \d+ bytes, got \d+$/,
    ],
  ])('rejects %s', async (_, damage, message) => {
    expect(await failureOf(damage)).toMatchObject({
      code: 'E_BAD_ARTIFACT',
      exitCode: 65,
      message: expect.stringMatching(message),
    });
  });

  it.each<[string, (artifact: WrittenArtifact) => void]>([
    [
      'a file',
      (one) => {
        rmSync(join(one.folder, 'package.json'));
        writeFileSync(join(one.parent, 'package.json'), '{}');
        symlinkSync(join(one.parent, 'package.json'), join(one.folder, 'package.json'));
      },
    ],
    [
      'a folder',
      (one) => {
        rmSync(join(one.folder, 'src'), { recursive: true });
        mkdirSync(join(one.parent, 'src'));
        writeFileSync(join(one.parent, 'src/graph.js'), 'export {};\n');
        symlinkSync(join(one.parent, 'src'), join(one.folder, 'src'));
      },
    ],
    ['a file that is not listed', (one) => symlinkSync('/etc/passwd', join(one.folder, 'passwd'))],
  ])('rejects a symbolic link in the place of %s, though the content is right', async (_, damage) => {
    expect(await failureOf(damage)).toMatchObject({
      code: 'E_BAD_ARTIFACT',
      message: expect.stringMatching(/: expected no symbolic link$/),
    });
  });

  it('rejects a manifest that is a link or a folder', async () => {
    const asLink = await failureOf((artifact) => {
      writeFileSync(join(artifact.parent, 'dynamo.yaml'), '');
      rmSync(join(artifact.folder, 'dynamo.yaml'));
      symlinkSync(join(artifact.parent, 'dynamo.yaml'), join(artifact.folder, 'dynamo.yaml'));
    });
    const asFolder = await failureOf((artifact) => {
      rmSync(join(artifact.folder, 'dynamo.yaml'));
      mkdirSync(join(artifact.folder, 'dynamo.yaml'));
    });
    for (const error of [asLink, asFolder])
      expect(error).toMatchObject({ message: expect.stringMatching(/dynamo\.yaml: expected a file$/) });
  });

  it('says that a folder without a manifest is no artifact', async () => {
    expect(await failureOf((artifact) => rmSync(join(artifact.folder, 'dynamo.yaml')))).toMatchObject({
      code: 'E_NO_ARTIFACT',
      exitCode: 66,
      message: expect.stringMatching(/is no artifact: it has no dynamo\.yaml$/),
    });
  });
});
