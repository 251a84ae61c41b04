// grpc.mjs serve | grpc.mjs call PORT. Messages are the same MessagePack that dynamo-node sends.

import { once } from 'node:events';
import { credentials, makeGenericClientConstructor, Server, ServerCredentials } from '@grpc/grpc-js';
import { Packr } from 'msgpackr';
import { answerCommands, expectSame, measure, report, textOf } from './load.mjs';

const packr = new Packr({ useRecords: false, variableMapSize: true });
const serialize = (value) => packr.pack(value);
const deserialize = (bytes) => packr.unpack(bytes);
const method = (path, responseStream) => ({
  path,
  requestStream: false,
  responseStream,
  requestSerialize: serialize,
  requestDeserialize: deserialize,
  responseSerialize: serialize,
  responseDeserialize: deserialize,
});
const service = { echo: method('/Bench/Echo', false), items: method('/Bench/Items', true) };

const [role, port] = process.argv.slice(2);

if (role === 'serve') {
  const server = new Server();
  server.addService(service, {
    echo: ({ request }, answer) => answer(null, { text: request.text }),
    items: async (call) => {
      const { bytes, count } = call.request;
      const text = textOf(bytes);
      for (let index = 0; index < count; index++) if (!call.write({ text })) await once(call, 'drain');
      call.end();
    },
  });
  const bound = await new Promise((resolve, reject) =>
    server.bindAsync('127.0.0.1:0', ServerCredentials.createInsecure(), (error, boundPort) =>
      error ? reject(error) : resolve(boundPort),
    ),
  );
  report({ port: bound });
  await answerCommands(() => ({}));
  server.forceShutdown();
} else {
  const Client = makeGenericClientConstructor(service, 'Bench');
  const client = new Client(`127.0.0.1:${port}`, credentials.createInsecure());
  await new Promise((resolve, reject) =>
    client.waitForReady(Date.now() + 30_000, (error) => (error ? reject(error) : resolve())),
  );
  const calls = {
    unary: (bytes) => {
      const text = textOf(bytes);
      return () =>
        new Promise((resolve, reject) =>
          client.echo({ text }, (error, answer) => {
            if (error) return reject(error);
            expectSame('length', answer.text.length, bytes);
            resolve(1);
          }),
        );
    },
    stream: (bytes, count) => () =>
      new Promise((resolve, reject) => {
        let received = 0;
        client
          .items({ bytes, count })
          .on('data', ({ text }) => {
            expectSame('length', text.length, bytes);
            received += 1;
          })
          .on('error', reject)
          .on('end', () => {
            expectSame('items', received, count);
            resolve(received);
          });
      }),
  };
  report({ ready: true });
  await answerCommands((command) => measure(command, calls));
  client.close();
}
