//! Dynamo's crates behind a C ABI. Knows nothing of Node: values cross as MessagePack, objects as handles, results through
//! completions. `include/dynamo_core.h` is generated from `abi` and from the entries marked `no_mangle`.

#[cfg(not(tokio_unstable))]
compile_error!("build in native/core: its .cargo/config.toml sets --cfg tokio_unstable, which dynamo-runtime needs");

pub mod abi;
mod ask;
mod framed;
mod inbox;
mod kvbm;
mod leaving;
mod llm;
mod logging;
mod packed;
mod process;
mod router;
mod runtime;
mod sink;
mod sockets;
mod stream;
mod trace;
