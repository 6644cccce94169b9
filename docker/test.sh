#!/usr/bin/env bash
# Builds the image and shows that it does what docker/README.md says. Prints one line a check; ends at the first failure.
#
# CONTAINER_TOOL  the program and its global options   (default: docker)
# BASE            another base image                   (default: the Dockerfile's)
# BUILD_FLAGS     more options for `build`, such as mounts that lead to a package mirror
# RUN_FLAGS       more options for `run`
# IMAGE           the name the image gets              (default: stretto)
set -euo pipefail
cd "$(dirname "$0")/.."

read -ra tool <<<"${CONTAINER_TOOL:-docker}"
read -ra build_flags <<<"${BUILD_FLAGS:-}"
read -ra run_flags <<<"${RUN_FLAGS:-}"
image="${IMAGE:-stretto}"
name="stretto-test-$$"
stop_seconds_max=10
[ -z "${BASE:-}" ] || build_flags+=(--build-arg "BASE=$BASE")

scratch="$(mktemp -d)"
clean() {
    "${tool[@]}" rm -f -v "$name" >/dev/null 2>&1 || true
    "${tool[@]}" volume rm "$name" >/dev/null 2>&1 || true
    rm -rf "$scratch"
}
trap clean EXIT

pass() { echo "ok    $*"; }
fail() {
    ! "${tool[@]}" container inspect "$name" >/dev/null 2>&1 || "${tool[@]}" logs "$name" 2>&1 | tail -n 20 >&2
    echo "FAIL  $*" >&2
    exit 1
}
# No network and no writable image in any of these: what works so needs neither.
run() { "${tool[@]}" run --network none --read-only --tmpfs /tmp "${run_flags[@]}" "$@"; }
shell() { run --rm --entrypoint sh "$image" -c "$1"; }
wait_for() {  # wait_for SECONDS TEXT: until the container has logged it
    for _ in $(seq $(($1 * 5))); do
        # Not `| grep -q`: it would end `logs` early, and pipefail would call that a failure.
        [[ "$("${tool[@]}" logs "$name" 2>&1)" != *"$2"* ]] || return 0
        sleep 0.2
    done
    fail "no '$2' in the log after $1 s"
}
end_by() {  # end_by SIGNAL CODE: the container ends with CODE within stop_seconds_max, without being killed
    local begun=$SECONDS code
    case "$1" in
        TERM) "${tool[@]}" stop --time 60 "$name" >/dev/null ;;  # STOPSIGNAL
        *) "${tool[@]}" kill --signal "$1" "$name" >/dev/null ;;
    esac
    code="$("${tool[@]}" wait "$name")"
    took=$((SECONDS - begun))
    [ "$code" = "$2" ] || fail "SIG$1: exit code $code, expected $2"
    [ "$took" -le "$stop_seconds_max" ] || fail "SIG$1: took $took s"
}

"${tool[@]}" build "${build_flags[@]}" --build-arg "REVISION=$(git rev-parse HEAD 2>/dev/null || true)" \
    -f docker/Dockerfile -t "$image" . >"$scratch/build.log" 2>&1 || { tail -n 40 "$scratch/build.log" >&2; exit 1; }
bytes="$("${tool[@]}" image inspect --format '{{.Size}}' "$image")"
pass "build: $((bytes / 1000000)) MB, of which the environment is $(shell 'du -sm /opt/stretto | cut -f1') MiB"

config="$("${tool[@]}" image inspect --format \
    '{{json .Config.Entrypoint}} {{.Config.User}} {{json .Config.Volumes}} {{json .Config.Labels}}' "$image")"
for expected in '["stretto"]' ' 10001:10001 ' '"/var/lib/stretto"' '"org.opencontainers.image.licenses":"Apache-2.0"'; do
    [[ "$config" = *"$expected"* ]] || fail "image configuration: no $expected in $config"
done
pass "configuration: entry point, user, volume, licence"

[ "$(shell 'id -u; id -g' | xargs)" = "10001 10001" ] || fail "runs as $(shell id)"
# A Python image brings a pip of its own in /usr/local/bin.
left="$(shell 'for it in gcc cc pip; do command -v $it; done; ls -d /src /opt/pip 2>/dev/null' | grep -v ^/usr/local/ || true)"
[ -z "$left" ] || fail "left over from the build: $left"
writable="$("${tool[@]}" run --rm "${run_flags[@]}" --entrypoint sh "$image" -c \
    'find / -xdev -path /proc -prune -o -writable ! -type l -print 2>/dev/null; true' \
    | grep -vxE '/tmp|/var/tmp|/run/lock|/dev.*|/var/lib/stretto' || true)"
[ -z "$writable" ] || fail "the user may write to: $writable"
pass "user 10001, who may write to the volume and temporary folders only; no build tools"

run --rm "$image" demo --json >"$scratch/demo.json" 2>"$scratch/demo.log" ||
    { cat "$scratch/demo.log" "$scratch/demo.json" >&2; fail "demo: exit code not 0"; }
last="$(tail -n 1 "$scratch/demo.json")"
[[ "$last" = '{"ok": true, '*'"nodes": 4,'* ]] || fail "demo: the last line is $last"
pass "demo: $last"

for signal in TERM INT; do
    run -d --name "$name" "$image" demo >/dev/null
    wait_for 60 "Start the four nodes"  # said once they are up
    end_by "$signal" 130
    "${tool[@]}" rm -v "$name" >/dev/null
    pass "demo with four nodes running: SIG$signal ends it within $((took + 1)) s"
done

"${tool[@]}" volume create "$name" >/dev/null
run --rm -v "$name:/var/lib/stretto" --entrypoint sh "$image" -c \
    'stretto devnet init --dir /tmp/devnet >/dev/null && cp -R /tmp/devnet/label/. . && chmod 0700 keys'
for signal in TERM INT; do
    run -d --name "$name" -v "$name:/var/lib/stretto" "$image" node run --config /var/lib/stretto/config.toml >/dev/null
    wait_for 60 "node of label up"
    wait_for 60 "listens at"
    "${tool[@]}" exec "$name" python /opt/stretto/bin/healthcheck.py ||
        fail "health: a node that runs is called unhealthy"
    "${tool[@]}" kill --signal STOP "$name" >/dev/null
    ! "${tool[@]}" exec "$name" python /opt/stretto/bin/healthcheck.py >"$scratch/health" ||
        fail "health: a node that hangs is called healthy"
    "${tool[@]}" kill --signal CONT "$name" >/dev/null
    end_by "$signal" 0
    "${tool[@]}" rm -v "$name" >/dev/null
    pass "one node on a volume: up, healthy; stopped, '$(cat "$scratch/health")'; SIG$signal ends it within $((took + 1)) s"
done
echo "all checks passed"
