#!/bin/sh
# What the DHCP server said, as addresses and routes; its list of routes replaces the router (RFC 3442).
# udhcpc sets these.
interface=${interface:?} ip=${ip:-} mask=${mask:-24} staticroutes=${staticroutes:-} router=${router:-} dns=${dns:-}
case $1 in
bound | renew)
    ip addr replace "$ip/$mask" dev "$interface"
    if [ -n "$staticroutes" ]; then
        # shellcheck disable=SC2086
        set -- $staticroutes
        while [ $# -ge 2 ]; do
            if [ "$2" = 0.0.0.0 ]; then ip route replace "$1" dev "$interface"; else ip route replace "$1" via "$2"; fi
            shift 2
        done
    elif [ -n "$router" ]; then
        ip route replace default via "${router%% *}"
    fi
    for server in $dns; do echo "nameserver $server"; done >/etc/resolv.conf
    ;;
esac
