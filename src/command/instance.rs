//! `instance`: launch, list, show, ssh, console, stop, start, resize, delete. Launching is in `resources/launch.rs`,
//! the API in `cloud/resource/server.rs`; a new column is a field there, a cell and a key here, and a row in
//! `docs/json.md`. A new verb is a variant in `cli/cloud.rs` and an arm here.

use super::{Invocation, network};
use crate::cli::{Console, Instance, Launch, OneInstance, Resize, Ssh};
use crate::cloud::resource::server::{self, ListedServer};
use crate::cloud::resource::{flavor, floating_ip, image, port};
use crate::cloud::{ApiError, SharedSession};
use crate::cloud::{explain, refusal};
use crate::config::Config;
use crate::ending::Ending;
use crate::failure::Failure;
use crate::host;
use crate::host::accounts;
use crate::host::command::{self, Command};
use crate::resources::error::ResourceError;
use crate::resources::ssh::{self, Reachability};
use crate::resources::{keys, known_images, launch};
use crate::ui::text;
use serde_json::{Value, json};
use std::time::Duration;

/// How long Nova may take to stop, start or resize.
const ACT_LIMIT: Duration = Duration::from_secs(180);
const POLL: Duration = Duration::from_millis(500);

pub(super) fn run(invocation: &Invocation, options: &Instance) -> Result<Ending, Failure> {
    match options {
        Instance::Launch(options) => launch(invocation, options),
        Instance::List(cloud) => list(invocation, &invocation.user_cloud(cloud)?),
        Instance::Show(options) => show(invocation, options),
        Instance::Ssh(options) => log_in(invocation, options),
        Instance::Console(options) => console(invocation, options),
        Instance::Stop(options) => act(invocation, options, "os-stop", "SHUTOFF"),
        Instance::Start(options) => act(invocation, options, "os-start", "ACTIVE"),
        Instance::Resize(options) => resize(invocation, options),
        Instance::Delete(options) => delete(invocation, options),
    }
}

fn launch(invocation: &Invocation, options: &Launch) -> Result<Ending, Failure> {
    let order = launch::LaunchRequest {
        name: options.name.clone(),
        image: options.image.clone(),
        flavor: options.flavor.clone(),
        network: options.network.clone(),
        key: options.key.clone(),
        security_groups: options.security_groups.clone(),
        floating_ip: !options.no_floating_ip,
        boot_volume_gib: options.boot_volume,
    };
    let cloud = invocation.user_cloud(&options.cloud)?;
    let host = invocation.watched_host();
    let mut launched = launch::launch(&host, &cloud, &order)?;
    if options.wait > 0 {
        match launched.wait(&host, &cloud, Duration::from_secs(options.wait))? {
            None | Some(Reachability::Answers(_)) => {}
            Some(hop @ Reachability::Silent(_)) => {
                return Err(network::with_first_hop(invocation, silent(&launched.name, hop)));
            }
            Some(hop) => return Err(silent(&launched.name, hop)),
        }
    }
    invocation.ui.document("instance launch", json!(launched));
    let name = quoted(&launched.name);
    let mut line = format!("{name} is built ({:.0} s)", launched.built_after);
    if let Some(address) = launched.floating_ip {
        line.push_str(&format!(", its address is {address}"));
    }
    if let Some(seconds) = launched.answered_after {
        line.push_str(&format!(", it answers SSH ({seconds:.0} s)"));
    }
    invocation.ui.say(format!("{line}.\nLog in: gpucloud-install instance ssh {name}"));
    Ok(Ending::Done)
}

fn document(found: &ListedServer) -> Value {
    json!({
        "name": found.name, "id": found.id.as_str(), "state": found.status, "flavor": found.flavor_name(),
        "address": found.address("fixed"), "floating_ip": found.address("floating"), "key": found.key_name,
        "created": found.created, "fault": found.fault.as_ref().map(|fault| fault.message.as_str()),
    })
}

