import { DynamoError, type RequestContext, registerModel } from 'dynamo-node';
import type { RealtimeClientEvent, RealtimeServerEvent } from 'openai/resources/realtime/realtime';
import { describe, expect, it, onTestFinished } from 'vitest';
import { deployments } from '../../helpers/llm/deployments.js';
import { WebSocketClient } from '../../helpers/llm/websocket.js';
import { waitFor } from '../../helpers/wait.js';

const deployment = deployments();

/** Dynamo's additions to the events of clients. */
type TextEvent = { readonly type: 'input_text.append'; readonly text: string } | { readonly type: 'input_text.commit' };

interface Observed {
  readonly events: string[];
  context?: RequestContext;
  ended: boolean;
}

/** A session with a worker that echoes its input. */
async function session() {
  const here = deployment();
  const runtime = await here.runtime();
  const endpoint = runtime.endpoint<RealtimeClientEvent | TextEvent, RealtimeServerEvent>('test.realtime.generate');
  const observed: Observed = { events: [], ended: false };
  await endpoint.serveBidirectional(async function* (events, context) {
    observed.context = context;
    let number = 0;
    const ids = (): { event_id: string } => ({ event_id: `event-${++number}` });
    try {
      for await (const event of events) {
        observed.events.push(event.type);
        if (event.type === 'session.update')
          yield { ...ids(), type: 'session.updated', session: event.session } as RealtimeServerEvent;
        if (event.type === 'input_text.append') {
          for (const delta of event.text.split(' '))
            yield {
              ...ids(),
              type: 'response.output_text.delta',
              response_id: 'r',
              item_id: 'i',
              output_index: 0,
              content_index: 0,
              delta,
            };
        }
        if (event.type === 'input_text.commit') throw new DynamoError('CapacityExhausted', 'not for clients');
      }
    } finally {
      observed.ended = true;
    }
  });
  await registerModel(endpoint, { modelName: 'parrot', modelTypes: ['realtime'], modelInput: 'text' });
  const frontend = await here.frontend();
  await frontend.waitForModel('parrot');
  const socket = await WebSocketClient.connect(`${frontend.url}/v1/realtime`);
  onTestFinished(() => socket.destroy());
  const send = (event: object): void => socket.send(JSON.stringify(event));
  const events = (): RealtimeServerEvent[] => socket.messages.map((text) => JSON.parse(text) as RealtimeServerEvent);
  const received = (count: number) => waitFor('the events', events, (all) => all.length >= count);
  const update = (model = 'parrot') =>
    send({ type: 'session.update', session: { type: 'realtime', model, output_modalities: ['text'] } });
  return { socket, send, received, update, observed };
}

describe('the realtime API with a TypeScript worker', () => {
  it('opens a session, sends events both ways, and ends with the client', async () => {
    const { socket, send, received, update, observed } = await session();
    expect(await received(1)).toMatchObject([{ type: 'session.created' }]);
    update();
    expect((await received(2))[1]).toMatchObject({
      type: 'session.updated',
      session: { type: 'realtime', model: 'parrot' },
    });
    send({ type: 'input_text.append', text: 'moved in blocks' });
    const deltas = (await received(5)).slice(2);
    expect(deltas.map((event) => event.type === 'response.output_text.delta' && event.delta)).toEqual([
      'moved',
      'in',
      'blocks',
    ]);
    send({ type: 'input_audio_buffer.append', audio: 'AAAA' });
    await waitFor(
      'the audio',
      () => observed.events,
      (events) => events.includes('input_audio_buffer.append'),
    );
    expect(observed.ended).toBe(false);
    socket.close();
    expect(await socket.closed).toBe(1000);
    await waitFor('the end of the handler', () => observed.ended);
  });

  it('waits for a known model, and names the missing field of a frame', async () => {
    const { send, received, update, observed } = await session();
    update('nobody');
    send({ type: 'input_text.append', text: 'too early' });
    const [, unknown, early] = await received(3);
    expect(unknown).toMatchObject({ type: 'error', error: { message: expect.stringContaining('nobody') } });
    expect(early).toMatchObject({ type: 'error', error: { message: expect.stringContaining('session.update') } });
    expect(observed.events).toEqual([]);
    update();
    expect((await received(4))[3]).toMatchObject({ type: 'session.updated' });
  });

  it('sends an error of the worker as an event without its message, and closes', async () => {
    const { socket, send, received, update } = await session();
    update();
    await received(2);
    send({ type: 'input_text.commit' });
    const [, , failed] = await received(3);
    expect(failed).toMatchObject({ type: 'error', error: { type: 'server_error' } });
    expect(JSON.stringify(failed)).not.toContain('not for clients');
    socket.close();
    await socket.closed;
  });

  it('ends the handler when the client disconnects', async () => {
    const { socket, received, update, observed } = await session();
    update();
    await received(2);
    socket.destroy();
    await waitFor('the end of the handler', () => observed.ended);
  });
});
