use dynamo_llm::model_type::{ModelInput, ModelType};
use dynamo_runtime::pipeline::RouterMode;
use serde_json::json;

use super::{RouterArgs, local_path, model_input, model_type, worker_type};

#[test]
fn combines_model_types() {
    let names = ["chat".to_string(), "completions".to_string()];
    assert!(model_type("modelTypes", &names).unwrap() == ModelType::Chat | ModelType::Completions);
}

#[test]
fn names_the_option_of_an_unknown_value() {
    let message = |failure: Option<crate::abi::Failure>| failure.unwrap().message;
    assert_eq!(
        message(model_type("modelTypes", &["chats".into()]).err()),
        "modelTypes: expected a model type, got \"chats\""
    );
    assert_eq!(
        message(model_input("modelInput", "token").err()),
        "modelInput: expected text, tokens or tensor, got \"token\""
    );
    assert_eq!(
        message(worker_type("workerType", "encoder").err()),
        "workerType: expected aggregated, prefill, decode or encode, got \"encoder\""
    );
}

#[test]
fn reads_a_model_input() {
    assert!(matches!(model_input("modelInput", "tokens"), Ok(ModelInput::Tokens)));
}

#[test]
fn reads_a_router_configuration() {
    let args: RouterArgs = serde_json::from_value(json!({ "mode": "kv" })).unwrap();
    assert_eq!(args.config().unwrap().router_mode, RouterMode::KV);
    let args: RouterArgs = serde_json::from_value(json!({ "mode": "fastest" })).unwrap();
    assert!(args.config().err().unwrap().message.starts_with("router.mode: "));
}

#[tokio::test]
async fn takes_a_directory_as_it_is_and_rejects_one_that_is_missing() {
    let here = std::env::temp_dir();
    assert_eq!(local_path(&here.to_string_lossy(), true).await.unwrap(), here);
    assert_eq!(local_path("./no-such-model", true).await.err().unwrap().class, "NotFound");
}
