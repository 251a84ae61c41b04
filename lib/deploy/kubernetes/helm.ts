import { existsSync } from 'node:fs';
import { mkdir, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';

import { DeployError } from '../deploy-error.js';
import { toYaml } from '../yaml.js';
import type { DynamoGraphDeployment } from './manifest.js';

/** The files of a chart, by their paths. */
export type ChartFiles = Readonly<Record<string, string>>;

/** A mark in the template, which is replaced after the text is safe for Helm. */
const mark = (field: string, component = ''): string => `@@${field}|${component}@@`;
const MARKS = /'?@@(\w+)\|([^@]*)@@'?/g;

/** Text that is no template: Helm prints it as it is. */
const escaped = (text: string): string => text.replaceAll('{{', '{{ "{{" }}');

function expressionOf(field: string, component: string): string {
  if (field === 'release') return '{{ .Release.Name | quote }}';
  if (field === 'namespace') return '{{ .Release.Namespace | quote }}';
  const value = `index .Values.components "${component}" "${field}"`;
  return field === 'image' ? `{{ ${value} | quote }}` : `{{ ${value} }}`;
}

/**
 * A Helm chart of a deployment. The name and the namespace are those of the release; `values.yaml` has the image and
 * the number of pods of each component.
 *
 * @param version the version of the chart: semantic
 */
export function chartOf(deployment: DynamoGraphDeployment, version: string, appVersion: string): ChartFiles {
  const { metadata, spec } = deployment;
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
    'values.yaml': toYaml({ components: Object.fromEntries(values) }),
    'templates/deployment.yaml': escaped(toYaml(template)).replace(MARKS, (_, field: string, component: string) =>
      expressionOf(field, component),
    ),
  };
}

/**
 * Writes a chart.
 *
 * @throws DeployError `E_CHART_EXISTS` (73) if the folder has a chart, unless `force`
 */
export async function writeChart(folder: string, files: ChartFiles, force = false): Promise<void> {
  if (existsSync(join(folder, 'Chart.yaml')) && !force)
    throw new DeployError('E_CHART_EXISTS', `${folder} already has a chart. Use --force to overwrite.`, {
      exitCode: 73,
      path: folder,
    });
  for (const [path, text] of Object.entries(files)) {
    const file = join(folder, path);
    await mkdir(dirname(file), { recursive: true });
    await writeFile(file, text);
  }
}
