//! Requests to Dynamo's own loop in a process without free file descriptors. The loop serves the engines of the host.
//! It has no place for what `spare_files` does, but tries again to connect to a caller if the system has no free
//! address. The addon's `socket` reports a missing descriptor as that (native/binding/socket.cc). Then the request
//! waits until a descriptor is free. Source: dynamo-runtime `pipeline/network/tcp/client.rs`, `connect`.

use super::spare_files::has_request;
use crate::trace::is_request;

/// Whether the current thread connects to the caller of a request for which nothing else tries again.
#[unsafe(no_mangle)]
pub extern "C" fn dynamo_core_connects_to_caller() -> bool {
    tracing::Span::current().metadata().is_some_and(is_request) && !has_request()
}

#[cfg(test)]
mod tests;
