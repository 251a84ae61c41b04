import { readFileSync, writeFileSync } from 'node:fs';
import { register } from 'node:module';
import { join } from 'node:path';
import { register as registerTypeScript } from 'tsx/esm/api';
import { root } from './setup/process.mjs';

/** The tables of docs/options.md: where each is exported, and the call that takes the options. */
const tables = [
  ['DistributedRuntime.create', 'lib/runtime/config.ts', ({ RUNTIME_OPTIONS }) => RUNTIME_OPTIONS],
  ["`discovery` of kind `'file'`", 'lib/runtime/config.ts', ({ DISCOVERY_OPTIONS }) => DISCOVERY_OPTIONS.file],
  ["`discovery` of kind `'etcd'`", 'lib/runtime/config.ts', ({ DISCOVERY_OPTIONS }) => DISCOVERY_OPTIONS.etcd],
  [
    "`discovery` of kind `'kubernetes'`",
    'lib/runtime/config.ts',
    ({ DISCOVERY_OPTIONS }) => DISCOVERY_OPTIONS.kubernetes,
  ],
  ['`tls` of a runtime', 'lib/runtime/tls.ts', ({ TRANSPORT_TLS_OPTIONS }) => TRANSPORT_TLS_OPTIONS],
  ['`natsTls` of a runtime', 'lib/runtime/tls.ts', ({ NATS_TLS_OPTIONS }) => NATS_TLS_OPTIONS],
  ['endpoint.serve', 'lib/runtime/serve-options.ts', ({ SERVE_OPTIONS }) => SERVE_OPTIONS],
  ['endpoint.client', 'lib/runtime/client-options.ts', ({ CLIENT_OPTIONS }) => CLIENT_OPTIONS],
  ['Requests of a client', 'lib/runtime/client-options.ts', ({ REQUEST_OPTIONS }) => REQUEST_OPTIONS],
  ['serveEngine', 'lib/llm/worker.ts', ({ SERVE_ENGINE_OPTIONS }) => SERVE_ENGINE_OPTIONS],
  ['registerModel', 'lib/llm/model.ts', ({ MODEL_OPTIONS }) => MODEL_OPTIONS],
  ['Frontend.start, HTTP', 'lib/llm/frontend-options.ts', ({ FRONTEND_OPTIONS }) => FRONTEND_OPTIONS.http],
  ['Frontend.start, gRPC', 'lib/llm/frontend-options.ts', ({ FRONTEND_OPTIONS }) => FRONTEND_OPTIONS.grpc],
  ['Frontend.start, text', 'lib/llm/frontend-options.ts', ({ FRONTEND_OPTIONS }) => FRONTEND_OPTIONS.text],
  ['Dashboard.start', 'lib/dashboard/dashboard.ts', ({ DASHBOARD_OPTIONS }) => DASHBOARD_OPTIONS],
  ['plannerService', 'lib/planner/service.ts', ({ PLANNER_SERVICE_OPTIONS }) => PLANNER_SERVICE_OPTIONS],
  ['`config` of a planner', 'lib/planner/core/config.ts', ({ PLANNER_CONFIG }) => PLANNER_CONFIG],
  ['`pools` of a planner', 'lib/planner/core/config.ts', ({ POOL_OPTIONS }) => POOL_OPTIONS],
];

const intro = `# Options

The options of the calls that a command line can show. This page is generated from the option tables in \`lib/\` with
\`npm run options\`.

An option that is not passed has the value of its environment variable, if it has one. Otherwise Dynamo's default
applies. The doc comments of the option types state the defaults.
`;

const code = (text) => `\`${text}\``;
const cell = (text) => text.replaceAll('|', '\\|');

function rowOf(table, name) {
  const { kind, expected, variables, summary, isRequired } = table.row(name);
  const flag = kind === 'none' ? '' : code(table.flags().find((one) => one.name === name).flag);
  const meaning = isRequired ? `${summary} Required.` : summary;
  return `| ${[code(name), flag, variables.map(code).join(', '), expected, meaning].map(cell).join(' | ')} |`;
}

function sectionOf(title, table) {
  return [
    `## ${title}`,
    '',
    '| Option | Flag | Environment variable | Expected | Meaning |',
    '| --- | --- | --- | --- | --- |',
    ...table.names.map((name) => rowOf(table, name)),
    '',
  ].join('\n');
}

registerTypeScript();
register('./options/without-addon.mjs', import.meta.url);

const sections = [];
for (const [title, file, tableOf] of tables) sections.push(sectionOf(title, tableOf(await import(join(root, file)))));
const page = [intro, ...sections].join('\n');

const path = join(root, 'docs/options.md');
if (!process.argv.includes('--check')) writeFileSync(path, page);
else if (readFileSync(path, 'utf8') !== page) {
  console.error('docs/options.md is not what the option tables say: run `npm run options`');
  process.exitCode = 1;
}
