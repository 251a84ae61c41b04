use std::collections::BTreeMap;

use super::{LATE_SETTING, fix_late_setting, fix_settings, overwrite, reserve};

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

fn address_of(name: &str) -> usize {
    let name = std::ffi::CString::new(name).unwrap();
    // SAFETY: the name is a live string that ends with a zero.
    unsafe { libc::getenv(name.as_ptr()) }.addr()
}

#[test]
fn sets_a_late_setting_once_and_in_place() {
    fix_settings(settings("-1")).unwrap();
    let number = || std::env::var(LATE_SETTING).unwrap().parse::<u64>().unwrap();
    let address = address_of(LATE_SETTING);
    assert_eq!(number(), 0);
    fix_late_setting(u64::MAX).unwrap();
    fix_late_setting(u64::MAX).unwrap();
    assert_eq!((number(), address_of(LATE_SETTING)), (u64::MAX, address));
    assert_eq!(fix_late_setting(2).unwrap_err().class, "Conflict");
    assert_eq!(number(), u64::MAX);
}

#[test]
fn overwrites_only_what_was_reserved() {
    const NAME: &str = "DYN_TEST_LATE_SETTING";
    assert!(!overwrite(NAME, 1));
    // SAFETY: no other thread of the tests uses the variable.
    unsafe { std::env::set_var(NAME, "7") };
    assert!(!overwrite(NAME, 1));
    reserve(NAME);
    assert_eq!(std::env::var(NAME).unwrap(), "00000000000000000007");
    assert!(overwrite(NAME, 1));
    assert_eq!(std::env::var(NAME).unwrap(), "00000000000000000001");
}
