use std::any::Any;

use dynamo_runtime::error::{DynamoError, ErrorClass, ErrorReason};
use serde::{Deserialize, Serialize};

/// An error in the form in which it crosses to the caller. It is Dynamo's own, or one of this library.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Failure {
    /// `BadArgument` (a mistake at this boundary), `Closed`, or one of Dynamo's canonical error classes.
    pub class: String,
    /// Dynamo's finer legacy type if there is one (`Disconnected`, of class `Unavailable`), else empty.
    #[serde(default)]
    pub kind: String,
    /// Dynamo's reason key, verbatim. Empty if there is none.
    #[serde(default)]
    pub reason: String,
    pub message: String,
    /// Details that a client may see, if the producer set any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub details: Option<serde_json::Value>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cause: Option<Box<Failure>>,
    /// The instance that the failed request was sent to, if it was sent.
    #[serde(default, rename = "instanceId", skip_serializing_if = "Option::is_none")]
    pub instance_id: Option<u64>,
}

/// The start of upstream's message for a request that exceeds the limit of the transport. The error has no type of its
/// own. For TCP it has a cause with the sizes, for NATS it has no cause.
const OVER_LIMIT: &str = "Request payload is too large for this deployment";

impl Failure {
    pub fn new(class: &str, reason: &str, message: impl Into<String>) -> Self {
        Self {
            class: class.into(),
            kind: String::new(),
            reason: reason.into(),
            message: message.into(),
            details: None,
            cause: None,
            instance_id: None,
        }
    }

    pub fn invalid(message: impl Into<String>) -> Self {
        Self::new("BadArgument", "", message)
    }

    pub fn closed(what: &str) -> Self {
        Self::new("Closed", "", format!("{what} is closed"))
    }

    pub fn conflict(message: impl Into<String>) -> Self {
        Self::new("Conflict", "request.conflict", message)
    }

    pub fn internal(error: impl std::fmt::Display) -> Self {
        Self::new("Internal", "runtime.internal", error.to_string())
    }

    pub fn cancelled(message: impl Into<String>) -> Self {
        Self::new("Cancelled", "request.cancelled", message)
    }

    pub(crate) fn panic(panic: Box<dyn Any + Send>) -> Self {
        let text = panic
            .downcast_ref::<&str>()
            .map(|text| (*text).to_string())
            .or_else(|| panic.downcast_ref::<String>().cloned())
            .unwrap_or_else(|| "unknown panic".into());
        Self::internal(format!("panic: {text}"))
    }

    /// A request that no handler may get.
    pub fn refused(message: impl Into<String>) -> Self {
        Self::new("InvalidRequest", "request.invalid", message)
    }

    /// Whether a worker refused a request, because it is busy or because of the request.
    pub fn is_refusal(&self) -> bool {
        matches!(self.class.as_str(), "CapacityExhausted" | "InvalidRequest")
    }

    pub fn at(self, instance_id: Option<u64>) -> Self {
        Self { instance_id, ..self }
    }

    pub fn encode(&self) -> Vec<u8> {
        rmp_serde::to_vec_named(self).unwrap_or_default()
    }

    /// The wire error for a failure that a handler reported. An unknown class becomes `Internal`, as on the receiving
    /// side.
    pub fn to_dynamo(&self) -> DynamoError {
        let name = if self.kind.is_empty() { &self.class } else { &self.kind };
        let class = serde_json::from_value::<ErrorClass>(serde_json::Value::String(name.clone()))
            .ok()
            .filter(|class| *class != ErrorClass::Unknown)
            .unwrap_or(ErrorClass::Internal);
        let mut builder = DynamoError::builder().class(class).message(self.message.clone());
        if let Ok(reason) = ErrorReason::new(self.reason.clone()) {
            builder = builder.reason(reason);
        }
        if let Some(details) = &self.details
            && let Ok(public) = serde_json::from_value(details.clone())
        {
            builder = builder.public_details(public);
        }
        if let Some(cause) = &self.cause {
            builder = builder.cause(cause.to_dynamo());
        }
        builder.build()
    }
}

impl From<&DynamoError> for Failure {
    fn from(error: &DynamoError) -> Self {
        let cause = std::error::Error::source(error)
            .and_then(|source| source.downcast_ref::<DynamoError>())
            .map(|cause| Box::new(Failure::from(cause)));
        Self {
            class: error.class().to_string(),
            kind: error.error_type().to_string(),
            reason: error.reason().as_str().to_string(),
            message: error.message().to_string(),
            details: error.public_details().and_then(|details| serde_json::to_value(details).ok()),
            cause,
            instance_id: None,
        }
    }
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        Self::typed(&error).unwrap_or_else(|| Self::new("Internal", "runtime.unclassified", format!("{error:#}")))
    }
}

impl Failure {
    fn typed(error: &anyhow::Error) -> Option<Self> {
        error.chain().find_map(|link| link.downcast_ref::<DynamoError>()).map(Self::from)
    }

    /// A request that did not reach an instance. Upstream types most of these errors. An untyped error (for example a
    /// worker that no longer accepts connections) means the same: no handler got the request.
    pub fn dispatch(error: anyhow::Error) -> Self {
        match Self::typed(&error) {
            Some(Self { message, cause, .. }) if message.starts_with(OVER_LIMIT) => {
                let (variable, message) = match &cause {
                    Some(cause) => (
                        "DYN_TCP_MAX_MESSAGE_SIZE",
                        format!(
                            "the request and its metadata exceed the limit of TCP (DYN_TCP_MAX_MESSAGE_SIZE): {}",
                            cause.message
                        ),
                    ),
                    None => (
                        "max_payload",
                        "the request exceeds the limit of the NATS server (max_payload, 1 MiB by default)".into(),
                    ),
                };
                let details = Some(serde_json::json!({"type": "size_limit", "variable": variable}));
                Self { details, cause, ..Self::new("PayloadTooLarge", "request.payload_too_large", message) }
            }
            Some(failure) => failure,
            None => Self {
                kind: "CannotConnect".into(),
                ..Self::new("Unavailable", "transport.cannot_connect", format!("{error:#}"))
            },
        }
    }
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.class, self.message)
    }
}

impl std::error::Error for Failure {}

#[cfg(test)]
mod tests;
