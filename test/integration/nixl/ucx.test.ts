import { beforeEach, describe, expect, it, onTestFinished } from 'vitest';

import { Child } from '../../helpers/child.js';
import { describeLives } from '../../helpers/nixl/close-states.js';
import { nixlMissing, useTransport } from '../../helpers/nixl/library.js';
import { describeLifetime } from '../../helpers/nixl/lifetime.js';
import { describeMetadata } from '../../helpers/nixl/metadata.js';
import { describeMisuse } from '../../helpers/nixl/misuse.js';
import { describeNotifications } from '../../helpers/nixl/notifications.js';
import { describeTransfers } from '../../helpers/nixl/transfers.js';

useTransport('ucx');

describe('NIXL on UCX', () => {
  beforeEach((context) => {
    const missing = nixlMissing();
    if (missing !== undefined) context.skip(missing);
  });
  for (const part of [describeTransfers, describeMetadata, describeNotifications, describeLifetime, describeMisuse])
    part('ucx');
  describeLives('ucx', 200, 300_000);

  it.each([
    ['worker_id=1', undefined],
    ['worker_id=99', 'Invalid worker_id 99'],
    ['worker_id=one', 'Failed to parse worker_id'],
  ])('passes a custom parameter to UCX: %s', async (parameter, complaint) => {
    const child = Child.program('test/helpers/nixl/programs/custom.ts', [parameter], {
      env: { NIXL_LOG_LEVEL: 'WARN' },
    });
    onTestFinished(() => child.stop());
    expect(await child.event('done', {}, 60_000)).toMatchObject({ bytes: 4096 });
    await child.exit();
    if (complaint === undefined) expect(child.output).not.toMatch(/worker_id/);
    else expect(child.output).toContain(complaint);
  });
});
