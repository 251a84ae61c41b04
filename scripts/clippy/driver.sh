#!/bin/sh
# Cargo runs this in place of rustc for native/core (RUSTC_WORKSPACE_WRAPPER). It checks the crate with clippy and
# generates no code. It always fails, so cargo keeps no record of it. CLIPPY_FOLDER/passed exists if clippy found nothing.
case " $* " in
*" --crate-name dynamo_core "*) ;;
*) exec "$@" ;;
esac

previous=
for argument in "$@"; do
  shift
  case "$previous $argument" in
  *" --emit="*) argument=--emit=metadata ;;
  "--out-dir "*) argument=$CLIPPY_FOLDER ;;
  esac
  set -- "$@" "$argument"
  previous=$argument
done

clippy-driver "$@" && touch "$CLIPPY_FOLDER/passed"
exit 1
