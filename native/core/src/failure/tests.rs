use dynamo_runtime::error::{DynamoError, ErrorClass};

use super::{Failure, OVER_LIMIT};

#[test]
fn survives_encoding() {
    let failure = Failure {
        cause: Some(Box::new(Failure::internal("inner"))),
        details: Some(serde_json::json!({ "type": "size_limit" })),
        ..Failure::new("Unavailable", "transport.cannot_connect", "outer")
    };
    let decoded: Failure = rmp_serde::from_slice(&failure.encode()).unwrap();
    assert_eq!((decoded.class.as_str(), decoded.message.as_str()), ("Unavailable", "outer"));
    assert_eq!(decoded.details, failure.details);
    assert_eq!(decoded.cause.unwrap().message, "inner");
}

#[test]
fn keeps_class_reason_and_cause_as_a_dynamo_error() {
    let failure = Failure {
        cause: Some(Box::new(Failure::internal("inner"))),
        ..Failure::new("Unavailable", "transport.cannot_connect", "outer")
    };
    let back = Failure::from(&failure.to_dynamo());
    assert_eq!((back.class.as_str(), back.reason.as_str()), ("Unavailable", "transport.cannot_connect"));
    assert_eq!(back.cause.unwrap().message, "inner");
}

#[test]
fn becomes_internal_when_its_class_is_not_dynamos() {
    assert_eq!(Failure::invalid("a mistake").to_dynamo().class(), ErrorClass::Internal);
    assert_eq!(Failure::new("NoSuchClass", "", "").to_dynamo().class(), ErrorClass::Internal);
}

#[test]
fn reports_an_untyped_dispatch_error_as_unavailable() {
    let failure = Failure::dispatch(anyhow::anyhow!("connection refused"));
    assert_eq!((failure.class.as_str(), failure.kind.as_str()), ("Unavailable", "CannotConnect"));
    assert_eq!(failure.reason, "transport.cannot_connect");
}

#[test]
fn finds_a_dynamo_error_in_a_chain_of_causes() {
    let inner = DynamoError::builder().class(ErrorClass::Unavailable).message("gone").build();
    let failure = Failure::from(anyhow::Error::from(inner).context("while sending"));
    assert_eq!((failure.class.as_str(), failure.message.as_str()), ("Unavailable", "gone"));
}

#[test]
fn reports_a_request_over_the_limit_of_the_transport_with_the_variable_that_sets_it() {
    let over = DynamoError::builder().class(ErrorClass::Internal).message(OVER_LIMIT.to_string()).build();
    let failure = Failure::dispatch(over.into());
    assert_eq!((failure.class.as_str(), failure.reason.as_str()), ("PayloadTooLarge", "request.payload_too_large"));
    assert_eq!(failure.details.unwrap()["variable"], "max_payload");
}

#[test]
fn takes_the_text_of_a_panic() {
    assert_eq!(Failure::panic(Box::new("static")).message, "panic: static");
    assert_eq!(Failure::panic(Box::new(String::from("formatted"))).message, "panic: formatted");
    assert_eq!(Failure::panic(Box::new(1)).message, "panic: unknown panic");
}
