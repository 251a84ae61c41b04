# Added to the CMake project of native/ by scripts/sanitizers.mjs, through CMAKE_PROJECT_INCLUDE: its C++ and native/core
# are compiled with sanitizers, and the crates that native/core uses are those of the normal build. The runtime of
# AddressSanitizer is preloaded. That of UndefinedBehaviorSanitizer is in the addon: beside the other as a library, it
# ignores `log_path`.
set(DYNAMO_RUSTC_WRAPPER ${CMAKE_CURRENT_LIST_DIR}/rustc.sh)
add_compile_options(-fsanitize=address,undefined -fno-sanitize-recover=undefined -fno-omit-frame-pointer -O1 -g1)
add_link_options(-fsanitize=address,undefined -static-libubsan)

# The binding keeps shared pointers to V8's memory. V8 has no type information, which this check needs.
cmake_language(DEFER CALL target_compile_options dynamo_node PRIVATE -fno-sanitize=vptr)
