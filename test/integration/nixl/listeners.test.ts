import { NixlAgent, type NixlAgentOptions } from 'dynamo-node';
import { describe, expect, it, onTestFinished } from 'vitest';

import { kernelAddress, listening } from '../../helpers/listening.js';
import { type Kind, libraryOf, nixlMissing, uniqueName, useTransport } from '../../helpers/nixl/library.js';
import { freePort } from '../../helpers/runtime/cluster.js';
import { describeUnless } from '../../helpers/skipping.js';
import { waitFor } from '../../helpers/wait.js';

useTransport('tcp');
process.env['UCX_NET_DEVICES'] = 'lo';

const EVERY_ADDRESS = '00000000';
const LOOPBACK = kernelAddress('127.0.0.1');

/** Creates an agent with memory, and returns the hosts and ports on which this process listens because of it. */
async function opened(kind: Kind, options: NixlAgentOptions = {}): Promise<{ hosts: string[]; ports: number[] }> {
  const before = listening();
  const agent = await NixlAgent.create(uniqueName('listens'), { library: libraryOf(kind), ...options });
  onTestFinished(async () => {
    await agent.close();
    await waitFor('the ports are closed', () => listening().filter((each) => !before.includes(each)).length === 0);
  });
  await agent.allocate(4096);
  const found = listening().filter((each) => !before.includes(each));
  const [hosts, ports] = [0, 1].map((part) => found.map((each) => each.split(':')[part] as string)) as [
    string[],
    string[],
  ];
  return { hosts, ports: ports.map((port) => Number.parseInt(port, 16)) };
}

describe('an agent of the mock', () => {
  it('opens no port without listenPort', async () => {
    expect(await opened('mock')).toEqual({ hosts: [], ports: [] });
  });

  it('listens at listenPort on all interfaces', async () => {
    const listenPort = await freePort();
    expect(await opened('mock', { listenPort })).toEqual({ hosts: [EVERY_ADDRESS], ports: [listenPort] });
  });
});

describeUnless(nixlMissing(), 'an agent of NIXL', () => {
  it('opens only ports of the devices in UCX_NET_DEVICES without listenPort', async () => {
    const { hosts } = await opened('tcp');
    expect(hosts.length).toBeGreaterThan(0);
    expect(hosts).toEqual(hosts.map(() => LOOPBACK));
  });

  it('listens at listenPort on all interfaces, whatever UCX_NET_DEVICES is', async () => {
    const listenPort = await freePort();
    const { hosts, ports } = await opened('tcp', { listenPort });
    expect(hosts[ports.indexOf(listenPort)]).toBe(EVERY_ADDRESS);
    expect(hosts.filter((host) => host !== LOOPBACK)).toEqual([EVERY_ADDRESS]);
  });
});
