//! dynamo-kv-router: hashes, indexes, publishers of cache events, and routers.

mod attached;
mod costs;
mod explain;
mod hash;
mod indexer;
pub mod policy;
mod publisher;
mod replay;
mod select;
mod selection;
mod tree;
mod words;
