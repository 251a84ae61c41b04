use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{parse, read, read_over_defaults};

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Settings {
    size: u32,
    name: String,
}

impl Default for Settings {
    fn default() -> Self {
        Self { size: 4, name: "default".into() }
    }
}

#[test]
fn reads_a_value() {
    assert_eq!(read::<u32>("size", json!(7)).unwrap(), 7);
}

#[test]
fn names_the_path_of_a_wrong_value() {
    let failure = read::<u32>("options.size", json!("x")).unwrap_err();
    assert_eq!(failure.class, "BadArgument");
    assert!(failure.message.starts_with("options.size: invalid type: string \"x\""), "{}", failure.message);
}

#[test]
fn completes_a_partial_value_with_the_defaults() {
    let settings: Settings = read_over_defaults("settings", json!({ "size": 9 })).unwrap();
    assert_eq!(settings, Settings { size: 9, name: "default".into() });
}

#[test]
fn rejects_a_value_that_is_no_object_where_defaults_are_completed() {
    assert!(read_over_defaults::<Settings>("settings", json!(1)).unwrap_err().message.starts_with("settings: "));
}

#[test]
fn says_what_a_text_is_expected_to_be() {
    let failure = parse::<u32>("port", "a number", "http").unwrap_err();
    assert_eq!(failure.message, "port: expected a number, got \"http\"");
}
