# Builds native/core with cargo and offers it as the imported library `dynamo_core`. Cargo decides what is fresh: the
# target runs at every build and touches the library only when a Rust source changed. It runs in native/core because
# cargo finds .cargo/config.toml and rust-toolchain.toml from its working directory.
find_program(CARGO cargo PATHS $ENV{HOME}/.cargo/bin REQUIRED)

foreach(variable RUSTFLAGS CARGO_ENCODED_RUSTFLAGS CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_RUSTFLAGS)
  if(DEFINED ENV{${variable}} AND NOT "$ENV{${variable}}" MATCHES "--cfg[^a-z]*tokio_unstable")
    message(FATAL_ERROR "${variable} replaces the flags of native/core/.cargo/config.toml: add `--cfg tokio_unstable` to it or unset it")
  endif()
endforeach()

if(DEFINED ENV{CARGO_TARGET_DIR})
  set(cargo_target_dir $ENV{CARGO_TARGET_DIR})
else()
  set(cargo_target_dir $ENV{HOME}/.cache/dynamo-node/cargo)
endif()
set(DYNAMO_CORE_LIBRARY ${cargo_target_dir}/release/libdynamo_core.a)

# dynamo-memory's build script reruns when PATH changes, and dynamo-llm is compiled again behind it: ten minutes. npm puts
# folders of its own, which name the checkout, before PATH, so cargo gets a PATH of only the tools' folders.
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

set(cargo_build ${CMAKE_COMMAND} -E env PATH=${cargo_path} CARGO_TARGET_DIR=${cargo_target_dir} ${CARGO} build --release --locked)

add_custom_target(dynamo_core_build
  COMMAND ${cargo_build}
  WORKING_DIRECTORY ${CMAKE_CURRENT_SOURCE_DIR}/core
  BYPRODUCTS ${DYNAMO_CORE_LIBRARY}
  COMMENT "cargo build"
  USES_TERMINAL
  VERBATIM)

add_library(dynamo_core STATIC IMPORTED GLOBAL)
set_target_properties(dynamo_core PROPERTIES IMPORTED_LOCATION ${DYNAMO_CORE_LIBRARY})
add_dependencies(dynamo_core dynamo_core_build)

# The Rust programs that the benches compare with; only they build them.
foreach(peer echo_peer index_peer)
  add_custom_target(${peer}
    COMMAND ${cargo_build} --example ${peer}
    COMMAND ${CMAKE_COMMAND} -E copy ${cargo_target_dir}/release/examples/${peer} ${CMAKE_CURRENT_BINARY_DIR}/${peer}
    WORKING_DIRECTORY ${CMAKE_CURRENT_SOURCE_DIR}/core
    USES_TERMINAL
    VERBATIM)
endforeach()
