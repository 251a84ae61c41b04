import type { HookKind, Service } from '../service.js';
import type { ServiceContext } from '../service-context.js';

/** Runs the start hooks of a service, one after the other, up to the first that throws. */
export async function runStartHooks({ hooks }: Service, self: unknown, context: ServiceContext): Promise<void> {
  for (const { kind, call } of hooks) if (kind === 'start') await call(self, context);
}

/** Runs all shutdown hooks of a service. @throws the first error, after the last hook */
export async function runShutdownHooks({ hooks }: Service, self: unknown, context: ServiceContext): Promise<void> {
  const errors: unknown[] = [];
  for (const { kind, call } of hooks) {
    if (kind !== 'shutdown') continue;
    try {
      await call(self, context);
    } catch (error) {
      errors.push(error);
    }
  }
  if (errors.length > 0) throw errors[0];
}

/** The result of a probe: whether all hooks of its kind returned true. */
export type Probe = () => Promise<boolean>;

/** The probe of one kind of hook. Hooks that return nothing count as true. Without a hook it is always true. */
export function probeOf({ hooks }: Service, kind: HookKind, self: unknown, context: ServiceContext): Probe {
  const wanted = hooks.filter((hook) => hook.kind === kind);
  return async () => {
    const results = await Promise.all(wanted.map(async ({ call }) => call(self, context)));
    return results.every((result) => result === undefined || result === true);
  };
}
