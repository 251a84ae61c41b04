import { beforeEach, describe } from 'vitest';
import { describeLives } from '../../helpers/nixl/close-states.js';
import { nixlMissing, useTransport } from '../../helpers/nixl/library.js';
import { describeLifetime } from '../../helpers/nixl/lifetime.js';
import { describeMetadata } from '../../helpers/nixl/metadata.js';
import { describeMisuse } from '../../helpers/nixl/misuse.js';
import { describeNotifications } from '../../helpers/nixl/notifications.js';
import { describeTransfers } from '../../helpers/nixl/transfers.js';

useTransport('tcp');

describe('NIXL on UCX over TCP only', () => {
  beforeEach((context) => {
    const missing = nixlMissing();
    if (missing !== undefined) context.skip(missing);
  });
  for (const part of [describeTransfers, describeMetadata, describeNotifications, describeLifetime, describeMisuse])
    part('tcp');
  describeLives('tcp', 40, 300_000);
});
