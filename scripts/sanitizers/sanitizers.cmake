# Added to the CMake project of native/ by scripts/sanitizers.mjs, through CMAKE_PROJECT_INCLUDE: all of its C++ is
# compiled with sanitizers, and linked with the Rust library of the normal build. The runtime of AddressSanitizer is
# preloaded. That of UndefinedBehaviorSanitizer is in the addon: beside the other as a library, it ignores `log_path`.
add_compile_options(-fsanitize=address,undefined -fno-sanitize-recover=undefined -fno-omit-frame-pointer -O1 -g1)
add_link_options(-fsanitize=address,undefined -static-libubsan)

# The binding keeps shared pointers to V8's memory. V8 has no type information, which this check needs.
cmake_language(DEFER CALL target_compile_options dynamo_node PRIVATE -fno-sanitize=vptr)
