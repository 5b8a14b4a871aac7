#!/bin/sh
# Starts a node. The cluster's secret is what start_containers.sh wrote; where nobody has written one and
# the place can be written to, the first node makes it: a link is made by one only.
set -eu

file=${TESTRING_SECRET_FILE:-}
folder=$(dirname "$file")
if [ -n "$file" ] && [ ! -e "$file" ] && [ -w "$folder" ]; then
    umask 077
    made=$(mktemp "$folder/.secret.XXXXXX")
    python -c 'import secrets; print(secrets.token_hex(32))' >"$made"
    ln "$made" "$file" 2>/dev/null || true
    rm -f "$made"
fi

exec "$@"
