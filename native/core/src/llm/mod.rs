//! dynamo-llm and dynamo-backend-common: the frontend and its in-process engines, workers whose engine is in the host
//! language, and model registration.

mod config;
mod conformance;
mod engine;
mod entrypoint;
mod generation;
mod model;
mod publish;
mod registration;
mod task;
mod worker;
