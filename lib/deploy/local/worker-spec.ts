import { readFileSync, writeFileSync } from 'node:fs';
import { checkObject } from '../../check.js';
import { custom, integer, nested, type OptionTable, optionTable, text } from '../../options.js';
import { RUNTIME_OPTIONS, type RuntimeOptions } from '../../runtime/config.js';

/** What a worker process runs. The supervisor writes it as JSON and passes its path. */
export interface WorkerSpec {
  /** The absolute path of the module of the graph. */
  readonly graph: string;
  /** The export of the module, if it has several graphs. */
  readonly exportName?: string;
  readonly service: string;
  /** The number of the worker among those of its service. */
  readonly worker: number;
  readonly config: Readonly<Record<string, unknown>>;
  readonly runtime: RuntimeOptions;
  /** The run folder of the graph. */
  readonly folder: string;
}

const WORKER_SPEC: OptionTable<WorkerSpec> = optionTable<WorkerSpec>({
  graph: text.required(),
  exportName: text,
  service: text.required(),
  worker: integer(0).required(),
  config: custom<Readonly<Record<string, unknown>>>('an object', checkObject).required(),
  runtime: nested(RUNTIME_OPTIONS).required(),
  folder: text.required(),
});

export function writeWorkerSpec(file: string, spec: WorkerSpec): void {
  writeFileSync(file, JSON.stringify(spec), { mode: 0o600 });
}

/** @throws TypeError, RangeError that names the field, or SyntaxError for what is no JSON */
export function readWorkerSpec(file: string): WorkerSpec {
  const spec: unknown = JSON.parse(readFileSync(file, 'utf8'));
  WORKER_SPEC.check(file, spec);
  return spec;
}
