#!/bin/sh
# What the DHCP server said, as addresses and routes; its list of routes replaces the router (RFC 3442).
# udhcpc sets these.
interface=${interface:?} ip=${ip:-} mask=${mask:-24} staticroutes=${staticroutes:-} router=${router:-} dns=${dns:-}
mtu=${mtu:-} domain=${domain:-} search=${search:-}

# A router may be outside the network of the address (a /32).
route() {
    ip route replace "$1" via "$2" dev "$interface" 2>/dev/null ||
        ip route replace "$1" via "$2" dev "$interface" onlink
}

case $1 in
deconfig) ip -4 addr flush dev "$interface" ;;
bound | renew)
    if [ -n "$mtu" ]; then ip link set dev "$interface" mtu "$mtu"; fi
    ip addr replace "$ip/$mask" dev "$interface"
    if [ -n "$staticroutes" ]; then
        # shellcheck disable=SC2086
        set -- $staticroutes
        while [ $# -ge 2 ]; do
            if [ "$2" = 0.0.0.0 ]; then ip route replace "$1" dev "$interface"; else route "$1" "$2"; fi
            shift 2
        done
    elif [ -n "$router" ]; then
        route default "${router%% *}"
    fi
    {
        [ -z "$search$domain" ] || echo "search ${search:-$domain}"
        for server in $dns; do echo "nameserver $server"; done
    } >/etc/resolv.conf
    ;;
esac
