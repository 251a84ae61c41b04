// node.mjs serve NAMESPACE [PLANE] | node.mjs call NAMESPACE [PLANE]
import { DistributedRuntime } from 'dynamo-node';
import { answerCommands, expectSame, measure, report, textOf } from './load.mjs';

const [role, namespace, dataPlane = 'native'] = process.argv.slice(2);
const runtime = await DistributedRuntime.create({ dataPlane });
const echo = runtime.endpoint(`${namespace}.bench.echo`);
const items = runtime.endpoint(`${namespace}.bench.items`);

if (role === 'serve') {
  const served = await Promise.all([
    echo.serve(({ text }) => ({ text })),
    items.serve(async function* ({ bytes, count }) {
      const text = textOf(bytes);
      for (let index = 0; index < count; index++) yield { text };
    }),
  ]);
  report({ ready: true });
  await answerCommands(() => ({}));
  await Promise.all(served.map((one) => one.close()));
} else {
  const [echoes, streams] = await Promise.all([echo.client(), items.client()]);
  await Promise.all([echoes, streams].map((client) => client.waitForInstances({ timeoutMs: 30_000 })));
  const calls = {
    unary: (bytes) => {
      const text = textOf(bytes);
      return async () => {
        const answer = await echoes.unary({ text });
        expectSame('length', answer.text.length, bytes);
        return 1;
      };
    },
    stream: (bytes, count) => async () => {
      let got = 0;
      for await (const { text } of streams.generate({ bytes, count })) {
        expectSame('length', text.length, bytes);
        got += 1;
      }
      expectSame('items', got, count);
      return got;
    },
  };
  report({ ready: true });
  await answerCommands((command) => measure(command, calls));
  await Promise.all([echoes.close(), streams.close()]);
}
await runtime.close({ timeoutMs: 2000 });
