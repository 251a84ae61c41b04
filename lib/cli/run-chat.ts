import { createInterface } from 'node:readline';
import { type CommandIo, EXIT } from './command.js';
import { cliFailureOf } from './failure.js';
import { note, print, printFailure, printJson, styled } from './output.js';
import { ask, type ChatAnswer, type ChatMessage, type ChatTarget } from './run-client.js';

const HELP = '/clear forgets the conversation, /quit leaves. Ctrl-C stops an answer; again, it leaves.';

/** The figures of an answer in words, such as `TTFT 12 ms, 40 tokens, 85.1 tokens/s`. */
export function figures({ firstTokenMs, tokensOut, elapsedMs }: ChatAnswer): string {
  const ttft = firstTokenMs === undefined ? 'no token' : `TTFT ${firstTokenMs.toFixed(0)} ms`;
  return `${ttft}, ${tokensOut} tokens, ${rate(tokensOut, elapsedMs)} tokens/s`;
}

/** Tokens a second, with one digit after the point. */
export function rate(tokens: number, elapsedMs: number): string {
  return (elapsedMs <= 0 ? 0 : (tokens * 1000) / elapsedMs).toFixed(1);
}

/** The figures of an answer for programs. */
export function answerJson(text: string, answer: ChatAnswer): object {
  const { text: response, tokensIn, tokensOut, firstTokenMs, elapsedMs, isStopped } = answer;
  return {
    text,
    response,
    tokens_in: tokensIn,
    tokens_out: tokensOut,
    ttft_ms: firstTokenMs === undefined ? null : Math.round(firstTokenMs),
    elapsed_ms: Math.round(elapsedMs),
    ...(isStopped ? { stopped: true } : {}),
  };
}

/**
 * Holds a conversation until the end of the input, `/quit`, or a Ctrl-C while no answer is running. Without a terminal
 * each line is a question, and with `json` each answer is one line of JSON.
 */
export async function chat(target: ChatTarget, io: CommandIo, json: boolean): Promise<number> {
  const isLive = io.isTerminal && !json;
  const lines = createInterface({
    input: io.stdin,
    ...(isLive ? { output: io.stdout } : {}),
    terminal: isLive,
    prompt: styled(io, 'bold', '> '),
  });
  const messages: ChatMessage[] = [];
  let running: AbortController | undefined;
  let exitCode: number = EXIT.ok;
  const interrupt = (): void => {
    if (running !== undefined && !running.signal.aborted) return running.abort();
    exitCode = EXIT.interrupted;
    lines.close();
  };
  lines.on('SIGINT', interrupt);
  const removeHandler = io.onSignal('SIGINT', interrupt);
  const terminated = new AbortController();
  const removeTermination = io.onSignal('SIGTERM', () => {
    exitCode = EXIT.terminated;
    terminated.abort();
    lines.close();
  });
  const write = (text: string): void => void (json || io.stdout.write(text));

  const reply = async (question: string): Promise<void> => {
    running = new AbortController();
    messages.push({ role: 'user', content: question });
    try {
      const signal = AbortSignal.any([running.signal, terminated.signal]);
      const answer = await ask(target, messages, { signal, onText: write });
      messages.push({ role: 'assistant', content: answer.text });
      write(answer.isStopped ? ' [stopped]\n' : '\n');
      if (json) printJson(io, answerJson(question, answer));
      else note(io, styled(io, 'dim', `[${figures(answer)}]`));
    } catch (error) {
      messages.pop();
      write('\n');
      printFailure(io, cliFailureOf(error), json);
    } finally {
      running = undefined;
    }
  };

  try {
    if (isLive) {
      print(io, `Model ${target.model}. ${HELP}`);
      lines.prompt();
    }
    for await (const line of lines) {
      const question = line.trim();
      if (question === '/quit') break;
      if (question === '/clear') messages.length = 0;
      else if (question === '/help') note(io, HELP);
      else if (question !== '') await reply(question);
      if (exitCode !== EXIT.ok) break;
      if (isLive) lines.prompt();
    }
    if (isLive) print(io);
    return exitCode;
  } finally {
    lines.close();
    removeHandler();
    removeTermination();
  }
}

/** Answers one prompt: everything that the input has. */
export async function answerInput(target: ChatTarget, io: CommandIo, json: boolean): Promise<number> {
  const stop = new AbortController();
  let exitCode: number = EXIT.ok;
  const end = (code: number) => (): void => {
    exitCode = code;
    stop.abort();
    io.stdin.destroy();
  };
  const remove = [io.onSignal('SIGINT', end(EXIT.interrupted)), io.onSignal('SIGTERM', end(EXIT.terminated))];
  try {
    let prompt = '';
    const decoder = new TextDecoder();
    try {
      for await (const part of io.stdin as AsyncIterable<Uint8Array | string>)
        prompt += typeof part === 'string' ? part : decoder.decode(part, { stream: true });
    } catch (error) {
      if (!stop.signal.aborted) throw error;
    }
    if (stop.signal.aborted) return exitCode;
    const answer = await ask(target, [{ role: 'user', content: prompt.trim() }], {
      signal: stop.signal,
      ...(json ? {} : { onText: (text: string) => void io.stdout.write(text) }),
    });
    if (json) printJson(io, answerJson(prompt.trim(), answer));
    else {
      print(io);
      if (io.isTerminal) note(io, styled(io, 'dim', `[${figures(answer)}]`));
    }
    return exitCode;
  } finally {
    for (const each of remove) each();
  }
}
