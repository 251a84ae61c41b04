//! dynamo-llm and dynamo-backend-common: the frontend and its in-process engines, workers whose engine is in the host
//! language, and model registration.

mod cards;
mod config;
#[cfg(feature = "testing")]
mod conformance;
mod copies;
mod engine;
mod entrypoint;
mod entrypoint_args;
mod first_token;
mod forward_pass;
mod generation;
mod model;
mod probe;
mod processor;
mod publish;
mod registration;
mod routes;
mod runtime_data;
mod task;
mod worker;
