#!/bin/sh
# Cargo's RUSTC_WORKSPACE_WRAPPER: only crates of this repository are instrumented, no dependency is compiled again.
exec "$@" -C instrument-coverage
