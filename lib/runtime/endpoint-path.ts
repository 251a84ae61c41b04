import { checkName, checkString } from '../check.js';
import { badArgument, shown } from '../errors.js';

/** The path of an endpoint, and the three names in it. */
export interface EndpointPath {
  /** `namespace.component.endpoint`, without `dyn://`. */
  readonly path: string;
  readonly namespace: string;
  readonly component: string;
  readonly endpoint: string;
}

/** Reads `namespace.component.endpoint`, with or without `dyn://`. `argument` names the value in messages. */
export function parseEndpointPath(argument: string, value: unknown): EndpointPath {
  checkString(argument, value);
  const path = value.replace(/^dyn:\/\//, '');
  const names = path.split('.');
  if (names.length !== 3)
    throw badArgument(new RangeError(`${argument}: expected namespace.component.endpoint, got ${shown(value)}`));
  const [namespace, component, endpoint] = names as [string, string, string];
  checkName('namespace name', namespace);
  checkName('component name', component);
  checkName('endpoint name', endpoint);
  return { path, namespace, component, endpoint };
}
