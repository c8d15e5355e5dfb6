#!/usr/bin/env bash
# A worker in bash: it asks for calls of the action `crop` over HTTP, with curl and nothing else. docs/reference/http.md tells of each request.
#   PERDURE_API=http://127.0.0.1:8700 PERDURE_TOKEN=perdure_… examples/worker.sh
set -u
export LC_ALL=C
api=${PERDURE_API:-http://127.0.0.1:8700}/v1
worker=bash-${HOSTNAME:-somewhere}-$$
headers=(-H 'Content-Type: application/json')
[[ -n ${PERDURE_TOKEN:-} ]] && headers+=(-H "Authorization: Bearer $PERDURE_TOKEN")

ask() { curl --silent --show-error --fail-with-body --noproxy '*' --max-time 40 "${headers[@]}" "$@"; }
post() { ask --data "$2" "$api/$1"; }

# member JSON NAME: the text of a member that needs no escapes, such as an id of ours.
member() { [[ $1 =~ \"$2\":\"([^\"\\]*)\" ]] && printf %s "${BASH_REMATCH[1]}"; }

# encode TEXT: as one segment of a path; ids have # and / in them.
encode() {
    local text=$1 at byte
    for ((at = 0; at < ${#text}; at++)); do
        byte=${text:at:1}
        [[ $byte == [A-Za-z0-9._~-] ]] && printf %s "$byte" || printf '%%%02X' "$(($(printf %d "'$byte") & 255))"
    done
}

leave() {
    ask --request DELETE "$api/workers/$worker"
    exit 0
}

crop() { printf '"%s, %s pixels wide, by bash"' "$1" "$2"; }

trap leave TERM INT
post workers "{\"type\":\"announce\",\"v\":1,\"worker\":\"$worker\",\"language\":\"bash\",\"started_ms\":$(date +%s)000,\"interval_ms\":5000,
    \"actions\":[{\"name\":\"crop\",\"description\":\"Crops a picture to a width.\"}]}" >/dev/null || exit 1
echo "worker $worker asks $api for calls of crop"

while true; do
    reply=$(post calls/take "{\"worker\":\"$worker\",\"wait_ms\":10000}") || { echo "$reply" >&2; sleep 1; continue; }
    id=$(member "$reply" id) || continue # None came in time.
    path=calls/$(encode "$id")
    own="\"worker\":\"$worker\",\"token\":\"$(member "$reply" token)\""
    if [[ ! $reply =~ \"args\":\[\"([^\"\\]*)\",([0-9]+)\] ]]; then
        post "$path/fail" "{$own,\"message\":\"crop takes a name and a width\",\"is_final\":true}" >/dev/null
        continue
    fi
    picture=${BASH_REMATCH[1]} width=${BASH_REMATCH[2]}
    # Heartbeats go on beside the work; whoever is silent for a lease loses the call to another.
    while sleep 3; do post "$path/heartbeat" "{$own}" >/dev/null; done &
    heartbeats=$!
    value=$(crop "$picture" "$width")
    kill "$heartbeats"
    post "$path/complete" "{$own,\"value\":$value}" >/dev/null && echo "cropped $picture"
done
