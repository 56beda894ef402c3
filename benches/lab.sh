# What the benchmarks in lab hosts share; sourced by them.
# shellcheck shell=bash
: "${ours:=target/release/gpucloud-install}"

# CPU seconds of everything in a lab host, from the control group that it was started in.
cpu_seconds() {
    local lab=$1 file
    file=/sys/fs/cgroup/cpuacct/gpucloud-lab-$lab/cpuacct.usage
    [ -r "$file" ] && awk '{printf "%.1f", $1 / 1e9}' "$file" && return
    for file in "/sys/fs/cgroup/unified/gpucloud-lab-$lab/cpu.stat" "/sys/fs/cgroup/machine.slice/gpucloud-lab-$lab.service/cpu.stat"; do
        [ -r "$file" ] && awk '/^usage_usec/ {printf "%.1f", $2 / 1e6}' "$file" && return
    done
    echo 0
}

# fresh_host LAB [OPTION...]: a host with nothing in it.
fresh_host() {
    "$ours" lab down "$1" --yes >/dev/null 2>&1 || true
    "$ours" lab up --name "$1" --no-install --yes "${@:2}" >/dev/null 2>&1
    sync
}

# measure NAME LAB COMMAND...: prints NAME, wall and CPU seconds; the output lies in /tmp/bench-NAME.log.
measure() {
    local name=$1 lab=$2 begin cpu_before
    shift 2
    cpu_before=$(cpu_seconds "$lab")
    begin=$(date +%s.%N)
    "$@" >"/tmp/bench-$name.log" 2>&1
    echo "$name $(echo "$(date +%s.%N) - $begin" | bc) $(echo "$(cpu_seconds "$lab") - $cpu_before" | bc)"
}

address() {
    "$ours" lab exec "$1" -- hostname -I | tr -d ' \n'
}

# Seconds from the order to shut down until the host is off, and until its cloud is healthy again.
reboot_times() {
    local lab=$1 pid begin off
    pid=$(pgrep --full "systemd-nspawn.*/labs/$lab/" | head -1)
    begin=$(date +%s.%N)
    "$ours" lab reboot "$lab" >/dev/null 2>&1 &
    while kill -0 "$pid" 2>/dev/null; do sleep 0.1; done
    off=$(date +%s.%N)
    wait "$!"
    echo "reboot: off after $(echo "$off - $begin" | bc) s, healthy $(echo "$(date +%s.%N) - $off" | bc) s later"
}