fn list(invocation: &Invocation, cloud: &SharedSession) -> Result<Ending, Failure> {
    let mut all = cloud.ask(server::all)?;
    all.sort_by(|one, other| one.name.cmp(&other.name));
    let documents: Vec<Value> = all.iter().map(document).collect();
    invocation.ui.document("instance list", json!({"instances": documents}));
    if !invocation.ui.is_json() && all.is_empty() {
        invocation.ui.say("No instances. gpucloud-install instance launch NAME makes one.");
    } else if !invocation.ui.is_json() {
        let cell = |address: Option<std::net::Ipv4Addr>| address.map(|a| a.to_string()).unwrap_or_default();
        let row = |found: &ListedServer| {
            let (fixed, floating) = (cell(found.address("fixed")), cell(found.address("floating")));
            let id = found.id.to_string();
            vec![found.name.clone(), found.status.clone(), found.flavor_name().to_owned(), fixed, floating, id]
        };
        let mut rows: Vec<Vec<String>> = all.iter().map(row).collect();
        let mut header = vec!["NAME", "STATE", "FLAVOR", "ADDRESS", "FLOATING IP", "ID"];
        // Where a name says which one is meant, ids are of no use.
        if !all.windows(2).any(|pair| pair[0].name == pair[1].name) {
            header.pop();
            rows.iter_mut().for_each(|row| drop(row.pop()));
        }
        invocation.ui.say(text::table(&header, &rows));
    }
    Ok(Ending::Done)
}

fn show(invocation: &Invocation, options: &OneInstance) -> Result<Ending, Failure> {
    let cloud = invocation.user_cloud(&options.cloud)?;
    let found = cloud.ask(|cloud| server::get(cloud, &options.name))?;
    let hop = match found.status.as_str() {
        "ACTIVE" => cloud.ask(|cloud| ssh::address_of(cloud, &found.id))?.map_or_else(|hop| hop, ssh::look),
        status => Reachability::Down(status.to_owned()),
    };
    let mut document = document(&found);
    let fault = found.fault().map(|fault| refusal::looked_up(&invocation.host, fault));
    document["cause"] = json!(fault.as_ref().map(explain::Fault::meaning));
    document["log"] = json!(fault.as_ref().and_then(|fault| fault.log.as_deref()));
    document["next"] = json!(fault.as_ref().map(explain::Fault::next));
    document["ssh"] = json!({"answers": matches!(hop, ssh::Reachability::Answers(_)), "detail": hop.to_string()});
    invocation.ui.document("instance show", document.clone());
    if let (false, Value::Object(fields)) = (invocation.ui.is_json(), &document) {
        let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        let shown = fields.iter().filter(|(key, value)| key.as_str() != "ssh" && !value.is_null());
        let rows: Vec<Vec<String>> = shown.map(|(key, value)| vec![key.clone(), text(value)]).collect();
        invocation.ui.say(text::table(&["WHAT", "VALUE"], &rows));
        invocation.ui.say(format!("\nSSH: {hop}"));
    }
    Ok(Ending::Done)
}

/// The key of an instance is known by its id: another one may have had its address before.
fn log_in(invocation: &Invocation, options: &Ssh) -> Result<Ending, Failure> {
    let cloud = invocation.user_cloud(&options.cloud)?;
    let found = cloud.ask(|cloud| server::get(cloud, &options.name))?;
    let address = found.address("floating").ok_or_else(|| {
        let what = format!("instance {} has no floating address", found.name);
        Failure::new(what, "", format!("gpucloud-install instance console {}", found.id))
    })?;
    let user = match &options.user {
        Some(user) => user.clone(),
        None => {
            cloud.ask(|cloud| image_name(cloud, &found))?.map_or("root", |name| known_images::user_of(&name)).to_owned()
        }
    };
    let key = found.key_name.as_deref().and_then(|name| private_key(&invocation.host, name));
    let client = key.as_ref().map_or_else(|| Command::new("ssh"), |key| key.client(&invocation.host));
    let client = client
        .args(["-o", &format!("HostKeyAlias=gpucloud-{}", found.id), "-o", "StrictHostKeyChecking=accept-new"])
        .args(["-o", "LogLevel=ERROR"])
        .arg(format!("{user}@{address}"))
        .args(options.command.iter().cloned());
    match (client.interactive(&invocation.host)?, key) {
        (0, _) => Ok(Ending::Done),
        (SSH_FAILED, None) => Err(without_key(&found, &user, address)),
        (code, _) => Err(Failure::passed_on(code)),
    }
}

