//! The process's tokio runtime, shared with the crates (`Worker::ensure_process_runtime`), and the settings that the crates
//! fix for the life of the process.

use std::collections::BTreeMap;

use dynamo_runtime::worker::Worker;
use parking_lot::Mutex;
use tokio::runtime::{EnterGuard, Handle};

use crate::abi::Failure;

pub fn handle() -> Result<Handle, Failure> {
    Ok(Worker::ensure_process_runtime()?.handle().clone())
}

/// The runtime's context, where it exists; never creates one.
pub fn enter() -> Option<EnterGuard<'static>> {
    Worker::existing_process_runtime().map(|runtime| runtime.enter())
}

static SETTINGS: Mutex<Option<BTreeMap<String, String>>> = Mutex::new(None);

/// What the crates take where a variable is unset, in the words of the host: asking for it is no conflict.
const DEFAULTS: [(&str, &str); 7] = [
    ("DYN_REQUEST_PLANE_CODEC", "msgpack"),
    ("DYN_SYSTEM_PORT", "-1"),
    ("DYN_SYSTEM_HOST", "0.0.0.0"),
    ("DYN_RUNTIME_INHIBITED_DURATION_SECS", "5"),
    ("DYN_TCP_MAX_MESSAGE_SIZE", "33554432"),
    ("DYN_ROUTER_MIN_INITIAL_WORKERS", "0"),
    ("DYN_HEALTH_CHECK_ENABLED", "false"),
];

/// Sets environment variables that the crates read once and keep. The first call sets them; a later one may only repeat
/// what then held, since the crates would silently go on with the first value.
pub fn fix_settings(wanted: BTreeMap<String, String>) -> Result<(), Failure> {
    crate::logging::install();
    let mut fixed = SETTINGS.lock();
    let Some(fixed) = fixed.as_mut() else {
        for (name, value) in &wanted {
            // SAFETY: before the first runtime of the process no thread of ours reads the environment.
            unsafe { std::env::set_var(name, value) };
        }
        *fixed = Some(wanted);
        return Ok(());
    };
    for (name, value) in wanted {
        let current = fixed.get(&name).cloned().or_else(|| std::env::var(&name).ok());
        let default = || DEFAULTS.iter().find(|(of, _)| *of == name).map(|(_, default)| *default);
        if current.as_deref().or_else(default) != Some(value.as_str()) {
            return Err(Failure::conflict(format!(
                "{name}={value} asked for, but this process already runs with {}: Dynamo fixes it at the first runtime",
                current.map_or_else(|| format!("{name} unset"), |current| format!("{name}={current}")),
            )));
        }
    }
    Ok(())
}
