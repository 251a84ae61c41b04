import { beforeEach, describe } from 'vitest';

import { describeLifetime } from '../helpers/nixl/lifetime.js';
import { describeLives } from '../helpers/nixl/lives.js';
import { nixlMissing, useTransport } from '../helpers/nixl/library.js';
import { describeMetadata } from '../helpers/nixl/metadata.js';
import { describeMisuse } from '../helpers/nixl/misuse.js';
import { describeNotifications } from '../helpers/nixl/notifications.js';
import { describeTransfers } from '../helpers/nixl/transfers.js';

useTransport('ucx');

describe('NIXL on UCX', () => {
  beforeEach((context) => {
    const missing = nixlMissing();
    if (missing !== undefined) context.skip(missing);
  });
  for (const part of [describeTransfers, describeMetadata, describeNotifications, describeLifetime, describeMisuse]) part('ucx');
  describeLives('ucx', 200, 300_000);
});
