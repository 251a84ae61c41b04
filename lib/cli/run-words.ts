import { parseEndpointPath } from '../runtime/endpoint-path.js';
import { PYTHON_ENGINES, type PythonEngine } from '../sdk/python-engines.js';
import { usageError } from './command.js';
import { CRATES } from './version.js';

/** Where the requests of `dynamo run` come from. */
export type Input =
  | { readonly kind: 'text' | 'stdin' | 'http' }
  | { readonly kind: 'batch'; readonly file: string }
  /** A worker without a frontend. */
  | { readonly kind: 'worker'; readonly endpoint: string };

/** What answers them. */
export type Output =
  | { readonly kind: 'echo' }
  | { readonly kind: 'mocker' }
  | { readonly kind: 'dyn' }
  | { readonly kind: 'js'; readonly file: string; readonly exportName: string | undefined }
  | { readonly kind: 'python'; readonly engine: PythonEngine };

/** The words of `dynamo run`. */
export interface RunWords {
  readonly input: Input;
  readonly output: Output;
  readonly model: string | undefined;
}

const INPUTS = 'text, stdin, http, batch:FILE, dyn://namespace.component.endpoint, none';
const OUTPUTS = `echo, mocker, js:FILE#export, ${PYTHON_ENGINES.join(', ')}, dyn`;
/**
 * Engines of earlier versions of Dynamo, by the words for them. Neither the crates nor the Python package have one of
 * them any longer.
 */
const REMOVED: Readonly<Record<string, string>> = {
  mistralrs: 'mistral.rs',
  llama: 'llama.cpp',
  llamacpp: 'llama.cpp',
};

/** The parts of an endpoint that may be left out at its end. */
const DEFAULT_ENDPOINT = ['dynamo', 'backend', 'generate'] as const;

/**
 * Reads `[in=INPUT] [out=ENGINE] [MODEL]`, in any order.
 *
 * @param namespace the first part of an endpoint that does not state it
 * @throws CliError `E_USAGE` for a word that is not known, twice there, or does not go with another one
 */
export function parseWords(words: readonly string[], isTerminal: boolean, namespace = 'dynamo'): RunWords {
  const values: { in?: string; out?: string; model?: string } = {};
  for (const word of words) {
    const [, key = 'model', value = word] = /^(in|out)=(.*)$/s.exec(word) ?? [];
    const name = key as keyof typeof values;
    if (name === 'model' && /^\w+=/.test(word)) throw usageError(`expected in=, out= or a model, got ${word}`);
    if (values[name] !== undefined)
      throw usageError(
        name === 'model'
          ? `expected one model, got ${values.model} and ${word}`
          : `expected ${name}= once, got ${values[name]} and ${value}`,
      );
    values[name] = value;
  }
  const input = inputOf(values.in ?? (isTerminal ? 'text' : 'stdin'), namespace);
  const output = outputOf(values.out ?? 'echo');
  if (input.kind === 'worker' && output.kind === 'dyn')
    throw usageError(`in=${values.in} out=dyn: a worker needs its own engine`, 'use out=echo, mocker, js:FILE, …');
  return { input, output, model: values.model };
}

function inputOf(value: string, namespace: string): Input {
  if (value === 'text' || value === 'stdin' || value === 'http') return { kind: value };
  if (value === 'none') return { kind: 'worker', endpoint: endpointOf('', namespace) };
  if (value.startsWith('batch:') && value !== 'batch:') return { kind: 'batch', file: value.slice('batch:'.length) };
  if (value.startsWith('dyn://'))
    return { kind: 'worker', endpoint: endpointOf(value.slice('dyn://'.length), namespace) };
  throw usageError(`Invalid in= option '${value}'`, `expected one of ${INPUTS}`);
}

function endpointOf(path: string, namespace: string): string {
  const parts = path === '' ? [] : path.split('.');
  const all = parts.length > 3 ? parts : [...parts, ...[namespace, ...DEFAULT_ENDPOINT.slice(1)].slice(parts.length)];
  try {
    return parseEndpointPath(`in=dyn://${path}`, all.join('.')).path;
  } catch (error) {
    throw usageError((error as Error).message);
  }
}

function outputOf(value: string): Output {
  if (value === 'echo' || value === 'echo_full' || value === 'echo_core') return { kind: 'echo' };
  if (value === 'mocker') return { kind: 'mocker' };
  if (value === 'dyn' || value === 'auto' || value === 'dyn://') return { kind: 'dyn' };
  if (value.startsWith('js:') && value !== 'js:') {
    const [file, exportName] = value.slice('js:'.length).split('#', 2) as [string, string?];
    return { kind: 'js', file, exportName };
  }
  const engine = PYTHON_ENGINES.find((name) => name === value);
  if (engine !== undefined) return { kind: 'python', engine };
  if (Object.hasOwn(REMOVED, value))
    throw usageError(
      `out=${value}: Dynamo ${CRATES['dynamo-llm']} has no engine for ${REMOVED[value]}, ` +
        'neither in its crates nor in its Python package',
      'use out=vllm, out=sglang, out=trtllm, or your own engine with out=js:FILE',
    );
  throw usageError(`Invalid out= option '${value}'`, `expected one of ${OUTPUTS}`);
}
