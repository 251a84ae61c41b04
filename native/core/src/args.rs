//! Reads option values from the `args` of an entry. An error names the path of the option.

use std::str::FromStr;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::failure::Failure;

/// Reads a value in the shape that the crates define. `path` is the name of the option in an error.
pub fn read<T: DeserializeOwned>(path: &str, value: Value) -> Result<T, Failure> {
    serde_json::from_value(value).map_err(|error| Failure::invalid(format!("{path}: {error}")))
}

/// Like `read`. Fields that `value` lacks have the crates' defaults.
pub fn read_over_defaults<T: Default + Serialize + DeserializeOwned>(path: &str, value: Value) -> Result<T, Failure> {
    let mut all = serde_json::to_value(T::default()).map_err(Failure::internal)?;
    match (&mut all, value) {
        (Value::Object(fields), Value::Object(wanted)) => fields.extend(wanted),
        (_, other) => all = other,
    }
    read(path, all)
}

pub fn parse<T: FromStr>(path: &str, expected: &str, value: &str) -> Result<T, Failure> {
    value.parse().map_err(|_| Failure::invalid(format!("{path}: expected {expected}, got {value:?}")))
}

#[cfg(test)]
mod tests;
