import { join } from 'node:path';

import { describe, expect, it } from 'vitest';

import { frontendArgs } from '../../../lib/llm/frontend-options.js';
import { checkRouter } from '../../../lib/llm/router-options.js';
import { createArgs } from '../../../lib/runtime/config.js';
import { missingPeers } from '../../helpers/interop/peers.js';
import { execute, root } from '../../helpers/project.js';

/** The option here for each option of `python -m dynamo.frontend`. */
const OPTIONS: Record<string, string> = {
  '--interactive': "input: 'text'",
  '--kserve-grpc-server': "input: 'grpc'",
  '--http-host': 'host',
  '--http-port': 'port',
  '--grpc-metrics-port': 'metricsPort',
  '--tls-cert-path': 'tls',
  '--tls-key-path': 'tls',
  '--tls-client-ca-cert-path': 'tls',
  '--namespace': 'namespace',
  '--namespace-prefix': 'namespacePrefix',
  '--kv-cache-block-size': 'kvCacheBlockSize',
  '--migration-limit': 'migrationLimit',
  '--migration-max-seq-len': 'migrationMaxTokens',
  '--metrics-prefix': 'metricsPrefix',
  '--frontend-route-extension': 'routes',
  '--enable-anthropic-api': 'anthropicApi',
  '--strip-anthropic-preamble': 'stripAnthropicPreamble',
  '--enable-streaming-tool-dispatch': 'streamingToolDispatch',
  '--enable-streaming-reasoning-dispatch': 'streamingReasoningDispatch',
  '--reasoning-field-name': 'reasoningField',
  '--dyn-chat-processor': 'processor',
  '--tokenizer': 'tokenizer',
  '--tokenizer-fallback': 'tokenizerFallback',
  '--router-mode': 'router.mode',
  '--router-min-initial-workers': 'runtime.minInitialWorkers',
  '--router-session-affinity-mode': 'router.sessionAffinityMode',
  '--router-session-affinity-ttl-secs': 'router.sessionAffinitySeconds',
  '--active-decode-blocks-threshold': 'router.busy.activeDecodeBlocks',
  '--active-prefill-tokens-threshold': 'router.busy.activePrefillTokens',
  '--active-prefill-tokens-threshold-frac': 'router.busy.activePrefillTokensShare',
  '--serve-indexer': 'router.kv.serve_indexer',
  '--enable-session-prefix-index': 'router.kv.enable_session_prefix_index',
  '--router-approximate-cache-policy': 'router.kv.router_approximate_cache_policy',
  '--router-assume-kv-reuse': 'router.kv.router_assume_kv_reuse',
  '--router-conditional-disagg': 'router.kv.conditional_disagg_enabled',
  '--router-conditional-disagg-config': 'router.kv.conditional_disagg_policy',
  '--router-decode-policy': 'router.kv.router_decode_policy',
  '--router-decode-active-request-weight': 'router.kv.decode_active_request_weight',
  '--router-disk-cache-hit-weight': 'router.kv.disk_cache_hit_weight',
  '--router-event-threads': 'router.kv.router_event_threads',
  '--router-host-cache-hit-weight': 'router.kv.host_cache_hit_weight',
  '--router-kv-events': 'router.kv.use_kv_events',
  '--router-kv-overlap-score-credit': 'router.kv.overlap_score_credit',
  '--router-kv-overlap-score-credit-decay': 'router.kv.overlap_score_credit_decay',
  '--router-policy-config': 'router.kv.router_policy_config',
  '--router-predicted-ttl-secs': 'router.kv.router_predicted_ttl_secs',
  '--router-prefill-policy': 'router.kv.router_prefill_policy',
  '--router-prefill-load-model': 'router.kv.router_prefill_load_model',
  '--router-prefill-load-scale': 'router.kv.prefill_load_scale',
  '--router-queue-policy': 'router.kv.router_queue_policy',
  '--router-queue-threshold': 'router.kv.router_queue_threshold',
  '--router-replica-sync': 'router.kv.router_replica_sync',
  '--router-temperature': 'router.kv.router_temperature',
  '--router-track-active-blocks': 'router.kv.router_track_active_blocks',
  '--router-track-output-blocks': 'router.kv.router_track_output_blocks',
  '--router-track-prefill-tokens': 'router.kv.router_track_prefill_tokens',
  '--router-tracking-hash': 'router.kv.router_tracking_hash',
  '--router-tracking-key-file': 'router.kv.router_tracking_key_file',
  '--router-tracking-key-id': 'router.kv.router_tracking_key_id',
  '--router-ttl-secs': 'router.kv.router_ttl_secs',
  '--shared-cache-multiplier': 'router.kv.shared_cache_multiplier',
  '--shared-cache-type': 'router.kv.shared_cache_type',
  '--use-remote-indexer': 'router.kv.use_remote_indexer',
  '--discovery-backend': 'runtime.discovery',
  '--request-plane': 'runtime.requestPlane',
  '--response-plane': 'runtime.responsePlane',
  '--event-plane': 'runtime.eventPlane',
  '--tcp-tls-cert-path': 'runtime.tls',
  '--tcp-tls-key-path': 'runtime.tls',
  '--tcp-tls-ca-cert-path': 'runtime.tls',
  '--tcp-tls-client-cert-path': 'runtime.tls',
  '--tcp-tls-client-key-path': 'runtime.tls',
  '--tcp-tls-client-ca-cert-path': 'runtime.tls',
  '--nats-tls-ca-cert-path': 'runtime.natsTls',
  '--nats-tls-client-cert-path': 'runtime.natsTls',
  '--nats-tls-client-key-path': 'runtime.natsTls',
  '--nats-tls-insecure': 'runtime.natsTls',
};

