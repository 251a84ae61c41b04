import { readFile } from 'node:fs/promises';
import { type Document, isMap, isNode, isSeq, LineCounter, parseDocument } from 'yaml';

import { type GraphConfig, mergeConfig } from '../sdk/config.js';
import { ConfigError, type ConfigPath, type ConfigSource } from '../sdk/config-source.js';
import { parseOverrides } from '../sdk/overrides.js';

/** Where the configuration of a graph comes from. */
export interface ConfigInput {
  /** The names of the services of the graph. */
  readonly services: readonly string[];
  /** The path of a YAML file. */
  readonly file?: string | undefined;
  /** Arguments such as `--Worker.block-size=64`. */
  readonly overrides?: readonly string[] | undefined;
  /** The variables of the process: `DYN_DEPLOYMENT_CONFIG` replaces the file and the arguments. */
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly warn: (message: string) => void;
}

const VARIABLE = 'DYN_DEPLOYMENT_CONFIG';

/**
 * The configuration of a graph: `DYN_DEPLOYMENT_CONFIG` alone if it is set, else the file with the arguments over it.
 *
 * @throws ConfigError for a file that cannot be read, wrong YAML or JSON, and wrong values, each with its place
 */
export async function readConfig({ services, file, overrides = [], env, warn }: ConfigInput): Promise<GraphConfig> {
  const replacement = env[VARIABLE];
  if (replacement === undefined || replacement === '') {
    const sources = file === undefined ? [] : [await readConfigFile(file)];
    return mergeConfig(services, [...sources, parseOverrides(overrides)]);
  }
  const ignored = [...(file === undefined ? [] : [file]), ...overrides];
  if (ignored.length > 0) warn(`${VARIABLE} is set: it replaces ${ignored.join(' ')}`);
  return mergeConfig(services, [configOfVariable(replacement)]);
}

function configOfVariable(text: string): ConfigSource {
  try {
    return { data: JSON.parse(text) as unknown, placeOf: () => VARIABLE };
  } catch (error) {
    throw new ConfigError('config.syntax', VARIABLE, `expected JSON: ${(error as Error).message}`);
  }
}

/**
 * Reads a configuration file of YAML, which includes JSON.
 *
 * @throws ConfigError `config.unreadable` for a file that cannot be read, `config.syntax` with the line and the column
 */
export async function readConfigFile(path: string): Promise<ConfigSource> {
  let text: string;
  try {
    text = await readFile(path, 'utf8');
  } catch (error) {
    throw new ConfigError('config.unreadable', undefined, `configuration file ${path}: ${(error as Error).message}`);
  }
  return parseConfig(path, text);
}

/** Reads the text of a configuration file. `path` is its name in places. */
export function parseConfig(path: string, text: string): ConfigSource {
  const lines = new LineCounter();
  const document = parseDocument(text, { lineCounter: lines, prettyErrors: false, merge: true });
  const placed = (offset: number): string => {
    const { line, col } = lines.linePos(offset);
    return `${path}:${line}:${col}`;
  };
  const [fault] = document.errors;
  if (fault?.code === 'MULTIPLE_DOCS')
    throw new ConfigError(
      'config.syntax',
      placed(fault.pos[0]),
      "expected one document, got several: '---' begins another",
    );
  if (fault !== undefined) throw new ConfigError('config.syntax', placed(fault.pos[0]), fault.message);
  const placeOf: ConfigSource['placeOf'] = (keys, part = 'value') => {
    const offset = offsetOf(document, keys, part);
    return offset === undefined ? undefined : placed(offset);
  };
  try {
    return { data: document.toJS() as unknown, placeOf };
  } catch (error) {
    throw new ConfigError('config.syntax', path, (error as Error).message);
  }
}

/** The offset of a value, or of the key that leads to it. An empty value stands where its key does. */
function offsetOf(document: Document, path: ConfigPath, part: 'key' | 'value'): number | undefined {
  let node: unknown = document.contents;
  let key: unknown;
  for (const name of path) {
    if (isMap(node)) {
      const pair = node.items.find((one) => isNode(one.key) && String(one.key) === String(name));
      [key, node] = [pair?.key, pair?.value];
    } else if (isSeq(node)) [key, node] = [node.items[Number(name)], node.items[Number(name)]];
    else return undefined;
    if (key === undefined) return undefined;
  }
  const wanted = part === 'key' || !isNode(node) ? key : node;
  return isNode(wanted) ? wanted.range?.[0] : undefined;
}
