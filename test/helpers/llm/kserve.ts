import { Client, credentials } from '@grpc/grpc-js';
import { onTestFinished } from 'vitest';
import type { Frontend } from '../../../lib/index.js';
import { decode, encode } from './protobuf.js';

/** Asks a KServe frontend's model to go on with a text: for as many tokens as the frontend's template says. */
export function kserveInfer(to: Frontend, model: string): (text: string) => Promise<unknown> {
  const client = new Client(to.url.replace('grpc://', ''), credentials.createInsecure());
  onTestFinished(() => client.close());
  return (text) =>
    new Promise((resolve, reject) => {
      const message = {
        1: model,
        5: [{ 1: 'text_input', 2: 'BYTES', 3: Uint8Array.of(1), 5: { 8: text } }],
      };
      client.makeUnaryRequest(
        '/inference.GRPCInferenceService/ModelInfer',
        encode,
        decode,
        message,
        { deadline: Date.now() + 20_000 },
        (error, reply) => (error === null ? resolve(reply) : reject(error)),
      );
    });
}
