import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';

import ts from 'typescript';
import { describe, expect, it, onTestFinished } from 'vitest';

import { order } from '../../../scripts/check-layers.mjs';
import { execute, root } from '../../helpers/project.js';

/** Names that an example may use without declaring them, in addition to the exports of the package. */
const PRELUDE = `
  import type {
    BlockManager, Client, DistributedRuntime, Endpoint, KvRouter, LLMEngine, MemoryDescriptor, MemoryRegion,
    NixlAgent, NixlPeer, RegisteredBlocks, RouterEvent, RoutingRequest, TokenSequence,
  } from 'dynamo-node';
  declare global {
    const runtime: DistributedRuntime;
    const endpoint: Endpoint;
    const client: Client<any, any>;
    const instanceId: bigint;
    const engine: LLMEngine;
    const dir: string;
    const request: RoutingRequest;
    const router: KvRouter;
    const events: readonly RouterEvent[];
    const tokens: Uint32Array;
    const promptTokens: Uint32Array;
    const blockHashes: BigUint64Array;
    const tokensHashes: BigUint64Array;
    const sequence: TokenSequence;
    const manager: BlockManager;
    const host: BlockManager;
    const disk: BlockManager;
    const registered: RegisteredBlocks;
    const agent: NixlAgent;
    const peer: NixlPeer;
    const region: MemoryRegion;
    const metadata: Uint8Array;
    const metadataOfThePeer: Uint8Array;
    const descriptor: MemoryDescriptor;
    const descriptorOfThePeer: MemoryDescriptor;
    /** Parts that an example does not show: a model, a tokenizer, other options. */
    const options: any;
    const model: any;
    const encode: any;
    const decode: any;
    const sendToPeer: any;
  }
`;

function exportedNames(entry = 'lib/index.ts'): string[] {
  const index = ts.createSourceFile('index.ts', readFileSync(join(root, entry), 'utf8'), ts.ScriptTarget.Latest);
  return index.statements.flatMap((statement) => {
    const clause = ts.isExportDeclaration(statement) ? statement.exportClause : undefined;
    return clause !== undefined && ts.isNamedExports(clause) ? clause.elements.map(({ name }) => name.text) : [];
  });
}

const importAll = `import { ${exportedNames().join(', ')} } from 'dynamo-node';\n`;

