//! Every answer with its meaning and what a change of it means. A new answer is a field in `config/mod.rs` (of the
//! network: `network.rs`; of DevStack: `devstack.rs`; of volumes: `volumes.rs`; of cards: `gpu.rs`; of what users work with:
//! `resources.rs`; of notebooks: `classroom.rs`, `portal.rs`, `tunnel.rs`), a value in each of `profiles/*.toml` or in `profile.rs`, and a row here; `init`, the error messages and the check of changed answers
//! follow. Who reads it: templates, by values that an engine's `Recipe` gives them, and what a room gives both
//! engines: `engine/settings.rs`.

use super::{Config, EngineName};

/// What happens when an answer is changed on a cloud that stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnChange {
    /// `apply` changes it while the cloud runs.
    Live,
    /// `apply` changes it and restarts services.
    Restart,
    /// It cannot be changed; this would be lost.
    Fixed(&'static str),
    /// It cannot be changed once the cloud has a volume service; this would be lost.
    FixedWithVolumes(&'static str),
}

/// One answer.
#[derive(Debug, Clone, Copy)]
pub struct Answer {
    /// Dotted key: "host.address".
    pub key: &'static str,
    /// What it means, one line.
    pub meaning: &'static str,
    /// What a change means, unless the engine makes it another: [`Answer::on_change_with`].
    pub on_change: OnChange,
}

/// All answers, in the order of the file.
pub const ANSWERS: &[Answer] = &[
    Answer {
        key: "engine",
        meaning: "How OpenStack gets onto the host: \"native\" (release packages in one virtual environment) or \"devstack\"",
        on_change: OnChange::Fixed("the whole cloud with its instances: another engine keeps other databases"),
    },
    Answer {
        key: "host.address",
        meaning: "IPv4 address of this machine; APIs and dashboard answer here. It should not change: no DHCP lease",
        on_change: OnChange::Restart,
    },
    Answer { key: "host.interface", meaning: "The link that has this address", on_change: OnChange::Live },
    Answer {
        key: "host.name",
        meaning: "Name of this machine in the cloud; the machine itself may be renamed later",
        on_change: OnChange::Fixed("instances and ports are bound to the old name"),
    },
    Answer {
        key: "host.administrators",
        meaning: "Accounts that may read the cloud's administrator password (group gpucloud-admin)",
        on_change: OnChange::Live,
    },
    Answer {
        key: "host.share_services",
        meaning: "true: use a MariaDB, memcached, libvirt or Open vSwitch that was here before; false: stop instead",
        on_change: OnChange::Live,
    },
    Answer {
        key: "host.pace",
        meaning: "How many times longer than on a real machine everything may take: 1; 12 where its processor is emulated",
        on_change: OnChange::Restart,
    },
    Answer {
        key: "cloud.region",
        meaning: "Name of the region",
        on_change: OnChange::Fixed("endpoints and clients name the old region"),
    },
    Answer {
        key: "cloud.dashboard",
        meaning: "true: install Horizon, the dashboard in a browser, at http://ADDRESS:8080/dashboard/",
        on_change: OnChange::Restart,
    },
    Answer {
        key: "cloud.workers",
        meaning: "Processes for each API: 2 answer quicker under load, 1 saves about 1 GB of memory",
        on_change: OnChange::Restart,
    },
    Answer {
        key: "cloud.git_base",
        meaning: "With \"devstack\": where repositories are cloned from, an address or the folder of a mirror",
        on_change: OnChange::Live,
    },
    Answer {
        key: "devstack.branch",
        meaning: "Branch of DevStack and of what it installs",
        on_change: OnChange::Fixed(ANEW),
    },
    Answer {
        key: "devstack.services",
        meaning: "Beyond what every cloud has: \"cinder\" (volumes), \"swift\" (objects), \"heat\" (stacks)",
        on_change: OnChange::Fixed(ANEW),
    },
    Answer {
        key: "devstack.upgrade",
        meaning: "true: bring this system's packages up to date first",
        on_change: OnChange::Live,
    },
    Answer {
        key: "devstack.force",
        meaning: "true: run stack.sh on a system that it does not know (FORCE=yes)",
        on_change: OnChange::Live,
    },
    Answer {
        key: "compute.virt",
        meaning: "\"auto\": KVM where it works, else emulation; \"kvm\": KVM or stop; \"qemu\": emulation, ten times slower",
        on_change: OnChange::Restart,
    },
    Answer {
        key: "volumes.backend",
        meaning: "What keeps volumes: \"none\" (no volume service) or \"lvm\" (Cinder); with \"devstack\" see devstack.services",
        on_change: OnChange::FixedWithVolumes("all volumes: nobody would serve them"),
    },
    Answer {
        key: "volumes.device",
        meaning: "A whole empty disk or partition for volumes (\"/dev/sdb\"); \"\": a file in /var/lib/gpucloud/volumes",
        on_change: OnChange::FixedWithVolumes("volumes lie on the old disk, or in the file"),
    },
    Answer {
        key: "volumes.size_gib",
        meaning: "GiB of that file, which takes room only as volumes are written; it can be made larger, not smaller",
        on_change: OnChange::Live,
    },
    Answer {
        key: "volumes.wipe",
        meaning: "true: what a deleted volume held is overwritten with zeros; false: the next volume may show it",
        on_change: OnChange::Restart,
    },
    Answer {
        key: "gpu.cards",
        meaning: "Cards for instances: [\"0000:41:00.0\"] by address, or \"all-ready\" (docs/gpu.md); they are taken from this machine at its next boot",
        on_change: OnChange::Live,
    },
    Answer {
        key: "gpu.also",
        meaning: "Ids of devices that count as cards though they are none (\"1234:1111\"): for trials without one",
        on_change: OnChange::Live,
    },
    Answer {
        key: "network.access",
        meaning: "How instances are reached: \"nat\", \"proxy-arp\", \"routed\" or \"bridged\" (docs/network.md)",
        on_change: OnChange::Live,
    },
    Answer {
        key: "network.range",
        meaning: "External network of the cloud; with \"proxy-arp\" a part of the LAN's, with \"bridged\" that of the second card",
        on_change: OnChange::Fixed("floating addresses of instances are in the old range"),
    },
    Answer {
        key: "network.gateway",
        meaning: "Its router, as instances see it: this machine's address on br-ex; with \"bridged\" the router there",
        on_change: OnChange::Fixed("the cloud's external network has the old router"),
    },
    Answer {
        key: "network.pool",
        meaning: "Floating addresses, first to last; nobody else may have one of them",
        on_change: OnChange::Live,
    },
    Answer {
        key: "network.tenant_range",
        meaning: "Networks of projects are cut from this; no network that instances shall reach may overlap it",
        on_change: OnChange::Fixed("networks of projects are cut from the old range"),
    },
    Answer { key: "network.dns", meaning: "Name servers of instances", on_change: OnChange::Restart },
    Answer {
        key: "network.admin_networks",
        meaning: "Networks whose machines may use APIs, dashboard and consoles; SSH is never touched",
        on_change: OnChange::Live,
    },
    Answer {
        key: "network.port_maps",
        meaning: "With \"nat\": ports of this machine that lead to instances, [\"tcp 8022 -> 172.24.4.20:22\"]",
        on_change: OnChange::Live,
    },
    Answer {
        key: "network.bridge_links",
        meaning: "With \"bridged\": links that become ports of br-ex; never the one with this machine's address",
        on_change: OnChange::Live,
    },
    Answer {
        key: "resources.project",
        meaning: "The project of all that follows, and the user who works in it (docs/resources.md)",
        on_change: OnChange::Fixed("what belongs to the old project"),
    },
    Answer {
        key: "resources.quota",
        meaning: "Its limits: { instances = 20, vcpus = 64, memory_mib = 262144, storage_gib = 1000 }; -1: none",
        on_change: OnChange::Live,
    },
    Answer {
        key: "resources.images",
        meaning: "Disk images: from the catalogue (\"ubuntu-24.04\", \"debian-13\", \"guest\"), a file or an address",
        on_change: OnChange::Live,
    },
    Answer {
        key: "resources.flavors",
        meaning: "Sizes of instances: vcpus, memory_mib, disk_gib, specs (extra specs)",
        on_change: OnChange::Live,
    },
    Answer {
        key: "resources.networks",
        meaning: "Networks, each a part of network.tenant_range, and the router to the world",
        on_change: OnChange::Live,
    },
    Answer {
        key: "resources.key_pairs",
        meaning: "Keys that may log in: the file of a public_key, or a pair is made in the first administrator's ~/.ssh",
        on_change: OnChange::Live,
    },
    Answer {
        key: "resources.security_groups",
        meaning: "What may reach an instance: rules = [\"in tcp 22\", \"in icmp\", \"in tcp 80 from 192.0.2.0/24\"]",
        on_change: OnChange::Live,
    },
    Answer {
        key: "resources.volumes",
        meaning: "Disks of their own, where the cloud has a volume service: name, size_gib",
        on_change: OnChange::Live,
    },
    Answer {
        key: "resources.instances",
        meaning: "Instances: image, flavor, network, key_pair, security_groups, floating_ip, boot_volume_gib",
        on_change: OnChange::Live,
    },
    Answer {
        key: "classroom.enabled",
        meaning: "true: notebooks, each a JupyterLab in an instance of its own (docs/classroom.md)",
        on_change: OnChange::Live,
    },
    Answer {
        key: "classroom.image",
        meaning: "An image of your own that notebooks are made of, by its name in the cloud; \"\": one is built here",
        on_change: OnChange::Live,
    },
    Answer {
        key: "classroom.driver",
        meaning: "Driver in notebooks with cards: auto (NVIDIA's where one of its cards is claimed), nvidia, none",
        on_change: OnChange::Live,
    },
    Answer {
        key: "classroom.home_gib",
        meaning: "GiB of a student's home, a volume of its own where volumes.backend is not none; 0: on the notebook's disk",
        on_change: OnChange::Live,
    },
    Answer {
        key: "classroom.packages",
        meaning: "Python packages beside NumPy, pandas and Matplotlib: [\"scikit-learn\", \"torch==2.9.1\"]; new notebooks have them",
        on_change: OnChange::Live,
    },
    Answer {
        key: "classroom.notebooks",
        meaning: "Notebooks that are there from the beginning: name, flavor, gpu; others: gpucloud-install notebook create",
        on_change: OnChange::Live,
    },
    Answer {
        key: "portal.enabled",
        meaning: "true: a page that students open, where there are notebooks (docs/classroom.md)",
        on_change: OnChange::Live,
    },
    Answer {
        key: "portal.port",
        meaning: "TCP port of that page, on every address of this machine; open to everybody who reaches it",
        on_change: OnChange::Live,
    },
    Answer {
        key: "portal.names",
        meaning: "How browsers call this machine beside its addresses, links by the first: [\"gpu.example.edu\"]",
        on_change: OnChange::Live,
    },
    Answer {
        key: "portal.tls",
        meaning: "Who vouches for that page: \"own\" (an authority of this machine's own; browsers warn until they trust it) or \"none\" (tokens pass unencrypted)",
        on_change: OnChange::Live,
    },
    Answer {
        key: "tunnel.kind",
        meaning: "The way to that page from outside: \"none\", \"ngrok\", \"cloudflared\", \"frp\", \"pagekite\"; its token: sudo gpucloud-install tunnel token",
        on_change: OnChange::Live,
    },
    Answer {
        key: "tunnel.address",
        meaning: "How browsers call the tunnel's other end, by https: \"class.example.net\"",
        on_change: OnChange::Live,
    },
    Answer {
        key: "tunnel.server",
        meaning: "The server that the tunnel connects to, \"HOST:PORT\"; \"\": the service's own",
        on_change: OnChange::Live,
    },
    Answer {
        key: "tunnel.requests",
        meaning: "How many requests in a month the service takes, to warn ahead of it; 0: any number",
        on_change: OnChange::Live,
    },
    Answer {
        key: "tunnel.port",
        meaning: "TCP port on loopback where the page listens for the tunnel",
        on_change: OnChange::Live,
    },
];

/// What stack.sh reads once: with DevStack these are fixed too.
const ONLY_STACK_SH_READS: [&str; 4] = ["host.address", "cloud.dashboard", "cloud.workers", "compute.virt"];
const ANEW: &str = "stack.sh would have to run anew, and drops every database";

impl Answer {
    /// What a change means with this engine.
    fn on_change_with(&self, engine: EngineName) -> OnChange {
        match self.on_change {
            OnChange::Live | OnChange::Restart
                if engine == EngineName::Devstack && ONLY_STACK_SH_READS.contains(&self.key) =>
            {
                OnChange::Fixed(ANEW)
            }
            other => other,
        }
    }
}

/// The answers as a file with a comment for each.
pub fn render(config: &Config) -> String {
    let mut text = String::from("# Answers of gpucloud-install. After an edit: gpucloud-install plan, then apply.\n");
    let mut section = "";
    for answer in ANSWERS {
        let (here, name) = answer.key.rsplit_once('.').unwrap_or(("", answer.key));
        if here != section {
            text.push_str(&format!("\n[{here}]\n"));
            section = here;
        }
        let value = config.value(answer.key).map(|value| text_of(&value)).unwrap_or_default();
        let note = change_note(answer.on_change_with(config.engine));
        text.push_str(&format!("# {}.\n# {note}\n{name} = {value}\n", answer.meaning));
    }
    text
}

/// A list of tables gets a line for each.
fn text_of(value: &toml::Value) -> String {
    match value {
        toml::Value::Array(items) if items.first().is_some_and(toml::Value::is_table) => {
            let lines: String = items.iter().map(|item| format!("    {item},\n")).collect();
            format!("[\n{lines}]")
        }
        value => value.to_string(),
    }
}

fn change_note(on_change: OnChange) -> String {
    match on_change {
        OnChange::Live => "Changed by apply while the cloud runs.".into(),
        OnChange::Restart => "Changed by apply; services restart.".into(),
        OnChange::Fixed(lost) => format!("Fixed once installed: {lost}."),
        OnChange::FixedWithVolumes(lost) => format!("Fixed once the cloud has volumes: {lost}."),
    }
}

/// A fixed answer that was changed, with what would be lost.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FixedChange {
    /// Its key.
    pub key: &'static str,
    /// What it was.
    pub was: String,
    /// What it is now.
    pub now: String,
    /// What would be lost.
    pub lost: &'static str,
}

