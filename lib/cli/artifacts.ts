import { type OptionTable, optionTable } from '../options.js';
import type { Command } from './command.js';

/** The options of `dynamo list` and `dynamo get`: none. */
export type ArtifactsCommandOptions = Record<never, never>;

const OPTIONS: OptionTable<ArtifactsCommandOptions> = optionTable<ArtifactsCommandOptions>({});

export const listCommand: Command<ArtifactsCommandOptions> = {
  name: 'list',
  summary: 'List the artifacts that were built.',
  usage: '',
  options: OPTIONS,
  load: async () => ({ run: (await import('./artifacts-action.js')).printArtifacts }),
};

export const getCommand: Command<ArtifactsCommandOptions> = {
  name: 'get',
  summary: 'Check an artifact and show what it contains.',
  usage: '<artifact>',
  description: 'The artifact is name:version, a name with one version, or a folder.',
  options: OPTIONS,
  examples: ['get agg:1a2b3c4d', 'get ./out --json'],
  load: async () => ({ run: (await import('./artifacts-action.js')).showArtifact }),
};
