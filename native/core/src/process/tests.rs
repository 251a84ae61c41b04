use std::collections::BTreeMap;

use super::{fix_late_setting, fix_settings};

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

#[test]
fn sets_a_late_setting_once() {
    const NAME: &str = "DYN_TEST_LATE_SETTING";
    fix_late_setting(NAME, "1".into()).unwrap();
    fix_late_setting(NAME, "1".into()).unwrap();
    assert_eq!(std::env::var(NAME).unwrap(), "1");
    assert_eq!(fix_late_setting(NAME, "2".into()).unwrap_err().class, "Conflict");
    assert_eq!(std::env::var(NAME).unwrap(), "1");
}
