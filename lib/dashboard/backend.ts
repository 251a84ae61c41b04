import { checkString, wrongType } from '../check.js';
import { custom, integer, type OptionTable, optionTable, text } from '../options.js';
import type { DashboardSnapshot, HistoryView, TraceView } from './view.js';

/** A line of the output of a worker. */
export interface InstanceLogLine {
  /** In the form of ISO 8601. */
  readonly time: string;
  readonly text: string;
}

/** Part of the output of a worker. */
export interface LogPart {
  readonly lines: readonly InstanceLogLine[];
  /** Bytes that were left out between the last part and this one. */
  readonly skippedBytes: number;
}

/** Reads the output of a worker. */
export interface LogSource {
  /** The last lines at the first call, later those that were added. */
  read(): Promise<LogPart>;
}

/** A number of workers that is wanted. */
export interface ScaleRequest {
  readonly service: string;
  readonly workers: number;
}

/** A request to trace. */
export interface TracedPrompt {
  readonly prompt: string;
  /** @default the first model that the frontend lists */
  readonly model?: string;
  /** @default 32 */
  readonly maxTokens?: number;
}

const MAX_WORKERS = 1024;
const MAX_PROMPT_CHARACTERS = 65_536;
const MAX_TRACED_TOKENS = 4096;

export const SCALE_REQUEST: OptionTable<ScaleRequest> = optionTable<ScaleRequest>({
  service: text.required(),
  workers: integer(0, MAX_WORKERS).required(),
});

const prompt = custom<string>(`a string of 1 to ${MAX_PROMPT_CHARACTERS} characters`, (path, value) => {
  checkString(path, value);
  if (value === '' || value.length > MAX_PROMPT_CHARACTERS)
    wrongType(path, `a string of 1 to ${MAX_PROMPT_CHARACTERS} characters`, `${value.length} characters`);
});

export const TRACE_REQUEST: OptionTable<TracedPrompt> = optionTable<TracedPrompt>({
  prompt: prompt.required(),
  model: text,
  maxTokens: integer(1, MAX_TRACED_TOKENS),
});

/** What the server shows and does. */
export interface DashboardBackend {
  snapshot(): DashboardSnapshot;
  history(): HistoryView;
  /**
   * Changes a number of workers. `started`: the change goes on.
   *
   * @throws RequestError, or an error with the fields of `DeployError`
   */
  scale(request: ScaleRequest): Promise<'done' | 'started'>;
  /** Sends a request and follows its way. @throws RequestError if none can be sent now */
  trace(request: TracedPrompt): Promise<TraceView>;
  /** The output of an instance, from its last `tail` lines; undefined if there is none. */
  logs(instance: string, tail: number): LogSource | undefined;
}
