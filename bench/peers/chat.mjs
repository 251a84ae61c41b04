// chat.mjs URL: streaming chat over HTTP/1.1
import { Agent, request } from 'node:http';
import { answerCommands, drive, expectSame, pace, report } from './load.mjs';

const [url] = process.argv.slice(2);
const target = new URL('/v1/chat/completions', url);

/** Returns the milliseconds to the first event, which carries the first token, and the number of tokens. */
function chat(body, agent) {
  return new Promise((resolve, reject) => {
    const begin = performance.now();
    let firstMs;
    let tokens;
    let pending = '';
    const call = request(target, {
      method: 'POST',
      agent,
      headers: { 'content-type': 'application/json', 'content-length': body.length },
    });
    call.on('error', reject);
    call.on('response', (response) => {
      response.setEncoding('utf8');
      response.on('data', (data) => {
        const lines = (pending + data).split('\n');
        pending = lines.pop();
        for (const line of lines) {
          if (!line.startsWith('data: {')) continue;
          firstMs ??= performance.now() - begin;
          if (line.includes('"completion_tokens"'))
            tokens = JSON.parse(line.slice('data: '.length)).usage.completion_tokens;
        }
      });
      response.on('error', reject);
      response.on('end', () => {
        if (response.statusCode !== 200 || tokens === undefined)
          reject(new Error(`${response.statusCode}: ${pending}`));
        else resolve({ firstMs, tokens });
      });
    });
    call.end(body);
  });
}

report({ ready: true });
await answerCommands(async ({ model, tokens, prompt, concurrency, rate, keepAlive, warmUpMs, ms }) => {
  const agent = new Agent({ keepAlive });
  const body = Buffer.from(
    JSON.stringify({
      model,
      messages: [{ role: 'user', content: prompt }],
      max_tokens: tokens,
      stream: true,
      stream_options: { include_usage: true },
      ignore_eos: true,
    }),
  );
  let firsts = [];
  const call = async () => {
    const answer = await chat(body, agent);
    expectSame('tokens', answer.tokens, tokens);
    firsts.push(answer.firstMs);
    return answer.tokens;
  };
  await drive({ concurrency, ms: warmUpMs }, call);
  firsts = [];
  const sample = rate === undefined ? await drive({ concurrency, ms }, call) : await pace({ rate, ms }, call);
  agent.destroy();
  firsts.sort((a, b) => a - b);
  const at = (share) => firsts[Math.min(firsts.length - 1, Math.floor(firsts.length * share))];
  return { ...sample, firstP50Ms: at(0.5), firstP99Ms: at(0.99) };
});
