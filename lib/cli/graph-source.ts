import { resolve } from 'node:path';

import { readConfig } from '../deploy/config-file.js';
import { type LoadedGraph, loadGraph } from '../deploy/load-graph.js';
import { applyConfig } from '../sdk/config.js';
import { checkConfig, misplacedArgs } from '../sdk/config-check.js';
import type { GraphSpec } from '../sdk/graph-spec.js';
import { CliError, type CommandIo, EXIT, usageError } from './command.js';
import { note } from './output.js';

/** A graph of the command line with its configuration. */
export interface ConfiguredGraph {
  readonly loaded: LoadedGraph;
  readonly spec: GraphSpec;
}

/**
 * Loads a graph, and applies a configuration file and overrides.
 *
 * @throws DeployError as `loadGraph`, ConfigError as `readConfig` and `checkConfig`
 */
export async function configuredGraph(
  target: string,
  file: string | undefined,
  overrides: readonly string[],
  io: CommandIo,
): Promise<ConfiguredGraph> {
  const loaded = await loadGraph(target, io.cwd);
  const warn = (message: string): void => note(io, `warning: ${message}`);
  const config = await readConfig({
    services: loaded.graph.services.map(({ name }) => name),
    file: file === undefined ? undefined : resolve(io.cwd, file),
    overrides,
    env: io.env,
    warn,
  });
  await checkConfig(loaded.graph, config);
  for (const message of misplacedArgs(loaded.graph, config)) warn(message);
  return { loaded, spec: applyConfig(loaded.graph.toJSON(), config) };
}

/**
 * Reads `KEY=VALUE` flags. A flag without `=` sets the value of the key `''`, if that is allowed.
 *
 * @throws CliError `E_USAGE` for one without `=` or without a key
 */
export function pairsOf(flag: string, values: readonly string[] = [], allowsBare = false): Record<string, string> {
  return Object.fromEntries(
    values.map((value) => {
      const at = value.indexOf('=');
      if (at === -1 && allowsBare) return ['', value];
      if (at < 1) throw usageError(`${flag}: expected KEY=VALUE, got '${value}'`);
      return [value.slice(0, at), value.slice(at + 1)];
    }),
  );
}

/**
 * Checks that each service of Python has an image, because that of the graph has no Python.
 *
 * @param images by the name of the service
 * @throws CliError `E_NO_IMAGE` (65)
 */
export function checkPythonImages({ services }: GraphSpec, images: Readonly<Record<string, string>>): void {
  for (const { name, python, image } of services) {
    if (python === undefined || (images[name] ?? image) !== undefined) continue;
    throw new CliError('E_NO_IMAGE', `${name} runs ${python.module}, and has no image with Python`, {
      exitCode: EXIT.data,
      hint: `name one with --image ${name}=IMAGE, or with the option image of the service`,
    });
  }
}
