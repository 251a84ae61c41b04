//! Dynamo's crates with a C ABI. This library does not depend on Node. Values cross as MessagePack, objects as handles,
//! results of asynchronous entries through completions. `include/dynamo_core.h` is generated from `abi` and from the
//! entries that are marked `no_mangle`.

#[cfg(not(tokio_unstable))]
compile_error!("build in native/core: its .cargo/config.toml sets --cfg tokio_unstable, which dynamo-runtime needs");

mod abi;
mod args;
mod blocking_call;
mod caller_state;
mod failure;
mod framed;
mod inbox;
mod kvbm;
mod listen;
mod llm;
mod logging;
mod lost_files;
mod packed;
mod process;
mod router;
mod runtime;
mod sink;
mod sockets;
mod stream;
mod trace;
