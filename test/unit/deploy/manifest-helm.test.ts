import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { parse } from 'yaml';

import { chartOf, writeChart } from '../../../lib/deploy/kubernetes/helm.js';
import { manifestOf } from '../../../lib/deploy/kubernetes/manifest.js';
import { GRAPHS } from '../../helpers/deploy/graphs.js';

const folder = mkdtempSync(join(tmpdir(), 'dynamo-chart-'));
afterAll(() => rmSync(folder, { recursive: true }));

const manifest = manifestOf(GRAPHS.disaggregated, {
  name: 'disagg',
  image: 'registry.example/g:1',
  runtimeVersion: '1.6.1',
  env: {
    TEMPLATE: '{{ user }} and {{- more }}',
    MARKS: `@@0|image|DecodeWorker@@ @@1|release|@@ '@@namespace|@@'`,
    BLOCK: 'a\n{{ b }}\n  - c: "d"\t\u2028é',
  },
});
const chart = chartOf(manifest, '0.1.0', '1a2b3c4d');

type Values = { components: Record<string, Record<string, string | number>> };

/** The template with its values in place. It knows the expressions of these charts only, as Helm 3 prints them. */
function rendered(template: string, values: Values): string {
  const strings: Record<string, string> = { '.Release.Name': 'release', '.Release.Namespace': 'team' };
  return template.replaceAll(/\{\{ (.*?) \}\}/g, (whole, expression: string) => {
    const [, component = '', field = ''] = /^index \.Values\.components "(.*?)" "(\w+)"/.exec(expression) ?? [];
    if (component !== '') {
      const value = values.components[component]?.[field];
      return expression.endsWith('| quote') ? JSON.stringify(value) : String(value);
    }
    const [, name = ''] = /^(\.[\w.]+) \| quote$/.exec(expression) ?? [];
    if (name !== '') return JSON.stringify(strings[name]);
    if (expression === '"{{"') return '{{';
    throw new Error(`the chart has an expression that this test does not know: ${whole}`);
  });
}

describe('a Helm chart', () => {
  it('renders the deployment, under the name and in the namespace of the release', () => {
    const values = parse(chart['values.yaml'] as string) as Values;
    expect(parse(rendered(chart['templates/deployment.yaml'] as string, values))).toEqual({
      ...manifest,
      metadata: { ...manifest.metadata, name: 'release', namespace: 'team' },
    });
  });

  it('takes images and numbers of pods from its values', () => {
    const values = parse(chart['values.yaml'] as string) as Values;
    expect(values.components['DecodeWorker']).toEqual({ image: 'registry.example/vllm-runtime:1.6.1', replicas: 3 });
    values.components['DecodeWorker'] = { image: 'registry.example/other:2', replicas: 8 };
    const { spec } = parse(rendered(chart['templates/deployment.yaml'] as string, values)) as typeof manifest;
    const decode = spec.components.find(({ name }) => name === 'DecodeWorker');
    expect(decode).toMatchObject({
      replicas: 8,
      podTemplate: { spec: { containers: [{ image: 'registry.example/other:2' }] } },
    });
  });

  it('says in a schema which values there are', () => {
    const { properties, required } = JSON.parse(chart['values.schema.json'] as string);
    const { components } = properties;
    expect(required).toEqual(['components']);
    const names = manifest.spec.components.map(({ name }) => name);
    expect(components).toMatchObject({ additionalProperties: false, required: names });
    expect(Object.keys(components.properties)).toEqual(names);
    for (const name of names)
      expect(components.properties[name]).toMatchObject({
        additionalProperties: false,
        required: ['image', 'replicas'],
        properties: { image: { type: 'string' }, replicas: { type: 'integer', minimum: 0 } },
      });
  });

  it('prints a number of pods as an integer, and an image as a string', () => {
    const expressions = [...(chart['templates/deployment.yaml'] as string).matchAll(/index .*? \}\}/g)].map(String);
    const expected = manifest.spec.components.flatMap(({ name }) => [
      `index .Values.components "${name}" "replicas" | int }}`,
      `index .Values.components "${name}" "image" | quote }}`,
    ]);
    expect(expressions).toEqual(expected);
  });

  it('names the version of the artifact', () => {
    expect(parse(chart['Chart.yaml'] as string)).toMatchObject({
      apiVersion: 'v2',
      name: 'disagg',
      version: '0.1.0',
      appVersion: '1a2b3c4d',
    });
  });

  it('is written, and does not replace another one unless it is forced to', async () => {
    await writeChart(folder, chart);
    for (const [path, text] of Object.entries(chart)) expect(readFileSync(join(folder, path), 'utf8')).toBe(text);
    await expect(writeChart(folder, chart)).rejects.toMatchObject({ code: 'E_CHART_EXISTS', exitCode: 73 });
    await writeChart(folder, chart, true);
  });

  it('does not replace a file of a folder without a chart', async () => {
    const project = join(folder, 'project');
    mkdirSync(project);
    writeFileSync(join(project, 'values.yaml'), 'mine: true\n');
    await expect(writeChart(project, chart)).rejects.toMatchObject({
      code: 'E_CHART_EXISTS',
      message: `${project} already has values.yaml. Use --force to overwrite.`,
    });
    expect(readdirSync(project)).toEqual(['values.yaml']);
    expect(readFileSync(join(project, 'values.yaml'), 'utf8')).toBe('mine: true\n');
  });
});
