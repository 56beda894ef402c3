# service users, services, endpoints over the REST API, one process: keystone-init.py HOST_ADDRESS ADMIN_PASSWORD
import configparser
import json
import sys
import urllib.request

IP, ADMIN = sys.argv[1], sys.argv[2]
BASE = "http://%s:5000/v3" % IP
FILES = {"glance": "/etc/glance/glance-api.conf", "nova": "/etc/nova/nova.conf",
         "placement": "/etc/placement/placement.conf", "neutron": "/etc/neutron/neutron.conf"}


def call(m, path, body=None, tok=None):
    r = urllib.request.Request(BASE + path, method=m, data=json.dumps(body).encode() if body is not None else None,
                               headers={"Content-Type": "application/json", **({"X-Auth-Token": tok} if tok else {})})
    with urllib.request.urlopen(r) as f:
        d = f.read()
        return (json.loads(d) if d else None), f.headers


def password(user):
    c = configparser.RawConfigParser(strict=False)
    c.read(FILES[user])
    return c["keystone_authtoken"]["password"]


_, h = call("POST", "/auth/tokens", {"auth": {"identity": {"methods": ["password"], "password": {"user": {
    "name": "admin", "domain": {"id": "default"}, "password": ADMIN}}},
    "scope": {"project": {"name": "admin", "domain": {"id": "default"}}}}})
t = h["X-Subject-Token"]
roles = {r["name"]: r["id"] for r in call("GET", "/roles", tok=t)[0]["roles"]}
p = call("GET", "/projects?name=service", tok=t)[0]["projects"]
proj = p[0]["id"] if p else call("POST", "/projects", {"project": {"name": "service", "domain_id": "default"}}, t)[0]["project"]["id"]
users = {u["name"]: u["id"] for u in call("GET", "/users", tok=t)[0]["users"]}
for u in FILES:
    if u not in users:
        users[u] = call("POST", "/users", {"user": {"name": u, "password": password(u), "domain_id": "default", "default_project_id": proj}}, t)[0]["user"]["id"]
    for r in ("admin", "service"):
        call("PUT", "/projects/%s/users/%s/roles/%s" % (proj, users[u], roles[r]), tok=t)
svcs = {s["type"]: s["id"] for s in call("GET", "/services", tok=t)[0]["services"]}
for typ, name, url in (("image", "glance", "http://%s:9292" % IP), ("compute", "nova", "http://%s:8774/v2.1" % IP),
                       ("placement", "placement", "http://%s:8778" % IP), ("network", "neutron", "http://%s:9696" % IP)):
    if typ not in svcs:
        sid = call("POST", "/services", {"service": {"name": name, "type": typ}}, t)[0]["service"]["id"]
        for i in ("public", "internal", "admin"):
            call("POST", "/endpoints", {"endpoint": {"interface": i, "url": url, "service_id": sid, "region_id": "RegionOne"}}, t)
