# Added to the CMake project of native/ by scripts/coverage.mjs, through CMAKE_PROJECT_INCLUDE: g++ counts the lines of
# C++, and the profiler that rustc links into the static library is started although g++ links.
add_compile_options(--coverage -fprofile-update=atomic -O0)
add_link_options(--coverage -Wl,-u,__llvm_profile_runtime)

set(coverage_folder ${CMAKE_CURRENT_LIST_DIR})
cmake_language(DEFER CALL target_sources dynamo_node PRIVATE ${coverage_folder}/flush.cc)
