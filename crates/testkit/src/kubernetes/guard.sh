# Ends the daemons of a test cluster, and removes its folder, as soon as standard input ends.
# Arguments: the folder; a file to lock as long as the cluster lives, where there may be only one.
folder=$1 lock=${2:-}

# Those whose number is recorded, while they still work in that folder: a number may be somebody else's by now.
daemons() {
    for record in "$1"/pids/*; do
        pid=${record##*/}
        case $(readlink "/proc/$pid/cwd" 2>/dev/null) in "$1"|"$1"/*) echo "$pid" ;; esac
    done
}

end() {
    while pids=$(daemons "$1"); [ -n "$pids" ]; do kill -KILL $pids 2>/dev/null; sleep 0.02; done
    [ ! -e "$1/end.sh" ] || sh "$1/end.sh" "$1" >"${FREEHOLD_TEST_END_LOG:-/dev/null}" 2>&1
    rm -rf "$1"
}

if [ -n "$lock" ]; then
    exec 9>>"$lock"
    flock 9
    # Of one whose guard was killed, too.
    stale=$(cat "$lock")
    if [ -n "$stale" ] && [ -e "$stale/pids" ]; then end "$stale"; fi
    printf '%s' "$folder" >"$lock"
fi
echo ready
cat >/dev/null
end "$folder"
[ -z "$lock" ] || : >"$lock"
