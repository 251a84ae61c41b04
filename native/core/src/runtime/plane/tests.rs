use dynamo_runtime::pipeline::network::ResponsePlaneMode;

use super::{DataPlane, KNOWN_VERSIONS, TLS_VARIABLES};

fn lacks(plane: DataPlane, responses: ResponsePlaneMode, version: &str, set: &str, is_traced: bool) -> Option<String> {
    plane.lacks(responses, version, |name| name == set, is_traced)
}

#[test]
fn serves_the_version_that_this_build_has() {
    assert_eq!(lacks(DataPlane::Native, ResponsePlaneMode::Tcp, KNOWN_VERSIONS[0], "", false), None);
}

#[test]
fn names_what_it_lacks() {
    let version = KNOWN_VERSIONS[0];
    let native = |responses, version, set, is_traced| lacks(DataPlane::Native, responses, version, set, is_traced);
    let because = |reason: Option<String>, word: &str| assert!(reason.as_ref().is_some_and(|text| text.contains(word)));
    because(native(ResponsePlaneMode::Tcp, "1.6.2", "", false), "1.6.2");
    because(native(ResponsePlaneMode::Quic, version, "", false), "quic");
    because(native(ResponsePlaneMode::Tcp, version, "", true), "lifecycle");
    because(native(ResponsePlaneMode::Tcp, version, "DYN_TCP_RESPONSE_STREAM_PORT", false), "STREAM_PORT");
    for name in TLS_VARIABLES {
        because(native(ResponsePlaneMode::Tcp, version, name, false), name);
    }
}

#[test]
fn asks_nothing_of_the_crates_plane() {
    assert_eq!(lacks(DataPlane::Crates, ResponsePlaneMode::Quic, "2.0.0", TLS_VARIABLES[0], true), None);
}
