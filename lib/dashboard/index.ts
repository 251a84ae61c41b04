// The entry point `dynamo-node/dashboard`: a live view of a running graph.
export { Dashboard, type DashboardOptions } from './dashboard.js';
export { DashboardFeed, type DashboardFeedOptions } from './feed.js';
export type * from './view.js';
