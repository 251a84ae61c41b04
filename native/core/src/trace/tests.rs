use std::collections::BTreeMap;

use tracing::subscriber::{NoSubscriber, with_default};

use super::{TRACEPARENT, add_received, outgoing_span};

fn metadata(traceparent: &str) -> BTreeMap<String, String> {
    BTreeMap::from([(TRACEPARENT.to_string(), traceparent.to_string())])
}

const VALID: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

#[test]
fn makes_a_span_for_a_valid_trace_context() {
    assert!(outgoing_span(&metadata(VALID)).is_some());
}

#[test]
fn makes_no_span_without_a_valid_trace_context() {
    // A span that no subscriber wants reads its fields only before the first subscriber of the process.
    with_default(NoSubscriber::default(), || {
        assert!(outgoing_span(&BTreeMap::new()).is_none());
        assert!(outgoing_span(&metadata("not a context")).is_none());
    });
}

#[test]
fn keeps_a_trace_context_that_the_metadata_has() {
    let mut both = metadata(VALID);
    add_received(&mut both);
    assert_eq!(both, metadata(VALID));
}
