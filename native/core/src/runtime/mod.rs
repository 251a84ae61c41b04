//! dynamo-runtime: the distributed runtime, endpoints and their clients, events, metrics and health.

mod call_home;
mod caller_check;
mod client;
mod create;
mod discovery;
mod endpoint;
mod events;
mod handler;
mod health;
mod metrics;
mod plane;
mod serve;
mod spare_files;

pub use client::Client;
pub use create::Runtime;
pub use discovery::watch;
pub use endpoint::EndpointRef;
