import { checkName, wrongType } from '../check.js';
import { boolean, integer, listOf, type OptionTable, oneOf, optionTable, text } from '../options.js';
import type { RequestContext } from '../runtime/context.js';
import type { Schema } from './schema.js';
import type { ServiceContext } from './service-context.js';
import { schemaRow } from './service-options.js';

/** How an endpoint can be called: Dynamo's request plane, or HTTP. */
export type EndpointTransport = 'dynamo' | 'http';

/** The method of an HTTP endpoint. */
export type HttpMethod = 'GET' | 'POST' | 'PUT' | 'PATCH' | 'DELETE';

/** The options of an endpoint. */
export interface EndpointOptions<Input = unknown, Output = Input> {
  /**
   * Lower-case letters, digits, `_` and `-`. With the transport `http` alone it may have segments divided by slashes,
   * such as `chat/completions`. @default the name of the method, with `embedText` as `embed_text`
   */
  readonly name?: string;
  /** Checks each request. The handler gets what the schema makes of it. @default no check */
  readonly input?: Schema<Input, Output>;
  /** @default ['dynamo'] */
  readonly transports?: readonly EndpointTransport[];
  /** Only with the transport `http`. @default 'POST' */
  readonly httpMethod?: HttpMethod;
  /** Whether it answers with a stream. @default whether its method is a generator */
  readonly stream?: boolean;
  /** The maximum number of its requests that run concurrently in a worker; others wait. @default 1024 */
  readonly concurrency?: number;
}

/** An endpoint of a service, with its handler. */
export interface EndpointDefinition {
  /** The name of the method, which clients call. */
  readonly property: string;
  /** The name in Dynamo's address and in the HTTP path. */
  readonly name: string;
  readonly stream: boolean;
  readonly transports: readonly EndpointTransport[];
  readonly httpMethod: HttpMethod | undefined;
  readonly input: Schema | undefined;
  readonly concurrency: number | undefined;
  /** Answers a request. `self`: what the service's `create` returned. */
  readonly call: (self: unknown, request: unknown, service: ServiceContext, context: RequestContext) => unknown;
}

const SEGMENTS = /^[A-Za-z0-9_-]+(\/[A-Za-z0-9_-]+)*$/;

function checkEndpointName(path: string, name: string, transports: readonly EndpointTransport[]): void {
  if (transports.includes('dynamo')) checkName(path, name);
  else if (!SEGMENTS.test(name)) wrongType(path, "letters, digits, '_' and '-', in segments divided by '/'", name);
}

/** `embedText` is `embed_text`, `readURLNow` is `read_url_now`. */
const snakeCase = (name: string): string =>
  name.replace(/(?<=[a-z0-9])[A-Z]|(?<=[A-Z])[A-Z](?=[a-z])/g, (letter) => `_${letter}`).toLowerCase();

const ENDPOINT_OPTIONS: OptionTable<EndpointOptions> = optionTable<EndpointOptions>({
  name: text.about('The name of the endpoint.'),
  input: schemaRow.about('Checks each request.'),
  transports: listOf(oneOf('dynamo', 'http')).about('How it can be called.'),
  httpMethod: oneOf('GET', 'POST', 'PUT', 'PATCH', 'DELETE').about('The method of HTTP requests.'),
  stream: boolean.about('Whether it answers with a stream.'),
  concurrency: integer(1).about('The maximum number of its requests that run concurrently.'),
});

const isGenerator = (method: unknown): boolean => /Generator/.test(Object.prototype.toString.call(method));

/**
 * The definition of an endpoint.
 *
 * @throws TypeError, RangeError for a wrong option
 */
export function defineEndpoint(
  path: string,
  property: string,
  options: EndpointOptions,
  method: unknown,
  call: EndpointDefinition['call'],
): EndpointDefinition {
  ENDPOINT_OPTIONS.check(path, options);
  const { transports = ['dynamo'], input, httpMethod, concurrency, stream = isGenerator(method) } = options;
  if (transports.length === 0) wrongType(`${path}.transports`, 'at least one transport', transports);
  const { name = snakeCase(property) } = options;
  checkEndpointName(`${path}.name`, name, transports);
  const isHttp = transports.includes('http');
  if (httpMethod !== undefined && !isHttp)
    wrongType(`${path}.httpMethod`, 'no HTTP method for an endpoint without the transport http', httpMethod);
  return {
    property,
    name,
    stream,
    transports,
    httpMethod: isHttp ? (httpMethod ?? 'POST') : undefined,
    input,
    concurrency,
    call,
  };
}
