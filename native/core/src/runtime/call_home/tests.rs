use tracing::info_span;
use tracing_subscriber::Registry;

use super::dynamo_core_connects_to_caller;

#[test]
fn is_true_only_inside_the_span_of_a_request() {
    tracing::subscriber::with_default(Registry::default(), || {
        assert!(!dynamo_core_connects_to_caller());
        let [request, other, sent] = [
            info_span!(target: "request_span", "handle_payload"),
            info_span!("handle_payload"),
            info_span!(target: "request_span", "client_request"),
        ];
        assert!(request.in_scope(|| dynamo_core_connects_to_caller()));
        assert!(!other.in_scope(|| dynamo_core_connects_to_caller()));
        assert!(!sent.in_scope(|| dynamo_core_connects_to_caller()));
    });
}
