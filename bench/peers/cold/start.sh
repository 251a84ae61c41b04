#!/bin/sh
# start.sh PYTHON: starts the five workers of worker.py at once
here=$(dirname "$0")
for service in splitter splitter upper upper front; do
  "$1" "$here/worker.py" "$service" &
done
wait
