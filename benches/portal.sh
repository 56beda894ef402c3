#!/bin/bash
# The portal beside nginx and configurable-http-proxy (JupyterHub's): requests a second and their slowest hundredth, in
# rounds that alternate, as ratios; what it holds in memory at 200 clients; how long its page takes. All three pass on the
# same kilobyte. Needs nginx, wrk, npm, and an idle machine. Asks for nothing but loopback.
#
#   benches/portal.sh        about three minutes
set -euo pipefail
cd "$(dirname "$0")/.."
: "${ours:=$PWD/target/release/gpucloud-install}"
for program in nginx wrk npm curl python3; do
    command -v "$program" >/dev/null || { echo "$program is missing" >&2; exit 1; }
done
[ -x "$ours" ] || { echo "cargo build --release first" >&2; exit 1; }

dir=$(mktemp -d)
trap 'kill $(jobs -p) 2>/dev/null || true; rm -r "$dir"' EXIT
chmod 755 "$dir"
kilobyte=$(head -c 1024 /dev/zero | tr '\0' x)
cat >"$dir/upstream.conf" <<END
worker_processes 2;
pid $dir/upstream.pid;
error_log stderr crit;
events { worker_connections 4096; }
http { access_log off; keepalive_requests 1000000; server { listen 127.0.0.1:9101; location / { default_type application/octet-stream; return 200 "$kilobyte"; } } }
END
cat >"$dir/nginx.conf" <<END
worker_processes 2;
pid $dir/nginx.pid;
error_log stderr crit;
events { worker_connections 4096; }
http {
    access_log off;
    keepalive_requests 1000000;
    upstream notebook { server 127.0.0.1:9101; keepalive 64; keepalive_requests 1000000; }
    server { listen 127.0.0.1:9102; location / { proxy_pass http://notebook; proxy_http_version 1.1; proxy_set_header Connection ""; proxy_set_header Host \$host; } }
}
END
python3 - "$dir/told.json" <<'END'
import hashlib, json, sys
token = hashlib.sha256(b"0" * 20).hexdigest()
notebook = {"owner": "ada", "place": "127.0.0.1:9101", "token": "x"}
json.dump({"names": [], "students": {"ada": token}, "notebooks": {"ada": notebook}}, open(sys.argv[1], "w"))
END
npm install --silent --no-fund --no-audit --prefix "$dir/chp" configurable-http-proxy@5 >/dev/null
nginx -g 'daemon off;' -c "$dir/upstream.conf" &
nginx -g 'daemon off;' -c "$dir/nginx.conf" &
"$ours" portal serve --listen 127.0.0.1:9103 --told "$dir/told.json" --sessions "$dir/sessions.sqlite" >/dev/null &
portal=$!
"$dir/chp/node_modules/.bin/configurable-http-proxy" --ip 127.0.0.1 --port 9104 --api-ip 127.0.0.1 --api-port 9105 --default-target http://127.0.0.1:9101 --log-level error >/dev/null 2>&1 &
sleep 4
cookie=$(curl --silent --dump-header - --output /dev/null --header 'Origin: http://127.0.0.1:9103' --data "token=$(printf '0%.0s' {1..20})" http://127.0.0.1:9103/login | sed -n 's/^set-cookie: \([^;]*\);.*/\1/p')
[ -n "$cookie" ] || { echo "nobody is let in" >&2; exit 1; }

# Requests a second, and the slowest hundredth in milliseconds.
asked() {
    wrk --threads 1 --connections 32 --duration 6s --latency --header "Cookie: $cookie" "http://127.0.0.1:$1/s/ada/x" | python3 -c '
import re, sys
text = sys.stdin.read()
if "Non-2xx" in text or "Socket errors" in text: sys.exit(text)
unit = {"us": 0.001, "ms": 1, "s": 1000}
slow = re.search(r"99%\s+([\d.]+)(us|ms|s)", text)
print(re.search(r"Requests/sec:\s+([\d.]+)", text)[1], float(slow[1]) * unit[slow[2]])'
}
for round in 1 2 3 4 5; do
    for who in nginx:9102 portal:9103 chp:9104; do echo "$round ${who%:*} $(asked "${who#*:}")"; done
done | tee "$dir/rounds"
python3 - "$dir/rounds" <<'END'
import statistics, sys
rounds = {}
for line in open(sys.argv[1]):
    n, who, rate, slow = line.split()
    rounds.setdefault(n, {})[who] = (float(rate), float(slow))
median = lambda of: statistics.median(of(one) for one in rounds.values())
print(f"requests/s, portal by nginx: {median(lambda r: r['portal'][0] / r['nginx'][0]):.2f}")
print(f"requests/s, portal by configurable-http-proxy: {median(lambda r: r['portal'][0] / r['chp'][0]):.2f}")
print(f"slowest hundredth, portal by nginx: {median(lambda r: r['portal'][1] / r['nginx'][1]):.2f}")
END
wrk --threads 1 --connections 200 --duration 10s --header "Cookie: $cookie" http://127.0.0.1:9103/s/ada/x >/dev/null &
sleep 8
echo "memory at 200 clients: $(awk '/^Pss:/ {printf "%.1f MB", $2 / 1000}' "/proc/$portal/smaps_rollup")"
wait $!
echo "page: $(curl --silent --output /dev/null --write-out '%{time_total} s' --header "Cookie: $cookie" http://127.0.0.1:9103/)"
