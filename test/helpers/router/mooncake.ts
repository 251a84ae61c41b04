import { execFileSync } from 'node:child_process';
import { existsSync, readdirSync } from 'node:fs';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { root } from '../project.js';

/** The path of the trace in cargo's source folder, if it has been fetched. */
function fetched(): string | undefined {
  const sources = join(process.env['CARGO_HOME'] ?? join(homedir(), '.cargo'), 'registry/src');
  const registries = existsSync(sources) ? readdirSync(sources) : [];
  const traces = registries.map((registry) =>
    join(sources, registry, 'dynamo-bench-1.6.1/testdata/mooncake_trace_1000.jsonl'),
  );
  return traces.find((trace) => existsSync(trace));
}

/** The path of Mooncake's trace of 1,000 requests. Fetches it if it is missing. */
export function mooncakeTrace(): string {
  if (fetched() === undefined) {
    const manifest = join(root, 'test/fixtures/mooncake/Cargo.toml');
    execFileSync('cargo', ['fetch', '--quiet', '--manifest-path', manifest], { stdio: 'inherit' });
  }
  const trace = fetched();
  if (trace === undefined) throw new Error('cargo fetch did not download dynamo-bench 1.6.1 with its trace');
  return trace;
}
