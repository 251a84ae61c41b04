//! HTTP routes of the host in addition to the frontend's. The crates accept `GET` on fixed paths.
//!
//! Requests in the inbox are `route` with `{route, url, headers, frontend}`. The first item of an answer is `{status,
//! headers}` in MessagePack. Each further item is a part of the body as raw bytes.

use std::sync::Arc;

use bytes::Bytes;
use dynamo_llm::http::service::axum::{
    body::Body,
    extract::Request as HttpRequest,
    http::{HeaderName, HeaderValue, StatusCode},
    response::Response,
};
use dynamo_llm::http::service::{
    FrontendExtensionContext, FrontendRouteExtension, FrontendRouteSet, validate_extension_route_path,
};
use futures::StreamExt;
use serde::{Deserialize, Serialize};

use crate::abi::Failure;
use crate::inbox::{Answer, Inbox, Request};
use crate::sink::{HIGH_WATER_BYTES, Sent};

pub struct Routes {
    pub inbox: Arc<Inbox>,
    paths: Vec<String>,
}

/// What the frontend can serve at the time of the request.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Frontend {
    ready: bool,
    draining: bool,
    models: Vec<String>,
    ready_models: Vec<String>,
}

#[derive(Serialize)]
struct RouteRequest<'a> {
    route: usize,
    url: String,
    headers: Vec<(&'a str, String)>,
    frontend: Frontend,
}

#[derive(Deserialize)]
struct Head {
    status: u16,
    headers: Vec<(String, String)>,
}

impl Routes {
    pub fn new(paths: Vec<String>) -> Result<Self, Failure> {
        for path in &paths {
            validate_extension_route_path(path).map_err(|error| Failure::invalid(format!("routes: {error}")))?;
        }
        Ok(Self { inbox: Inbox::new(HIGH_WATER_BYTES), paths })
    }

    pub fn is_empty(&self) -> bool {
        self.paths.is_empty()
    }

    pub fn extension(&self) -> FrontendRouteExtension {
        let (inbox, paths) = (Arc::clone(&self.inbox), self.paths.clone());
        Arc::new(move |frontend: FrontendExtensionContext| {
            let mut set = FrontendRouteSet::builder();
            for (route, path) in paths.iter().enumerate() {
                let (inbox, frontend) = (Arc::clone(&inbox), frontend.clone());
                set = set.get(path.clone(), move |request: HttpRequest| {
                    let inbox = Arc::clone(&inbox);
                    let request = route_request(&frontend, route, &request);
                    async move {
                        match answer(&inbox, request).await {
                            Ok(response) => response,
                            Err(failure) => refusal(&failure),
                        }
                    }
                })?;
            }
            Ok(set.build())
        })
    }
}

fn route_request(frontend: &FrontendExtensionContext, route: usize, request: &HttpRequest) -> Result<Vec<u8>, Failure> {
    let headers = request.headers().iter();
    let request = RouteRequest {
        route,
        url: request.uri().path_and_query().map_or_else(|| request.uri().path().into(), |url| url.as_str().into()),
        headers: headers.map(|(name, value)| (name.as_str(), latin1(value))).collect(),
        frontend: Frontend {
            ready: frontend.is_ready(),
            draining: frontend.is_cancelled(),
            models: frontend.model_display_names().into_iter().collect(),
            ready_models: frontend.serving_ready_display_names().into_iter().collect(),
        },
    };
    rmp_serde::to_vec_named(&request).map_err(Failure::internal)
}

async fn answer(inbox: &Arc<Inbox>, request: Result<Vec<u8>, Failure>) -> Result<Response, Failure> {
    let mut answer = inbox.send(Request::new("route", request?))?;
    let head = match answer.next().await {
        Some(Sent::Data(framed) | Sent::Annotated(framed)) => framed.item(),
        Some(Sent::Failed(failure)) => return Err(failure),
        Some(Sent::Ended) | None => return Err(Failure::internal("the route returned no response")),
    };
    let head: Head = rmp_serde::from_slice(&head).map_err(Failure::internal)?;
    let mut response = Response::new(Body::from_stream(parts(answer)));
    *response.status_mut() = StatusCode::from_u16(head.status).map_err(Failure::internal)?;
    for (name, value) in head.headers {
        let name = HeaderName::try_from(name).map_err(Failure::internal)?;
        let value = value.chars().map(|char| char as u8).collect::<Vec<u8>>();
        response.headers_mut().append(name, HeaderValue::try_from(value).map_err(Failure::internal)?);
    }
    Ok(response)
}

/// Header values are bytes. The classes of fetch read and write them as Latin-1.
fn latin1(value: &HeaderValue) -> String {
    value.as_bytes().iter().map(|byte| char::from(*byte)).collect()
}

/// A failure in the body closes the connection, so that the client does not take a part for the whole.
fn parts(answer: Answer) -> impl futures::Stream<Item = Result<Bytes, Failure>> + Send {
    answer.filter_map(|sent| {
        std::future::ready(match sent {
            Sent::Data(framed) | Sent::Annotated(framed) => Some(Ok(framed.item())),
            Sent::Failed(failure) => Some(Err(failure)),
            Sent::Ended => None,
        })
    })
}

fn refusal(failure: &Failure) -> Response {
    let status = match failure.class.as_str() {
        "Unavailable" => StatusCode::SERVICE_UNAVAILABLE,
        _ => StatusCode::INTERNAL_SERVER_ERROR,
    };
    let mut response = Response::new(Body::from(status.canonical_reason().unwrap_or_default()));
    *response.status_mut() = status;
    response
}
