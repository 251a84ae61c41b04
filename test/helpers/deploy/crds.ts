/** Custom resources with the fields that this project writes, in its own words, for tests against an API server. */

const text = { type: 'string' };
const count = { type: 'integer', minimum: 0 };
const texts = { type: 'object', additionalProperties: text };
const list = (items: object, more: object = {}): object => ({ type: 'array', items, ...more });
const object = (properties: object, required: readonly string[] = []): object => ({
  type: 'object',
  properties,
  ...(required.length === 0 ? {} : { required }),
});
const named = (items: object): object =>
  list(items, { 'x-kubernetes-list-type': 'map', 'x-kubernetes-list-map-keys': ['name'] });

const variables = named(object({ name: text, value: text }, ['name']));

const container = object(
  {
    name: { ...text, maxLength: 63 },
    image: text,
    command: list(text),
    args: list(text),
    env: variables,
    resources: object({ requests: texts, limits: texts }),
  },
  ['name', 'image'],
);

const component = {
  ...object(
    {
      name: { ...text, maxLength: 63, pattern: '^[A-Za-z0-9]([-A-Za-z0-9]*[A-Za-z0-9])?$' },
      type: { ...text, enum: ['frontend', 'worker', 'prefill', 'decode', 'planner', 'epp'] },
      replicas: count,
      scalingAdapter: object({}),
      globalDynamoNamespace: { type: 'boolean' },
      runtimeVersionOverride: text,
      podTemplate: object({
        metadata: object({ labels: texts }),
        spec: object({ containers: { ...named(container), maxItems: 16 } }, ['containers']),
      }),
    },
    ['name'],
  ),
  'x-kubernetes-validations': [
    {
      rule: "!has(self.podTemplate) || self.podTemplate.spec.containers.exists(c, c.name == 'main')",
      message: 'podTemplate must have a container named main',
    },
  ],
};

const status = object({
  state: text,
  observedGeneration: { type: 'integer' },
  conditions: list(object({ type: text, status: text, reason: text, message: text })),
  components: {
    type: 'object',
    additionalProperties: object({ replicas: count, readyReplicas: count }),
  },
});

const crd = (kind: string, spec: object, subresources: object): object => {
  const plural = `${kind.toLowerCase()}s`;
  return {
    apiVersion: 'apiextensions.k8s.io/v1',
    kind: 'CustomResourceDefinition',
    metadata: { name: `${plural}.nvidia.com` },
    spec: {
      group: 'nvidia.com',
      scope: 'Namespaced',
      names: { kind, plural, singular: kind.toLowerCase() },
      versions: [
        {
          name: 'v1beta1',
          served: true,
          storage: true,
          schema: { openAPIV3Schema: object({ spec, status }, ['spec']) },
          subresources: { status: {}, ...subresources },
        },
      ],
    },
  };
};

/** The definitions of deployments and of their scaling adapters. */
export const CRDS: readonly object[] = [
  crd(
    'DynamoGraphDeployment',
    object({ env: variables, components: { ...named(component), maxItems: 25 } }, ['components']),
    {},
  ),
  crd(
    'DynamoGraphDeploymentScalingAdapter',
    object({ replicas: count, dgdRef: object({ name: text, componentName: text }) }, ['replicas']),
    { scale: { specReplicasPath: '.spec.replicas', statusReplicasPath: '.status.replicas' } },
  ),
];
