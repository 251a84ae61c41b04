//! dynamo-kv-router: hashes, indexes, publishers of cache events, and routers.

mod choices;
pub mod config;
mod costs;
mod explain;
mod hash;
mod indexer;
mod kv_router;
pub mod policy;
mod publisher;
mod replay;
mod replay_scaling;
mod select;
mod selection;
mod tree;
mod words;
