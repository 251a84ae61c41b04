use std::collections::BTreeMap;

use super::fix_settings;

fn settings(value: &str) -> BTreeMap<String, String> {
    BTreeMap::from([("DYN_SYSTEM_PORT".to_string(), value.to_string())])
}

#[test]
fn takes_the_first_settings_and_rejects_others_afterwards() {
    fix_settings(settings("-1")).unwrap();
    fix_settings(settings("-1")).unwrap();
    fix_settings(BTreeMap::new()).unwrap();
    let failure = fix_settings(settings("8081")).unwrap_err();
    assert_eq!(failure.class, "Conflict");
    let default = BTreeMap::from([("DYN_SYSTEM_HOST".to_string(), "0.0.0.0".to_string())]);
    fix_settings(default).unwrap();
}
