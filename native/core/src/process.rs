//! The tokio runtime of the process, which the crates share (`Worker::ensure_process_runtime`), and the settings that
//! the crates read once.

use std::collections::BTreeMap;
use std::ffi::CString;
use std::sync::atomic::{AtomicU8, Ordering::Relaxed};

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
        reserve(LATE_SETTING);
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

/// A number that the crates read whenever they start an HTTP server, so that it may be set after other threads exist.
pub const LATE_SETTING: &str = "DYN_HTTP_PRE_COMMIT_ERROR_PEEK_MS";
/// The digits of every number of 64 bits.
const DIGITS: usize = 20;

/// Gives a variable its final size while only the first runtime is made. Unset, it becomes 0, which the crates treat
/// as unset.
fn reserve(name: &str) {
    let value = match std::env::var(name) {
        Ok(text) => text.parse::<u64>().ok(),
        Err(std::env::VarError::NotPresent) => Some(0),
        Err(std::env::VarError::NotUnicode(_)) => None,
    };
    if let Some(value) = value {
        // SAFETY: as in `fix_settings`.
        unsafe { std::env::set_var(name, format!("{value:0DIGITS$}")) };
    }
}

/// Writes a number over the value of a variable that was reserved. The C library's readers of other variables are not
/// disturbed, because the list of the variables and their strings stay where they are.
fn overwrite(name: &str, value: u64) -> bool {
    let Ok(c_name) = CString::new(name) else { return false };
    // SAFETY: the name is a live string that ends with a zero.
    let at = unsafe { libc::getenv(c_name.as_ptr()) };
    // SAFETY: a value of the environment is a string that ends with a zero.
    if at.is_null() || unsafe { libc::strlen(at) } != DIGITS {
        return false;
    }
    for (index, digit) in format!("{value:0DIGITS$}").bytes().enumerate() {
        // SAFETY: within the string, which no program may free. Its readers see digits at any time.
        unsafe { AtomicU8::from_ptr(at.add(index).cast()) }.store(digit, Relaxed);
    }
    true
}

static LATE: Mutex<Option<u64>> = Mutex::new(None);

/// Sets `LATE_SETTING`. All parts of the process share it, so that a second value is a conflict.
pub fn fix_late_setting(value: u64) -> Result<(), Failure> {
    let mut fixed = LATE.lock();
    match *fixed {
        Some(current) if current != value => Err(Failure::conflict(format!(
            "{LATE_SETTING}={value} was requested, but this process already runs with {LATE_SETTING}={current}"
        ))),
        Some(_) => Ok(()),
        None if overwrite(LATE_SETTING, value) => {
            *fixed = Some(value);
            Ok(())
        }
        None => Err(Failure::conflict(format!(
            "{LATE_SETTING}={value} was requested, but this process has changed that variable since its first runtime"
        ))),
    }
}

#[cfg(test)]
mod tests;
