//! The tokio runtime of the process, which the crates share (`Worker::ensure_process_runtime`), and the settings that
//! the crates read once.

use std::collections::BTreeMap;

use dynamo_runtime::worker::Worker;
use parking_lot::Mutex;
use tokio::runtime::{EnterGuard, Handle};

use crate::failure::Failure;

pub fn handle() -> Result<Handle, Failure> {
    Ok(Worker::ensure_process_runtime()?.handle().clone())
}

/// Enters the context of the runtime, if the runtime exists. It never creates one.
pub fn enter() -> Option<EnterGuard<'static>> {
    Worker::existing_process_runtime().map(|runtime| runtime.enter())
}

static SETTINGS: Mutex<Option<BTreeMap<String, String>>> = Mutex::new(None);

/// The crates' defaults of unset variables, in the spelling of the host. Requesting a default is not a conflict.
const DEFAULTS: [(&str, &str); 7] = [
    ("DYN_REQUEST_PLANE_CODEC", "msgpack"),
    ("DYN_SYSTEM_PORT", "-1"),
    ("DYN_SYSTEM_HOST", "0.0.0.0"),
    ("DYN_RUNTIME_INHIBITED_DURATION_SECS", "5"),
    ("DYN_TCP_MAX_MESSAGE_SIZE", "33554432"),
    ("DYN_ROUTER_MIN_INITIAL_WORKERS", "0"),
    ("DYN_HEALTH_CHECK_ENABLED", "false"),
];

/// Sets environment variables that the crates read once. The first call sets them. A later call fails if it wants other
/// values, because the crates would silently keep the first ones.
pub fn fix_settings(wanted: BTreeMap<String, String>) -> Result<(), Failure> {
    let mut fixed = SETTINGS.lock();
    let Some(fixed) = fixed.as_mut() else {
        for (name, value) in &wanted {
            // SAFETY: this is before the first runtime of the process, so no thread of this library reads the
            // environment.
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
                "{name}={value} was requested, but this process already runs with {}: Dynamo reads it only once",
                current.map_or_else(|| format!("{name} unset"), |current| format!("{name}={current}")),
            )));
        }
    }
    Ok(())
}

static LATE_SETTINGS: Mutex<BTreeMap<&'static str, String>> = Mutex::new(BTreeMap::new());

/// Sets an environment variable that the crates read whenever a part of them starts. All parts of the process share it,
/// so that a second value is a conflict.
pub fn fix_late_setting(name: &'static str, value: String) -> Result<(), Failure> {
    let mut fixed = LATE_SETTINGS.lock();
    match fixed.get(name) {
        Some(current) if *current != value => Err(Failure::conflict(format!(
            "{name}={value} was requested, but this process already runs with {name}={current}"
        ))),
        Some(_) => Ok(()),
        None => {
            // SAFETY: as for `process.env` of Node.js. Rust's own readers share a lock with this call. Readers in C are
            // those of the host's process, which may change its environment too.
            unsafe { std::env::set_var(name, &value) };
            fixed.insert(name, value);
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests;