/// What ssh(1) itself ends with where it did not get in.
const SSH_FAILED: i32 = 255;

fn private_key(host: &host::Host, name: &str) -> Option<keys::Private> {
    let applied = if accounts::is_root() { Config::load_applied(host).ok().flatten() } else { None };
    keys::private(host, name, &applied.map(|config| config.host.administrators).unwrap_or_default())
}

fn without_key(found: &ListedServer, user: &str, address: std::net::Ipv4Addr) -> Failure {
    let name = &found.name;
    let what = match &found.key_name {
        Some(key) => format!("{name} lets in who has the private part of key pair {key}, which you have not"),
        None => format!("{name} was made without a key pair"),
    };
    let with_own = format!("with a key of your own: ssh -i FILE {user}@{address}");
    let next = match accounts::is_root() {
        true => format!("{with_own}; in a browser: gpucloud-install instance console {name}"),
        false => format!("sudo gpucloud-install instance ssh {name}; {with_own}"),
    };
    let code = u8::try_from(SSH_FAILED).unwrap_or(1);
    Failure::new(what, "", next).with(Ending::Passed(code))
}

fn image_name(cloud: &crate::cloud::Session, found: &ListedServer) -> Result<Option<String>, ApiError> {
    let Some(id) = found.image["id"].as_str() else { return Ok(None) };
    Ok(image::all(cloud)?.into_iter().find(|image| image.id.as_str() == id).and_then(|image| image.name))
}

fn console(invocation: &Invocation, options: &Console) -> Result<Ending, Failure> {
    let cloud = invocation.user_cloud(&options.cloud)?;
    let found = cloud.ask(|cloud| server::get(cloud, &options.name))?;
    let output =
        cloud.ask(|cloud| server::act(cloud, &found.id, "os-getConsoleOutput", json!({"length": options.lines})))?;
    let output = output["output"].as_str().unwrap_or_default().to_owned();
    let url = cloud.ask(|cloud| server::console_url(cloud, &found.id)).ok();
    invocation.ui.document("instance console", json!({"name": found.name, "output": output, "url": url}));
    if !invocation.ui.is_json() {
        // What a guest prints must not steer the terminal of whoever reads it.
        invocation.ui.raw(&command::harmless(&output));
        invocation.ui.say(url.map_or_else(String::new, |url| format!("\nIn a browser: {url}")));
    }
    Ok(Ending::Done)
}

/// What Nova does with it: "powering-off".
fn doing(found: &ListedServer) -> String {
    found.task.as_ref().unwrap_or(&found.status).clone()
}

fn wait_for(
    invocation: &Invocation,
    cloud: &SharedSession,
    found: &ListedServer,
    state: &str,
) -> Result<ListedServer, Failure> {
    let mut last = None;
    invocation.watched_host().wait_while(&format!("instance {}", found.name), ACT_LIMIT, POLL, || {
        let found = cloud.ask(|cloud| server::get(cloud, found.id.as_str()))?;
        if found.status == "ERROR" {
            return Err(refusal::explained(&invocation.host, found.fault_in_words()).into());
        }
        let missing = (found.status != state || found.task.is_some()).then(|| doing(&found));
        last = Some(found);
        Ok(missing)
    })?;
    last.ok_or_else(|| Failure::bug("nothing was waited for"))
}

fn act(invocation: &Invocation, options: &OneInstance, action: &str, state: &str) -> Result<Ending, Failure> {
    let cloud = invocation.user_cloud(&options.cloud)?;
    let mut found = cloud.ask(|cloud| server::get(cloud, &options.name))?;
    if found.status != state {
        cloud.ask(|cloud| server::act(cloud, &found.id, action, Value::Null))?;
        found = wait_for(invocation, &cloud, &found, state)?;
    }
    invocation.ui.document(&format!("instance {}", action.trim_start_matches("os-")), document(&found));
    invocation.ui.say(format!("{} is {}.", found.name, found.status));
    Ok(Ending::Done)
}