const fenced = /^(?: *\* )?```ts\n([\s\S]*?)^ *(?:\* )?```$/gm;
/** Up to the next tag or the end of the comment. */
const tagged = /^ *\* @example *\n((?: *\*(?! @|\/| *```).*\n)+)/gm;

/** The TypeScript of Markdown fences and of doc comments, each with the place where it starts. */
function examplesOf(file: string): [place: string, code: string][] {
  const text = readFileSync(join(root, file), 'utf8');
  return [...text.matchAll(fenced), ...text.matchAll(tagged)].map((match) => {
    const code = file.endsWith('.ts') ? match[1]!.replaceAll(/^ *\* ?/gm, '') : match[1]!;
    const place = `${file}:${text.slice(0, match.index).split('\n').length}`;
    return [place, `${/from 'dynamo-node(\/\w+)?'/.test(code) ? '' : importAll}${code}\nexport {};\n`];
  });
}

/** An example may be the body of a function. */
const RETURN_OUTSIDE_OF_FUNCTION = 1108;

/** The compiler's errors in modules that exist only in memory, as if they were at the root of the checkout. */
function complaints(modules: ReadonlyMap<string, string>): string[] {
  const { config } = ts.readConfigFile(join(root, 'tsconfig.check.json'), ts.sys.readFile);
  const { options } = ts.parseJsonConfigFileContent({ ...config, include: [] }, ts.sys, root);
  const lenient = { ...options, noUnusedLocals: false, noUnusedParameters: false, verbatimModuleSyntax: false };
  const host = ts.createCompilerHost(lenient);
  const { fileExists, readFile, getSourceFile } = host;
  host.fileExists = (name) => modules.has(name) || fileExists(name);
  host.readFile = (name) => modules.get(name) ?? readFile(name);
  host.getSourceFile = (name, language, ...rest) => {
    const text = modules.get(name);
    return text === undefined ? getSourceFile(name, language, ...rest) : ts.createSourceFile(name, text, language);
  };
  const program = ts.createProgram([...modules.keys()], lenient, host);
  return [...modules.keys()].flatMap((name) => {
    const file = program.getSourceFile(name);
    const found = [...program.getSyntacticDiagnostics(file), ...program.getSemanticDiagnostics(file)];
    return found
      .filter(({ code }) => code !== RETURN_OUTSIDE_OF_FUNCTION)
      .map(({ messageText, start }) => {
        const line = file!.getLineAndCharacterOfPosition(start ?? 0).line + 1;
        const message = ts.flattenDiagnosticMessageText(messageText, '\n');
        return `${name.slice(root.length)}, line ${line} of the example: ${message}`;
      });
  });
}

const filesOf = (folder: string, pattern: RegExp): string[] =>
  readdirSync(join(root, folder), { recursive: true, encoding: 'utf8' })
    .filter((name) => pattern.test(name))
    .map((name) => join(folder, name));

const moduleOf = (place: string): string => join(root, `${place.replaceAll(/[^\w-]/g, '_')}.ts`);

describe('the reference', () => {
  it('is generated without a warning: every exported name has a doc comment', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'dynamo-docs-'));
    onTestFinished(() => rmSync(folder, { recursive: true }));
    await execute(process.execPath, ['node_modules/typedoc/bin/typedoc', '--out', folder, '--logLevel', 'Warn'], {
      cwd: root,
    });
    expect(readFileSync(join(folder, 'classes/index.DistributedRuntime.html'), 'utf8')).toContain(
      'connection to a Dynamo deployment',
    );
  });

  it('has examples that compile, in doc comments and guides', () => {
    const examples = [
      'README.md',
      ...filesOf('docs', /^\w+\.md$/),
      ...filesOf('examples', /\.md$/),
      ...filesOf('lib', /\.ts$/),
    ].flatMap(examplesOf);
    expect(examples.map(([place]) => place.replace(/:.*/, ''))).toEqual(
      expect.arrayContaining(['README.md', 'lib/llm/engine.ts']),
    );
    const modules = new Map(examples.map(([place, code]) => [moduleOf(place), code]));
    modules.set(join(root, 'examples-prelude.ts'), PRELUDE);
    expect(complaints(modules)).toEqual([]);
  });

  it('rejects an example that uses a name that does not exist', () => {
    const modules = new Map([
      [
        moduleOf('planted'),
        "import { Endpoint, Endpiont } from 'dynamo-node';\nexport type A = Endpoint | Endpiont;\n",
      ],
    ]);
    expect(complaints(modules)).toEqual([expect.stringContaining("no exported member named 'Endpiont'")]);
  });
});

describe('the guides', () => {
  const guides = [
    'README.md',
    'CONTRIBUTING.md',
    'SECURITY.md',
    'CODE_OF_CONDUCT.md',
    'bench/README.md',
    ...filesOf('docs', /^\w+\.md$/),
    ...filesOf('docs/decisions', /\.md$/),
    ...filesOf('examples', /\.md$/),
  ];

  it('link to files that exist', () => {
    const links = guides.flatMap((guide) => {
      const targets = [...readFileSync(join(root, guide), 'utf8').matchAll(/\]\((?!https?:|#)([^)#\s]+)/g)].map(
        ([, target]) => target!,
      );
      return targets.map((target) => join(dirname(guide), target));
    });
    expect(links).toContain('docs/glossary.md');
    expect(links.filter((link) => !existsSync(join(root, link)))).toEqual([]);
  });

  it('list every term of the glossary with exported names in the table of terms', () => {
    const [, table] = /\n## Dynamo's terms\n([\s\S]*?)\n## /.exec(readFileSync(join(root, 'README.md'), 'utf8'))!;
    const rows = [...table!.matchAll(/^\| ([^|]+) \| ([^|]+) \|$/gm)]
      .map(([, term, where]) => [term!.trim(), where!.trim()] as const)
      .slice(2);
    const terms = [...readFileSync(join(root, 'docs/glossary.md'), 'utf8').matchAll(/^\*\*(.+?)\*\*/gm)].map(
      ([, term]) => term!.replace(/ \(.+\)$/, ''),
    );
    expect(rows.flatMap(([term]) => term.split(', ').map((one) => one.replaceAll('`', ''))).sort()).toEqual(
      terms.sort(),
    );

    const classes = rows.flatMap(([, where]) => [...where.matchAll(/\[`([A-Za-z]+)/g)].map(([, name]) => name!));
    expect(classes).toContain('DistributedRuntime');
    const exported = [
      'lib/index.ts',
      'lib/disagg/index.ts',
      'lib/sdk/index.ts',
      'lib/planner/index.ts',
      'lib/vllm/index.ts',
    ].flatMap((entry) => exportedNames(entry));
    expect(classes.filter((name) => !exported.includes(name))).toEqual([]);
  });

  it('name in the architecture only functions that their files contain', () => {
    const text = readFileSync(join(root, 'docs/architecture.md'), 'utf8');
    const rows = [...text.matchAll(/\| `([^`]+)` \| \[[^\]]+\]\(\.\.\/([^)]+)\) \|$/gm)];
    expect(rows.length).toBeGreaterThan(20);
    const wrong = rows.filter(([, name, file]) => !readFileSync(join(root, file!), 'utf8').includes(`${name}(`));
    expect(wrong.map(([, name, file]) => `${name} in ${file}`)).toEqual([]);
  });

  it('list in the architecture the rooms in the order that the layer check has', () => {
    const text = readFileSync(join(root, 'docs/architecture.md'), 'utf8');
    const [, table] = /\n## The rooms of lib\n([\s\S]*?)\nNew entry points/.exec(text)!;
    const rows = [...table!.matchAll(/^\| ([^|]+) \|/gm)].slice(2).map(([, cell]) => cell!);
    const documented = rows.map((cell) => [...cell.replace(/\(.*\)/, '').matchAll(/[a-z]+/g)].map(([room]) => room));
    const known = documented.map((rooms) => rooms.filter((room) => room !== 'ts'));
    expect(known).toEqual(order);
  });
});
