import type { Arg, Async, Bytes, Handle, Sync } from './call.js';

export interface LlmNative {
  entrypointStart: Async<
    [
      Bytes,
      Handle<'entrypoint'>,
      Handle<'inbox'>,
      Handle<'processors'>,
      Handle<'inbox'>,
      Handle<'inbox'>?,
      Handle<'policy'>?,
    ],
    { handle: Handle<'runtime'>; args: Bytes }
  >;
  entrypointReady: Async<undefined, { handle: Handle<'entrypoint'>; a: Arg<'timeoutMs'> }>;
  entrypointWait: Async<undefined, { handle: Handle<'entrypoint'> }>;
  entrypointClose: Async<undefined, { handle: Handle<'entrypoint'>; a: Arg<'timeoutMs'> }>;
  processorGenerate: Sync<
    Handle<'stream'>,
    { handle: Handle<'processors'>; payload: Bytes; a: Arg<'model'>; b: Arg<'request'> }
  >;
  workerStart: Async<[undefined, Handle<'worker'>, Handle<'inbox'>], { handle: Handle<'endpoint'>; args: Bytes }>;
  workerReady: Async<undefined, { handle: Handle<'worker'> }>;
  workerWait: Async<undefined, { handle: Handle<'worker'> }>;
  workerClose: Async<undefined, { handle: Handle<'worker'> }>;
  workerMetricsText: Sync<undefined, { handle: Handle<'worker'>; payload: Bytes }>;
  workerPublishKv: Sync<number, { handle: Handle<'worker'>; payload: Bytes; a: Arg<'dpRank'> }>;
  workerPublishLoad: Sync<number, { handle: Handle<'worker'>; args: Bytes }>;
  modelRegister: Async<undefined, { handle: Handle<'endpoint'>; args: Bytes }>;
  modelUnregister: Async<undefined, { handle: Handle<'endpoint'>; args?: Bytes }>;
  modelTaints: Async<undefined, { handle: Handle<'endpoint'>; args: Bytes }>;
  modelFetch: Async<Bytes, { args: Bytes }>;
  modelParsers: Sync<Bytes>;
  endpointCards: Sync<Handle<'stream'>, { handle: Handle<'endpoint'> }>;
  clientWaitForData: Async<Bytes, { handle: Handle<'client'>; args: Bytes; a: Arg<'instanceCount'> }>;
  firstTokenOpen: Async<Handle<'firstTokens'>, { handle: Handle<'endpoint'>; args: Bytes }>;
  firstTokenNotify: Sync<undefined, { handle: Handle<'firstTokens'>; payload: Bytes; a: Arg<'dpRank'> }>;
  firstTokenClose: Sync<undefined, { handle: Handle<'firstTokens'> }>;
  forwardPassOpen: Async<Handle<'forwardPass'>, { handle: Handle<'endpoint'>; args: Bytes }>;
  forwardPassPublish: Sync<undefined, { handle: Handle<'forwardPass'>; args: Bytes; a: Arg<'dpRank'> }>;
  forwardPassClose: Sync<undefined, { handle: Handle<'forwardPass' | 'forwardPassRelay'> }>;
  forwardPassRelay: Async<Handle<'forwardPassRelay'>, { handle: Handle<'endpoint'>; payload: Bytes }>;
}
