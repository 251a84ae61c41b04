use super::unpublished;

#[test]
fn reports_an_event_over_the_limit_of_nats_with_both_sizes() {
    let text = "Payload size limit of 1048576 exceeded by message size of 1048577 bytes";
    let failure = unpublished(anyhow::anyhow!(text).context("publish"));
    assert_eq!(failure.class, "PayloadTooLarge");
    let details = failure.details.unwrap();
    assert_eq!((&details["limit"], &details["actual"]), (&1048576.into(), &1048577.into()));
}

#[test]
fn passes_on_other_errors() {
    assert_eq!(unpublished(anyhow::anyhow!("connection closed")).reason, "runtime.unclassified");
}
