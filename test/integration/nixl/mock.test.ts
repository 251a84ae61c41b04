import { describe } from 'vitest';
import { describeLives } from '../../helpers/nixl/close-states.js';
import { useTransport } from '../../helpers/nixl/library.js';
import { describeLifetime } from '../../helpers/nixl/lifetime.js';
import { describeMetadata } from '../../helpers/nixl/metadata.js';
import { describeMisuse } from '../../helpers/nixl/misuse.js';
import { describeNotifications } from '../../helpers/nixl/notifications.js';
import { describeTransfers } from '../../helpers/nixl/transfers.js';

useTransport('mock');

describe('NIXL on the mock', () => {
  for (const part of [describeTransfers, describeMetadata, describeNotifications, describeLifetime, describeMisuse])
    part('mock');
  describeLives('mock', 10_000, 300_000);
});
