//! Writes the modules of dynamo-runtime that native/core uses, as they are. All of the crate is too much for Miri.

use std::env::var;
use std::fs::write;
use std::path::Path;

const MODULES: &str = r#"
#[path = "{folder}/src"]
mod upstream {
    pub mod engine;
    pub mod error;
    pub mod pipeline {
        pub mod context;
        mod registry;

        pub use crate::engine::{AsyncEngineContext, AsyncEngineContextProvider, Data};
        pub use context::Context;
    }
}
"#;

fn main() {
    println!("cargo::rerun-if-env-changed=DYNAMO_RUNTIME");
    let folder = var("DYNAMO_RUNTIME").expect("scripts/miri.mjs sets the folder of dynamo-runtime");
    let file = Path::new(&var("OUT_DIR").unwrap()).join("upstream.rs");
    write(file, MODULES.replace("{folder}", &folder)).unwrap();
}
