#!/usr/bin/env bash
# The network room against the shell commands that do the same. As root, in two parts:
#   benches/network.sh state LAB    in a lab host with a cloud: processor time and fsyncs of `network apply`
#   benches/network.sh packets      between namespaces: throughput and new connections through NAT; needs iperf3
# Prints figures of both sides and their ratio.
set -euo pipefail
cd "$(dirname "$0")/.."

ours=target/release/gpucloud-install

median() {
    sort -n | awk '{v[NR] = $1} END {print v[int((NR + 1) / 2)]}'
}

ratio() {
    awk -v a="$1" -v b="$2" 'BEGIN {printf "%.2f", a / b}'
}

# User and system milliseconds of a command, children included.
processor_ms() {
    local TIMEFORMAT='%U %S'
    { time "$@" >/dev/null 2>&1; } 2>&1 | awk '{printf "%.0f\n", ($1 + $2) * 1000}'
}

state() {
    local lab=$1
    cp "$0" "/var/lib/gpucloud-lab/labs/$lab/root/root/network.sh"
    "$ours" lab exec "$lab" -- bash -c 'command -v strace >/dev/null || { apt-get -qq update && apt-get -qq -y install strace; } >/dev/null 2>&1'
    "$ours" lab exec "$lab" -- bash -c 'cd /root && bash network.sh inside'
}

# The four commands of old, and what belongs to them.
by_hand() {
    sysctl -qw net.ipv4.ip_forward=1
    ip link set br-ex up
    ip addr replace 172.24.4.1/24 dev br-ex
    iptables -F bench 2>/dev/null || iptables -N bench
    local port
    for port in 5000 6080 8080 8774 8775 8778 9292 9696; do
        iptables -A bench -p tcp --dport "$port" -s 10.78.0.0/24 -j RETURN
        iptables -A bench -p tcp --dport "$port" -j DROP
    done
    iptables -A bench -i br-ex -d 169.254.0.0/16 -j DROP
    iptables -t nat -F POSTROUTING
    iptables -t nat -A POSTROUTING -s 172.24.4.0/24 ! -o br-ex -j MASQUERADE
}

inside() {
    local answers=/etc/gpucloud/gpucloud.toml n
    rm -f /root/*.ms
    cp $answers /root/answers
    for n in 1 2 3 4 5 6 7; do
        sed "s/^port_maps = .*/port_maps = [\"tcp 802$n -> 172.24.4.20:22\"]/" /root/answers >$answers
        processor_ms gpucloud-install --yes network apply >>/root/ours.ms
        processor_ms gpucloud-install --yes network apply >>/root/unchanged.ms
        processor_ms gpucloud-install network keep >>/root/keep.ms
        processor_ms by_hand >>/root/by-hand.ms
        nft delete table ip nat
        nft delete table ip filter
    done
    sed 's/^port_maps = .*/port_maps = ["tcp 8029 -> 172.24.4.20:22"]/' /root/answers >$answers
    strace -f -o /root/trace -e trace=fsync,fdatasync,openat,rename,renameat,renameat2 gpucloud-install --yes network apply >/dev/null 2>&1
    echo "fsyncs of a change: $(grep -cE 'f(data)?sync\(' /root/trace)"
    strace -f -o /root/trace -e trace=fsync,fdatasync,openat,rename,renameat,renameat2 gpucloud-install --yes network apply >/dev/null 2>&1
    echo "unchanged: $(grep -E 'f(data)?sync\(|rename|O_WRONLY|O_RDWR' /root/trace | grep -cv lock) files opened for writing, renamed or synced"
    cp /root/answers $answers
    gpucloud-install --yes network apply >/dev/null 2>&1
    local a b
    a=$(median </root/ours.ms) b=$(median </root/by-hand.ms)
    echo "processor time: network apply $a ms, by hand $b ms, ratio $(ratio "$a" "$b")"
    echo "processor time: unchanged network apply $(median </root/unchanged.ms) ms, network keep $(median </root/keep.ms) ms"
}

packets() {
    local space
    cargo build --release --quiet --example nat
    trap 'for space in a b r; do ip netns del bench-$space 2>/dev/null || true; done' EXIT
    for space in a b r; do ip netns add bench-$space; done
    ip link add br-ex netns bench-r type veth peer name eth0 netns bench-a
    ip link add up0 netns bench-r type veth peer name eth0 netns bench-b
    ip -n bench-a addr add 172.24.4.20/24 dev eth0
    ip -n bench-r addr add 172.24.4.1/24 dev br-ex
    ip -n bench-r addr add 192.0.2.10/24 dev up0
    ip -n bench-b addr add 192.0.2.7/24 dev eth0
    for space in a b; do ip -n bench-$space link set eth0 up; done
    for link in br-ex up0; do ip -n bench-r link set $link up; done
    ip -n bench-a route add default via 172.24.4.1
    ip netns exec bench-r sysctl -qw net.ipv4.ip_forward=1
    ip netns exec bench-b iperf3 --server --daemon >/dev/null
    ip netns exec bench-b python3 -c '
import socket
server = socket.create_server(("0.0.0.0", 9000), backlog=1000)
while True: server.accept()[0].close()' &
    local acceptor=$! results
    results=$(mktemp -d)
    for _ in 1 2 3 4 5; do
        ip netns exec bench-r nft flush ruleset
        ip netns exec bench-r target/release/examples/nat
        one_run >>"$results/ours"
        ip netns exec bench-r nft flush ruleset
        ip netns exec bench-r iptables -t nat -A POSTROUTING -o up0 -j MASQUERADE
        one_run >>"$results/iptables"
    done
    pkill iperf3 || true
    kill "$acceptor"
    local which a b
    for which in 1 2; do
        a=$(cut -d' ' -f$which "$results/ours" | median) b=$(cut -d' ' -f$which "$results/iptables" | median)
        echo "$([ $which = 1 ] && echo throughput, Mbit/s || echo new connections a second): ours $a, iptables $b, ratio $(ratio "$a" "$b")"
    done
    rm -r "$results"
}

# Mbit a second of one stream, and connections a second of a loop.
one_run() {
    local rate connections
    rate=$(ip netns exec bench-a iperf3 --client 192.0.2.7 --time 3 --json | python3 -c 'import json,sys; print(int(json.load(sys.stdin)["end"]["sum_received"]["bits_per_second"] / 1e6))')
    connections=$(ip netns exec bench-a python3 -c '
import socket, time
n, end = 0, time.time() + 2
while time.time() < end:
    socket.create_connection(("192.0.2.7", 9000)).close()
    n += 1
print(n // 2)')
    echo "$rate $connections"
}

case ${1:-} in
state) state "${2:?the name of a lab with a cloud}" ;;
packets) packets ;;
inside) inside ;;
*) sed -n '2,5s/^# //p' "$0" ;;
esac
