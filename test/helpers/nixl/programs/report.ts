// Prints the report of nixlDoctor() and the explanation of nixlExplain(). Usage: report.ts [REQUIREMENT]
import { loadNixl, NixlAgent, type NixlError, type NixlRequirement, nixlDoctor, nixlExplain } from 'dynamo-node';

const required = (process.argv[2] ?? 'any') as NixlRequirement;
const library = loadNixl({ mode: 'real' });
const { problems, processVm, system, ucx } = await nixlDoctor({ library });
const params: Record<string, string> = required === 'shared-memory' ? { ucx_error_handling_mode: 'none' } : {};
const agent = await NixlAgent.create(`report-${process.pid}`, { library, backends: { UCX: params } });
const region = await agent.allocate(1 << 20);
const pair = { peer: await agent.metadata(), remote: region.descriptor() };
const explained = await nixlExplain(pair, { library, require: required }).catch((error: NixlError) => ({
  rejected: error.message,
  details: error.details,
}));
console.log(JSON.stringify({ event: 'report', problems, processVm, system, ucx, explained }));
await agent.close();
