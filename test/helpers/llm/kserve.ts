import { Client, credentials } from '@grpc/grpc-js';
import type { Frontend } from 'dynamo-node';
import { onTestFinished } from 'vitest';
import { decode, encode } from './protobuf.js';

/**
 * Creates a function that completes a text with a model of a KServe frontend. The frontend's template sets the length.
 */
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
