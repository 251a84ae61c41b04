#!/bin/sh
# Cargo runs this in place of rustc for native/core (RUSTC_WORKSPACE_WRAPPER), and keeps its library apart from the
# normal one. The crate gets AddressSanitizer, and the checks of overflows and of preconditions of unsafe functions. The
# generic functions of its dependencies that it uses get them too. The flag is unstable: hence RUSTC_BOOTSTRAP.
# Both builds link their library to the same path: do not run them at the same time.
case " $* " in
*" --crate-name dynamo_core "*) ;;
*) exec "$@" ;;
esac

export RUSTC_BOOTSTRAP=1
exec "$@" -Zsanitizer=address -C debug-assertions=on -C overflow-checks=on -C opt-level=1 -C debuginfo=1
