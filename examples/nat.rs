//! For `benches/network.sh`: loads the table of a cloud with `nat` into the network namespace that it is started in.

use gpucloud::config::Config;
use gpucloud::engine::engine;
use gpucloud::host::nft;
use gpucloud::network::rules::ruleset;
use std::path::Path;
use std::process::ExitCode;

const ANSWERS: &str = r#"
engine = "native"
host = { address = "192.0.2.10", interface = "up0", name = "gpubox", administrators = [], share_services = false }
cloud = { region = "RegionOne", dashboard = true, workers = 1 }
compute = { virt = "auto" }
[network]
access = "nat"
range = "172.24.4.0/24"
gateway = "172.24.4.1"
pool = "172.24.4.10-172.24.4.250"
tenant_range = "10.254.0.0/16"
dns = []
admin_networks = ["192.0.2.0/24"]
port_maps = []
bridge_links = []
"#;

fn main() -> ExitCode {
    let loaded = Config::parse(ANSWERS, Path::new("answers"))
        .map_err(|failure| failure.what)
        .map(|config| ruleset(&config, &engine(config.engine).services(&config)))
        .and_then(|table| nft::replace(&table).map_err(|error| error.to_string()));
    match loaded {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}
