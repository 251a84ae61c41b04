import type { Arg, Async, Bytes, Handle, Sync } from './call.js';

/** What every area shares: streams, sinks, inboxes, the log. */
export interface StreamNative {
  versions: Sync<Bytes>;
  logOpen: Sync<Handle<'stream'>, { payload: Bytes }>;
  streamPull: Async<Bytes, { handle: Handle<'stream'>; a: Arg<'minItems'>; b: Arg<'limits'> }>;
  streamCancel: Sync<undefined, { handle: Handle<'stream'>; a: Arg<'isKill'> }>;
  sinkWrite: Sync<number, { handle: Handle<'sink'>; payload: Bytes; a: Arg<'isAnnotated'>; b: Arg<'isLast'> }>;
  sinkEnd: Sync<undefined, { handle: Handle<'sink'>; args?: Bytes }>;
  sinkNotify: Sync<undefined, { handle: Handle<'sink'> }>;
  sinkReady: Async<number, { handle: Handle<'sink'> }>;
  inboxAccept: Async<
    Bytes | [Bytes, ...Handle<'sink' | 'stream'>[]],
    { handle: Handle<'inbox'>; a: Arg<'requestCount'> }
  >;
  inboxGrant: Sync<undefined, { handle: Handle<'inbox'>; a: Arg<'requestCount'> }>;
  inboxClose: Sync<undefined, { handle: Handle<'inbox'> }>;
}
