#!/bin/sh
# What the metadata service says: whatever it says is an answer, its status tells whether it is one. Read by init.
run=${run:-/run}

say() {
    echo "gpucloud guest: $*" >/dev/console
}

# Asks for a path: its status is in $status ("" for no answer), what it says in $run/body.
metadata() {
    printf 'GET /latest/meta-data/%s HTTP/1.0\r\nHost: 169.254.169.254\r\n\r\n' "$1" |
        nc -w 5 169.254.169.254 80 2>/dev/null | tr -d '\r' >"$run/answer"
    status=$(sed -n '1s|^HTTP/[0-9.]* \([0-9]*\).*|\1|p' "$run/answer")
    sed '1,/^$/d' "$run/answer" >"$run/body"
}

# The network's metadata proxy may start after the guest, and say so with errors of the server. That there is no such
# thing (404) is believed after five times: while it knows no guest of this address, it says that, too.
wait_for() {
    tries=60 unknown=0
    while [ "$tries" -gt 0 ] && [ "$unknown" -lt 5 ]; do
        metadata "$1"
        case $status in
        200) [ -s "$run/body" ] && return 0 ;;
        404) unknown=$((unknown + 1)) ;;
        esac
        tries=$((tries - 1))
        sleep 1
    done
    say "the metadata service has no $1 (status ${status:-none: it does not answer})"
    return 1
}

# All keys that are served, each as it is, into a file. (The list has lines "0=name".)
write_keys() {
    : >"$1"
    if wait_for public-keys/; then
        numbers=$(sed -n 's/^\([0-9][0-9]*\)\(=.*\)*$/\1/p' "$run/body")
        for number in $numbers; do
            wait_for "public-keys/$number/openssh-key" && { cat "$run/body" && echo; } >>"$1"
        done
    fi
    judge_keys "$1"
}

# Says which lines let nobody in, and why: dropbear knows these kinds, and of options only some
# (its src/svr-authpubkeyoptions.c).
judge_keys() {
    good=0
    while read -r first _; do
        case $first in
        "" | "#"*) ;;
        ssh-ed25519 | ssh-rsa | ecdsa-sha2-nistp256 | ecdsa-sha2-nistp384 | ecdsa-sha2-nistp521 | \
            sk-ssh-ed25519@openssh.com | sk-ecdsa-sha2-nistp256@openssh.com) good=$((good + 1)) ;;
        ssh-* | ecdsa-* | sk-* | rsa-* | x509*) say "a key of the kind $first lets nobody in: dropbear does not know it" ;;
        *) say "a key with options ($first) may let nobody in: dropbear knows only some" && good=$((good + 1)) ;;
        esac
    done <"$1"
    [ "$good" -gt 0 ] || say "no key that lets anybody in was served: make the instance with a key pair of Ed25519, RSA or ECDSA"
}