fn resize(invocation: &Invocation, options: &Resize) -> Result<Ending, Failure> {
    let cloud = invocation.user_cloud(&options.cloud)?;
    let found = cloud.ask(|cloud| server::get(cloud, &options.name))?;
    let flavor = cloud.ask(|cloud| flavor::get(cloud, &options.flavor))?;
    if found.flavor_name() != flavor.name {
        invocation.consent(&format!("{} reboots for it. Go ahead?", found.name), false)?;
        cloud.ask(|cloud| server::act(cloud, &found.id, "resize", json!({"flavorRef": flavor.id.as_str()})))?;
    }
    // Nova waits for a yes, also for that of a command that was cut off.
    if resized(invocation, &cloud, &found)? {
        cloud.ask(|cloud| server::act(cloud, &found.id, "confirmResize", Value::Null))?;
    }
    let state = if found.status == "SHUTOFF" { "SHUTOFF" } else { "ACTIVE" };
    let found = wait_for(invocation, &cloud, &found, state)?;
    if found.flavor_name() != flavor.name {
        let what = format!("{} still has flavor {}: Nova took the resize back", found.name, found.flavor_name());
        return Err(Failure::new(what, "", format!("openstack server event list {} says why", found.id)));
    }
    invocation.ui.document("instance resize", document(&found));
    invocation.ui.say(format!("{} has flavor {}.", found.name, found.flavor_name()));
    Ok(Ending::Done)
}

/// Waits while Nova resizes; whether it now waits for a yes. Where it cannot, the instance is as it was.
fn resized(invocation: &Invocation, cloud: &SharedSession, before: &ListedServer) -> Result<bool, Failure> {
    let look = || cloud.ask(|cloud| server::get(cloud, before.id.as_str()));
    let mut found = look()?;
    invocation.watched_host().wait_while(&format!("instance {}", before.name), ACT_LIMIT, POLL, || {
        found = look()?;
        Ok(found.task.is_some().then(|| doing(&found)))
    })?;
    match found.status.as_str() {
        "VERIFY_RESIZE" => Ok(true),
        status if status == before.status && status != "ERROR" && found.launched_at.is_some() => Ok(false),
        _ => Err(refusal::explained(&invocation.host, found.fault_in_words()).into()),
    }
}

fn delete(invocation: &Invocation, options: &OneInstance) -> Result<Ending, Failure> {
    let cloud = invocation.user_cloud(&options.cloud)?;
    let found = cloud.ask(|cloud| server::get(cloud, &options.name))?;
    invocation.consent(&format!("End {} and lose its disk?", found.name), false)?;
    let addresses = cloud.ask(|cloud| {
        let ports = port::of_device(cloud, &found.id)?;
        let mut given_back = Vec::new();
        for port in ports {
            if let Some(address) = floating_ip::at(cloud, &port.entry.id)? {
                floating_ip::give_back(cloud, &address)?;
                given_back.push(address.floating_ip_address);
            }
        }
        server::delete(cloud, &found.id)?;
        Ok(given_back)
    })?;
    invocation
        .ui
        .document("instance delete", json!({"name": found.name, "id": found.id.as_str(), "given_back": addresses}));
    invocation.ui.say(format!("{} is gone.", found.name));
    Ok(Ending::Done)
}

/// A name as it can be typed in a shell.
fn quoted(name: &str) -> String {
    let plain = |c: char| c.is_alphanumeric() || "-_.".contains(c);
    if name.chars().all(plain) { name.to_owned() } else { format!("'{}'", name.replace('\'', "'\\''")) }
}

fn silent(name: &str, ends_at: Reachability) -> Failure {
    host::Error::from(ResourceError::Silent { name: name.to_owned(), ends_at }).into()
}
