//! Modules of native/core as they are, with their unit tests, for Miri. Those of dynamo-runtime that they use are as
//! they are too, except for the two stand-ins below, which would need most of its dependencies.

#![allow(dead_code, unused_imports)]

extern crate self as dynamo_runtime;

include!(concat!(env!("OUT_DIR"), "/upstream.rs"));

#[path = "../src"]
mod ours {
    pub mod abi;
    pub mod args;
    pub mod blocking_call;
    pub mod caller_state;
    pub mod failure;
    pub mod framed;
    pub mod inbox;
    pub mod listen;
    pub mod packed;
    pub mod process;
    pub mod sink;
    pub mod stream;
}

use ours::{abi, args, caller_state, failure, framed, inbox, packed, process, sink, stream};
use upstream::{engine, error, pipeline};

/// The runtime of the process, without its configuration.
mod worker {
    use std::sync::OnceLock;

    use tokio::runtime::{Builder, Runtime};

    static RUNTIME: OnceLock<Runtime> = OnceLock::new();

    pub struct Worker;

    impl Worker {
        pub fn ensure_process_runtime() -> anyhow::Result<&'static Runtime> {
            Ok(RUNTIME.get_or_init(|| Builder::new_multi_thread().worker_threads(2).enable_time().build().unwrap()))
        }

        pub fn existing_process_runtime() -> Option<&'static Runtime> {
            RUNTIME.get()
        }
    }
}

/// The trace context of a request, which is none.
mod trace {
    use std::collections::BTreeMap;

    pub fn add_received(_metadata: &mut BTreeMap<String, String>) {}
}