/// Fixed answers that differ between the cloud that stands and the answers of today.
pub fn changed_fixed(applied: &Config, config: &Config) -> Vec<FixedChange> {
    let value = |config: &Config, key: &str| config.value(key).map(|v| v.to_string()).unwrap_or_default();
    ANSWERS
        .iter()
        .filter_map(|answer| {
            let lost = match answer.on_change_with(config.engine) {
                OnChange::Fixed(lost) => lost,
                OnChange::FixedWithVolumes(lost) if applied.volumes.are_wanted() => lost,
                _ => return None,
            };
            let (was, now) = (value(applied, answer.key), value(config, answer.key));
            (was != now).then_some(FixedChange { key: answer.key, was, now, lost })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::tests::sample;
    use crate::config::volumes::VolumeBackend;

    #[test]
    fn every_field_has_a_row_and_every_row_a_field() {
        let config = sample();
        let mut keys = Vec::new();
        for (name, value) in toml::Table::try_from(&config).unwrap() {
            match value {
                toml::Value::Table(inner) => keys.extend(inner.keys().map(|key| format!("{name}.{key}"))),
                _ => keys.push(name),
            }
        }
        let mut rows: Vec<String> = ANSWERS.iter().map(|answer| answer.key.to_owned()).collect();
        keys.sort();
        rows.sort();
        assert_eq!(keys, rows);
    }

    #[test]
    fn volumes_can_be_had_later_and_not_be_lost() {
        let mut with = sample();
        with.volumes.backend = VolumeBackend::Lvm;
        assert_eq!(changed_fixed(&sample(), &with), []);
        let mut larger = with.clone();
        larger.volumes.size_gib = 60;
        assert_eq!(changed_fixed(&with, &larger), []);
        let keys = |now: &Config| -> Vec<&str> { changed_fixed(&with, now).iter().map(|change| change.key).collect() };
        assert_eq!(keys(&sample()), ["volumes.backend"]);
        let mut elsewhere = with.clone();
        elsewhere.volumes.device = "/dev/sdb".parse().unwrap();
        assert_eq!(keys(&elsewhere), ["volumes.device"]);
    }

    #[test]
    fn a_changed_fixed_answer_says_what_would_be_lost() {
        let mut changed = sample();
        changed.cloud.region = "Elsewhere".parse().unwrap();
        changed.cloud.workers = 1;
        let fixed = changed_fixed(&sample(), &changed);
        assert_eq!(fixed.len(), 1);
        assert_eq!(
            (fixed[0].key, fixed[0].was.as_str(), fixed[0].now.as_str()),
            ("cloud.region", "\"RegionOne\"", "\"Elsewhere\"")
        );
    }
}
