use dynamo_runtime::pipeline::network::ResponsePlaneMode;

use super::{KNOWN_VERSIONS, TLS_VARIABLES, lacks};

fn reason(responses: ResponsePlaneMode, version: &str, set: &str, is_traced: bool) -> Option<String> {
    lacks(responses, version, |name| name == set, is_traced)
}

#[test]
fn serves_the_version_that_this_build_has() {
    assert_eq!(reason(ResponsePlaneMode::Tcp, KNOWN_VERSIONS[0], "", false), None);
}

#[test]
fn names_what_it_lacks() {
    let version = KNOWN_VERSIONS[0];
    let because = |reason: Option<String>, word: &str| assert!(reason.as_ref().is_some_and(|text| text.contains(word)));
    because(reason(ResponsePlaneMode::Tcp, "1.6.2", "", false), "1.6.2");
    because(reason(ResponsePlaneMode::Quic, version, "", false), "quic");
    because(reason(ResponsePlaneMode::Tcp, version, "", true), "lifecycle");
    because(reason(ResponsePlaneMode::Tcp, version, "DYN_TCP_RESPONSE_STREAM_PORT", false), "STREAM_PORT");
    for name in TLS_VARIABLES {
        because(reason(ResponsePlaneMode::Tcp, version, name, false), name);
    }
}
