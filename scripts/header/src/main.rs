//! Writes native/core/include/dynamo_core.h from the sources of native/core. It parses them and compiles nothing.
//! With `--check` it writes nothing, and fails if the committed header differs.

use std::path::Path;
use std::process::ExitCode;
use std::{env, fs};

fn main() -> ExitCode {
    let core = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../native/core");
    let header = core.join("include/dynamo_core.h");

    let config = cbindgen::Config::from_file(core.join("cbindgen.toml")).expect("cbindgen.toml is valid");
    let builder = cbindgen::Builder::new().with_config(config).with_src(core.join("src/lib.rs"));
    let mut text = Vec::new();
    builder.generate().expect("native/core/src parses").write(&mut text);

    if fs::read(&header).is_ok_and(|committed| committed == text) {
        return ExitCode::SUCCESS;
    }
    if env::args().any(|argument| argument == "--check") {
        eprintln!("native/core/include/dynamo_core.h differs from native/core/src: run `npm run header`");
        return ExitCode::FAILURE;
    }
    fs::create_dir_all(header.parent().expect("the header has a folder")).expect("native/core/include can be made");
    fs::write(&header, text).expect("the header can be written");
    ExitCode::SUCCESS
}
