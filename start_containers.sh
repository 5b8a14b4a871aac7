#!/usr/bin/env bash
# Testring in containers on this machine, from a fresh clone with nothing but docker.
set -euo pipefail
cd "$(dirname "$0")"

usage() {
    cat <<'TEXT'
usage: ./start_containers.sh [--workers N] [--no-build] | --down [--volumes] | --logs

  --workers N   so many worker containers (default 2); again with another N scales what runs
  --no-build    take the images that are there
  --down        stop and remove the containers; results stay (--volumes: they go too)
  --logs        follow the logs of all containers

Settings are variables of the shell or lines of a file .env; see docs/deploy.md. The service is published
on TESTRING_PUBLISH (default 127.0.0.1:8080); beyond loopback it wants TESTRING_API_TOKENS.
TEXT
}

die() { printf 'start_containers.sh: %s\n' "$1" >&2; exit "${2:-1}"; }

workers=2 action=up build=--build volumes=
while [ $# -gt 0 ]; do
    case $1 in
        --workers) [ $# -gt 1 ] || die "--workers wants a number" 2; workers=$2; shift ;;
        --workers=*) workers=${1#*=} ;;
        --no-build) build= ;;
        --down) action=down ;;
        --volumes) volumes=--volumes ;;
        --logs) action=logs ;;
        -h | --help) usage; exit 0 ;;
        *) usage >&2; die "unknown argument $1" 2 ;;
    esac
    shift
done
case $workers in '' | *[!0-9]*) die "--workers wants a number, not '$workers'" 2 ;; esac

command -v docker >/dev/null 2>&1 || die "docker is not installed: see https://docs.docker.com/engine/install/"
problem=$(docker info 2>&1 >/dev/null) || die "docker does not answer: ${problem##*$'\n'}"
if docker compose version >/dev/null 2>&1; then
    compose() { docker compose "$@"; }
elif command -v docker-compose >/dev/null 2>&1; then
    compose() { docker-compose "$@"; }
else
    die "docker has no compose: install the plugin docker-compose-plugin, or docker-compose"
fi

case $action in
    down) compose down $volumes; exit ;;
    logs) compose logs --follow --tail 100; exit ;;
esac

# The cluster's secret, made once. Nodes elsewhere join with the same file.
secret=compose/secrets/cluster
if [ ! -e "$secret" ]; then
    (umask 077 && od -An -N32 -tx1 /dev/urandom | tr -d ' \n' >"$secret.new" && mv "$secret.new" "$secret")
    echo "made the cluster's secret: $secret"
fi

started=$SECONDS
compose up --detach $build --scale "worker=$workers"

printf 'waiting until the master, %s workers and the service are healthy' "$workers"
limit=$((SECONDS + ${TESTRING_START_SECONDS:-120}))
until said=$(compose exec -T api python -m api.health $((workers + 1)) 2>&1); do
    if [ "$SECONDS" -ge "$limit" ]; then
        printf '\n'
        compose ps
        compose logs --tail 20
        die "not healthy after ${TESTRING_START_SECONDS:-120} s: ${said##*$'\n'}"
    fi
    printf .
    sleep 0.5
done

address=$(compose port api 8080)
url=http://localhost:${address##*:}
cat <<TEXT

healthy after $((SECONDS - started)) s: a master and $workers workers

  curl -X POST $url/evaluation -F "file=@all_projects.zip"
  curl -X POST $url/evaluation -H "Content-Type: application/json" -d '{"auth_token": "t", "projects": ["https://github.com/user/repo"]}'
  curl $url/evaluation/1        # progress, percentages, grades
  curl $url/network             # the nodes
TEXT
