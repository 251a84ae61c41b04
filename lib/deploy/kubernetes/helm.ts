import { existsSync } from 'node:fs';
import { mkdir, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';

import { DeployError } from '../deploy-error.js';
import { toYaml } from '../yaml.js';
import type { DynamoGraphDeployment } from './manifest.js';

/** The files of a chart, by their paths. */
export type ChartFiles = Readonly<Record<string, string>>;

/** Text that is no template: Helm prints it as it is. */
const escaped = (text: string): string => text.replaceAll('{{', '{{ "{{" }}');

function expressionOf(field: string, component: string): string {
  if (field === 'release') return '{{ .Release.Name | quote }}';
  if (field === 'namespace') return '{{ .Release.Namespace | quote }}';
  const value = `index .Values.components "${component}" "${field}"`;
  // Helm reads numbers as floating-point ones, and would print a million as 1e+06.
  return `{{ ${value} | ${field === 'image' ? 'quote' : 'int'} }}`;
}

/** A word that begins no text of a deployment. */
function unusedWord(deployment: DynamoGraphDeployment): string {
  const text = JSON.stringify(deployment);
  let number = 0;
  while (text.includes(`@@${number}|`)) number += 1;
  return `@@${number}|`;
}

/** Helm refuses values that do not fit, such as those of a component whose name is misspelt. */
function schemaOf({ spec }: DynamoGraphDeployment): object {
  const value = {
    type: 'object',
    additionalProperties: false,
    required: ['image', 'replicas'],
    properties: {
      image: { type: 'string', pattern: '^[^\\s]+$' },
      replicas: { type: 'integer', minimum: 0, maximum: 2 ** 31 - 1 },
    },
  };
  const names = spec.components.map(({ name }) => name);
  const components = {
    type: 'object',
    additionalProperties: false,
    required: names,
    properties: Object.fromEntries(names.map((name) => [name, value])),
  };
  return {
    $schema: 'http://json-schema.org/draft-07/schema#',
    type: 'object',
    required: ['components'],
    properties: { components },
  };
}

/**
 * A Helm chart of a deployment. The name and the namespace are those of the release; `values.yaml` has the image and
 * the number of pods of each component, and `values.schema.json` what Helm accepts there.
 *
 * @param version the version of the chart: semantic
 */
export function chartOf(deployment: DynamoGraphDeployment, version: string, appVersion: string): ChartFiles {
  const { metadata, spec } = deployment;
  // Marks in the template, which are replaced after the text is safe for Helm.
  const word = unusedWord(deployment);
  const mark = (field: string, component = ''): string => `${word}${field}|${component}@@`;
  const marks = new RegExp(`'?${word.replaceAll('|', '\\|')}(\\w+)\\|([^@]*)@@'?`, 'g');
  const components = spec.components.map((component) => {
    const { name, podTemplate } = component;
    const containers = podTemplate.spec.containers.map((one) => ({ ...one, image: mark('image', name) }));
    const template = { ...podTemplate, spec: { ...podTemplate.spec, containers } };
    return { ...component, replicas: mark('replicas', name), podTemplate: template };
  });
  const template = {
    ...deployment,
    metadata: { ...metadata, name: mark('release'), namespace: mark('namespace') },
    spec: { ...spec, components },
  };
  const values = spec.components.map(({ name, replicas, podTemplate }) => [
    name,
    { image: podTemplate.spec.containers[0]?.image, replicas },
  ]);
  return {
    'Chart.yaml': toYaml({
      apiVersion: 'v2',
      name: metadata.name,
      description: `The Dynamo graph ${metadata.name}.`,
      type: 'application',
      version,
      appVersion,
    }),
    'values.schema.json': `${JSON.stringify(schemaOf(deployment), undefined, 2)}\n`,
    'values.yaml': toYaml({ components: Object.fromEntries(values) }),
    'templates/deployment.yaml': escaped(toYaml(template)).replace(marks, (_, field: string, component: string) =>
      expressionOf(field, component),
    ),
  };
}

/**
 * Writes a chart.
 *
 * @throws DeployError `E_CHART_EXISTS` (73) if the folder has one of its files, unless `force`
 */
export async function writeChart(folder: string, files: ChartFiles, force = false): Promise<void> {
  const existing = Object.keys(files).find((path) => existsSync(join(folder, path)));
  if (existing !== undefined && !force)
    throw new DeployError('E_CHART_EXISTS', `${folder} already has ${existing}. Use --force to overwrite.`, {
      exitCode: 73,
      path: folder,
    });
  for (const [path, text] of Object.entries(files)) {
    const file = join(folder, path);
    await mkdir(dirname(file), { recursive: true });
    await writeFile(file, text);
  }
}
