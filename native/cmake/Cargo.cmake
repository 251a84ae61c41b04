# Builds native/core with cargo as the imported library `dynamo_core`. The target runs in every build. Cargo decides
# what is fresh, and writes the library only after a Rust source changed. Cargo runs in native/core because it finds
# .cargo/config.toml and rust-toolchain.toml from its working directory.
find_program(CARGO cargo PATHS $ENV{HOME}/.cargo/bin REQUIRED)

foreach(variable RUSTFLAGS CARGO_ENCODED_RUSTFLAGS CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_RUSTFLAGS)
  if(DEFINED ENV{${variable}} AND NOT "$ENV{${variable}}" MATCHES "--cfg[^a-z]*tokio_unstable")
    message(FATAL_ERROR
      "${variable} replaces the flags of native/core/.cargo/config.toml: add `--cfg tokio_unstable` to it or unset it")
  endif()
endforeach()

if(DEFINED ENV{CARGO_TARGET_DIR})
  set(cargo_target_dir $ENV{CARGO_TARGET_DIR})
else()
  set(cargo_target_dir $ENV{HOME}/.cache/dynamo-node/cargo)
endif()
set(DYNAMO_CORE_LIBRARY ${cargo_target_dir}/release/libdynamo_core.a)

# When PATH changes, dynamo-memory's build script runs again and dynamo-llm is compiled again, which takes ten minutes.
# npm adds folders of the checkout to PATH. So cargo gets a PATH with only the folders of the tools.
find_program(PROTOC protoc REQUIRED)
find_program(MOLD mold REQUIRED)
set(cargo_path)
foreach(tool ${CARGO} ${CMAKE_CXX_COMPILER} ${CMAKE_COMMAND} ${PROTOC} ${MOLD})
  get_filename_component(folder ${tool} DIRECTORY)
  list(APPEND cargo_path ${folder})
endforeach()
list(APPEND cargo_path /usr/bin /bin)
list(REMOVE_DUPLICATES cargo_path)
list(JOIN cargo_path ":" cargo_path)

set(cargo ${CMAKE_COMMAND} -E env PATH=${cargo_path} CARGO_TARGET_DIR=${cargo_target_dir})
if(DEFINED DYNAMO_RUSTC_WRAPPER)
  list(APPEND cargo RUSTC_WORKSPACE_WRAPPER=${DYNAMO_RUSTC_WRAPPER})
endif()
set(cargo_flags --release --locked)
set(cargo_build ${cargo} ${CARGO} build ${cargo_flags})
if(DYNAMO_TESTING)
  set(cargo_features --features testing)
endif()

add_custom_target(dynamo_core_build
  COMMAND ${cargo_build} ${cargo_features}
  WORKING_DIRECTORY ${CMAKE_CURRENT_SOURCE_DIR}/core
  BYPRODUCTS ${DYNAMO_CORE_LIBRARY}
  COMMENT "cargo build"
  USES_TERMINAL
  VERBATIM)

add_library(dynamo_core STATIC IMPORTED GLOBAL)
set_target_properties(dynamo_core PROPERTIES IMPORTED_LOCATION ${DYNAMO_CORE_LIBRARY})
add_dependencies(dynamo_core dynamo_core_build)

# Rust programs that use the crates alone. The benches build them and compare with them.
foreach(peer echo_peer index_peer)
  add_custom_target(${peer}
    COMMAND ${cargo_build} --example ${peer}
    COMMAND ${CMAKE_COMMAND} -E copy ${cargo_target_dir}/release/examples/${peer} ${CMAKE_CURRENT_BINARY_DIR}/${peer}
    WORKING_DIRECTORY ${CMAKE_CURRENT_SOURCE_DIR}/core
    USES_TERMINAL
    VERBATIM)
endforeach()

# The unit tests of native/core (scripts/test-core.mjs), and clippy on it (scripts/clippy.mjs). Both use the dependencies
# of the native build. The tests are compiled without optimization, which is faster.
add_custom_target(core_test
  COMMAND ${cargo} ${CARGO} test ${cargo_flags} --config profile.release.package.dynamo-core.opt-level=0
    --features testing --lib
  WORKING_DIRECTORY ${CMAKE_CURRENT_SOURCE_DIR}/core
  USES_TERMINAL
  VERBATIM)
add_custom_target(core_clippy
  COMMAND ${cargo} RUSTC_WORKSPACE_WRAPPER=${CMAKE_CURRENT_SOURCE_DIR}/../scripts/clippy/driver.sh
    ${CARGO} test ${cargo_flags} --features testing --lib --no-run
  WORKING_DIRECTORY ${CMAKE_CURRENT_SOURCE_DIR}/core
  USES_TERMINAL
  VERBATIM)