/** Options without an equivalent here, and the reason. */
const NOT_HERE: [RegExp, string][] = [
  [/^--(aic|ais)-|^--admission-control$/, 'the simulated timing of engines, of another package'],
  [
    /^--(dyn-debug-perf|dyn-preprocess-workers|trust-remote-code|exclude-tools-when-tool-choice-none)$/,
    "of Python's own chat processors",
  ],
  [/^--(dump-config-to|version)$/, 'of a command line'],
  [/^--(model-name|model-path)$/, 'of a model that is not found through discovery'],
  [/^--(enforce-disagg|load-aware)$/, 'deprecated, or a short form of others'],
  [/^--(assume-kv-reuse|kv-events|track-active-blocks|track-output-blocks)$/, 'an old name of another'],
  [/^--(router-)?kv-overlap-score-weight$/, 'an old name of another'],
];

const PROGRAM = `
import argparse
from dynamo.frontend.frontend_args import FrontendArgGroup
parser = argparse.ArgumentParser(add_help=False)
FrontendArgGroup().add_arguments(parser)
names = {name for action in parser._actions for name in action.option_strings}
print(' '.join(sorted(name for name in names if name.startswith('--') and not name.startswith('--no-'))))
`;

describe('Frontend.start', () => {
  it('has every option of the Python frontend, or a reason for its absence', async (context) => {
    if (missingPeers !== undefined) context.skip(missingPeers);
    const { stdout } = await execute(join(root, '.peers/bin/python'), ['-c', PROGRAM]);
    const flags = stdout.trim().split('\n').at(-1)?.split(' ') ?? [];
    expect(flags.length).toBeGreaterThan(80);
    const placed = (flag: string): boolean => flag in OPTIONS || NOT_HERE.some(([pattern]) => pattern.test(flag));
    expect(flags.filter((flag) => !placed(flag))).toEqual([]);
    expect(Object.keys(OPTIONS).filter((flag) => !flags.includes(flag))).toEqual([]);
    console.log(`${flags.length} options of the Python frontend, ${Object.keys(OPTIONS).length} of them here`);
  });

  it.each([...new Set(Object.values(OPTIONS))].filter((place) => !place.startsWith('input')))('accepts %s', (place) => {
    const [first = '', ...rest] = place.split('.');
    const known = (check: (options: object) => unknown, [name = '', ...inner]: string[]): void => {
      const value = inner.length === 0 ? Symbol('no value') : { [inner[0] as string]: Symbol('no value') };
      expect(() => check({ [name]: value })).not.toThrow(/unknown option/);
      if (inner.length === 0) expect(() => check({ [name]: value })).toThrow(`.${name}: expected`);
    };
    if (first === 'runtime') known((options) => createArgs(options), rest);
    else if (first === 'router') known((options) => checkRouter('router', options), rest);
    else
      known(
        (options) => frontendArgs('options', { input: first === 'metricsPort' ? 'grpc' : 'http', ...options } as never),
        [first],
      );
  });
});
