//! `[resources]`: what the cloud has for its users from the beginning. Declared here, made by the plan, undone by
//! `uninstall`; what users make themselves does not stand here.
//!
//! A new field of a kind is a field of its type here, which `resources/steps.rs` gives to the kind's file in
//! `cloud/resource/`. A new kind is a list in [`ResourceAnswers`] with its type, a row in `answers.rs`, a check of the
//! names it refers to below, and its steps in `resources/steps.rs`. Rules of security groups: `rule.rs`.

use super::rule::Rule;
use super::values::{as_text, checked_name, written};
use crate::host::{Host, files};
use ipnet::Ipv4Net;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

checked_name! {
    /// Name of a resource. An instance's is its host name too.
    ResourceName, 63, "a name (letters, digits, `-`, `_`, `.`, beginning with a letter or digit, at most 63)",
    |i, c| c.is_ascii_alphanumeric() || (i > 0 && "-_.".contains(c))
}

/// Name of the external network, as DevStack calls it too.
pub const EXTERNAL: &str = "public";

/// What can be limited; which service counts it: `cloud/resource/quota.rs`.
pub const QUOTAS: [&str; 8] =
    ["instances", "vcpus", "memory_mib", "networks", "floating_ips", "security_group_rules", "volumes", "storage_gib"];

/// Names of users and projects that services have.
const RESERVED_PROJECTS: [&str; 10] =
    ["admin", "service", "keystone", "glance", "placement", "nova", "neutron", "cinder", "swift", "heat"];

/// What the cloud has from the beginning.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ResourceAnswers {
    /// The project to which all of it belongs, and the user who works in it.
    pub project: ResourceName,
    /// Limits of that project.
    pub quota: BTreeMap<String, i64>,
    /// Disk images.
    pub images: Vec<ImageAnswer>,
    /// Sizes of instances.
    pub flavors: Vec<FlavorAnswer>,
    /// Networks, each with a router to the world.
    pub networks: Vec<NetworkAnswer>,
    /// Public keys.
    pub key_pairs: Vec<KeyPairAnswer>,
    /// What may reach an instance.
    pub security_groups: Vec<SecurityGroupAnswer>,
    /// Disks of their own.
    pub volumes: Vec<VolumeAnswer>,
    /// Instances.
    pub instances: Vec<InstanceAnswer>,
}

impl Default for ResourceAnswers {
    /// Nothing: what clouds of older releases have.
    fn default() -> Self {
        Self {
            project: ResourceName("demo".into()),
            quota: BTreeMap::new(),
            images: Vec::new(),
            flavors: Vec::new(),
            networks: Vec::new(),
            key_pairs: Vec::new(),
            security_groups: Vec::new(),
            volumes: Vec::new(),
            instances: Vec::new(),
        }
    }
}

/// A disk image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ImageAnswer {
    /// Its name in the cloud.
    pub name: ResourceName,
    /// A name of the catalogue ("ubuntu-24.04", "guest"), a file, or an address.
    pub from: String,
    /// What the file is, where its content does not tell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub format: Option<ImageFormat>,
    /// Properties: { hw_machine_type = "q35" }.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub properties: BTreeMap<String, String>,
}

/// What somebody can insist on: every other format tells itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum ImageFormat {
    /// A disk, byte by byte.
    Raw,
}

/// A size of instances.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FlavorAnswer {
    /// Its name.
    pub name: ResourceName,
    /// Processors.
    pub vcpus: u32,
    /// Memory in MiB.
    pub memory_mib: u32,
    /// Disk in GiB; 0: as large as the image.
    pub disk_gib: u32,
    /// Extra specs: { "hw:cpu_policy" = "dedicated" }.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub specs: BTreeMap<String, String>,
}

/// A network of the project.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NetworkAnswer {
    /// Its name.
    pub name: ResourceName,
    /// Its addresses, a part of `network.tenant_range`.
    #[serde(deserialize_with = "written::network")]
    pub subnet: Ipv4Net,
    /// The router that connects it to the world.
    pub router: ResourceName,
}

/// A public key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeyPairAnswer {
    /// Its name.
    pub name: ResourceName,
    /// The file of a public key that is there; without it, a pair is made in the first administrator's ~/.ssh.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub public_key: Option<PathBuf>,
    /// What kind of key is made.
    #[serde(default, skip_serializing_if = "KeyType::is_default")]
    pub kind: KeyType,
}

/// A kind of key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum KeyType {
    /// Ed25519.
    #[default]
    Ed25519,
    /// RSA with 3072 bits; OpenSSH signs with SHA-2.
    Rsa,
}

impl KeyType {
    fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// What may reach an instance.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SecurityGroupAnswer {
    /// Its name.
    pub name: ResourceName,
    /// "in tcp 22", "in tcp 8000-8100 from 192.0.2.0/24", "in icmp", "out any".
    pub rules: Vec<Rule>,
}

/// A disk of its own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VolumeAnswer {
    /// Its name.
    pub name: ResourceName,
    /// GiB.
    pub size_gib: u32,
}

/// An instance.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InstanceAnswer {
    /// Its name.
    pub name: ResourceName,
    /// Name of its image.
    pub image: ResourceName,
    /// Name of its flavor.
    pub flavor: ResourceName,
    /// Name of its network.
    pub network: ResourceName,
    /// Name of the key pair that may log in.
    pub key_pair: ResourceName,
    /// Names of its security groups.
    pub security_groups: Vec<ResourceName>,
    /// Whether it has an address that others can reach.
    pub floating_ip: bool,
    /// Size in GiB of the volume that it boots from, where it does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub boot_volume_gib: Option<u32>,
}

impl ResourceAnswers {
    /// The first instance that others can reach.
    pub fn reachable(&self) -> Option<&ResourceName> {
        self.instances.iter().find(|instance| instance.floating_ip).map(|instance| &instance.name)
    }

    /// Makes paths that are relative those below `folder`, where the answers lie: copies of them lie elsewhere.
    pub fn anchor(&mut self, host: &Host, folder: &Path) {
        for path in self.key_pairs.iter_mut().filter_map(|key| key.public_key.as_mut()) {
            if !path.starts_with("/") && !path.to_string_lossy().starts_with('~') {
                *path = joined(folder, path);
            }
        }
        for image in &mut self.images {
            image.from = anchored(host, &image.from, folder);
        }
    }

    /// Whether anything is declared.
    pub fn is_empty(&self) -> bool {
        let Self { project: _, quota, images, flavors, networks, key_pairs, security_groups, volumes, instances } =
            self;
        quota.is_empty()
            && images.is_empty()
            && flavors.is_empty()
            && networks.is_empty()
            && key_pairs.is_empty()
            && security_groups.is_empty()
            && volumes.is_empty()
            && instances.is_empty()
    }

    /// Names that Neutron gives itself: each project has a group called `default` from its beginning, in any
    /// capitals, which nobody can make or rename (neutron/extensions/securitygroup.py). Keystone's and our own:
    /// [`ResourceAnswers::check`]. Nova, Glance and Cinder have none.
    ///
    /// # Errors
    /// In words, with the way out.
    pub fn refuse_names_of_others(&self) -> Result<(), String> {
        match self.security_groups.iter().any(|group| group.name.as_str().eq_ignore_ascii_case("default")) {
            true => Err("resources.security_groups: default belongs to Neutron, and what is declared would not come \
                         into it: choose another name, here and in security_groups of resources.instances"
                .into()),
            false => Ok(()),
        }
    }

    /// What is wrong with it by itself, in words.
    pub fn check(&self, tenant_range: &Ipv4Net) -> Result<(), String> {
        if let Some(name) = self.quota.keys().find(|name| !QUOTAS.contains(&name.as_str())) {
            return Err(format!("resources.quota: {name} is not one of {}", QUOTAS.join(", ")));
        }
        if RESERVED_PROJECTS.contains(&self.project.as_str()) {
            return Err(format!("resources.project: {} belongs to the cloud itself", self.project));
        }
        if self.networks.iter().any(|network| network.name.as_str() == EXTERNAL) {
            return Err(format!("resources.networks: {EXTERNAL} is the external network's name"));
        }
        if let Some(image) = self.images.iter().find(|image| image.name.as_str().starts_with("guest-")) {
            return Err(format!("resources.images: {} is a name of the small guest's parts", image.name));
        }
        let mut sources = BTreeSet::new();
        if let Some(image) = self.images.iter().find(|image| !sources.insert(image.from.as_str())) {
            return Err(format!("resources.images: two come from {}", image.from));
        }
        let images = unique("images", self.images.iter().map(|image| &image.name))?;
        let flavors = unique("flavors", self.flavors.iter().map(|flavor| &flavor.name))?;
        let networks = unique("networks", self.networks.iter().map(|network| &network.name))?;
        let keys = unique("key_pairs", self.key_pairs.iter().map(|key| &key.name))?;
        let groups = unique("security_groups", self.security_groups.iter().map(|group| &group.name))?;
        unique("volumes", self.volumes.iter().map(|volume| &volume.name))?;
        unique("instances", self.instances.iter().map(|instance| &instance.name))?;
        for network in &self.networks {
            if !tenant_range.contains(&network.subnet) {
                let name = &network.name;
                return Err(format!(
                    "resources.networks: {} of {name} is not a part of network.tenant_range {tenant_range}",
                    network.subnet
                ));
            }
        }
        for instance in &self.instances {
            let refers = |what: &str, names: &BTreeSet<&str>, name: &ResourceName| match names.contains(name.as_str()) {
                true => Ok(()),
                false => Err(format!(
                    "resources.instances: {} wants {name}, which is not among resources.{what}",
                    instance.name
                )),
            };
            refers("images", &images, &instance.image)?;
            refers("flavors", &flavors, &instance.flavor)?;
            refers("networks", &networks, &instance.network)?;
            refers("key_pairs", &keys, &instance.key_pair)?;
            instance.security_groups.iter().try_for_each(|group| refers("security_groups", &groups, group))?;
        }
        Ok(())
    }
}

/// What an image comes from, where a relative file is one below `folder`: with a slash in it, or there by that name.
pub fn anchored(host: &Host, from: &str, folder: &Path) -> String {
    let is_relative = !from.starts_with(['/', '~']) && !from.contains("://") && !from.starts_with("file:");
    let path = joined(folder, Path::new(from));
    let is_there = || matches!(files::status(host, &path), Ok(Some(found)) if !found.is_dir);
    if is_relative && (from.contains('/') || is_there()) {
        path.to_string_lossy().into_owned()
    } else {
        from.to_owned()
    }
}

fn joined(folder: &Path, path: &Path) -> PathBuf {
    folder.join(path.strip_prefix(".").unwrap_or(path))
}

fn unique<'a>(list: &str, names: impl Iterator<Item = &'a ResourceName>) -> Result<BTreeSet<&'a str>, String> {
    let mut seen = BTreeSet::new();
    for name in names {
        if !seen.insert(name.as_str()) {
            return Err(format!("resources.{list}: two are called {name}"));
        }
    }
    Ok(seen)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn sample() -> ResourceAnswers {
        toml::from_str(
            r#"project = "demo"
            images = [{ name = "mine", from = "ubuntu-24.04", properties = { hw_machine_type = "q35" } }]
            flavors = [{ name = "ds2G", vcpus = 2, memory_mib = 2048, disk_gib = 10 }]
            networks = [{ name = "private", subnet = "10.254.0.0/24", router = "router1" }]
            key_pairs = [{ name = "demo" }, { name = "old", public_key = "/root/old.pub" }]
            security_groups = [{ name = "ssh", rules = ["in icmp", "in tcp 22"] }]
            instances = [{ name = "demo", image = "mine", flavor = "ds2G", network = "private", key_pair = "demo",
                           security_groups = ["ssh"], floating_ip = true }]"#,
        )
        .unwrap()
    }

    #[test]
    fn what_does_not_fit_together_is_named() {
        let range: Ipv4Net = "10.254.0.0/16".parse().unwrap();
        let complaint = |change: &dyn Fn(&mut ResourceAnswers)| {
            let mut answers = sample();
            change(&mut answers);
            answers.check(&range).unwrap_err()
        };
        sample().check(&range).unwrap();
        let doubled = complaint(&|answers| answers.flavors.push(answers.flavors[0].clone()));
        assert_eq!(doubled, "resources.flavors: two are called ds2G");
        let missing = complaint(&|answers| answers.images.clear());
        assert_eq!(missing, "resources.instances: demo wants mine, which is not among resources.images");
        let elsewhere = complaint(&|answers| answers.networks[0].subnet = "192.168.0.0/24".parse().unwrap());
        assert!(elsewhere.contains("not a part of network.tenant_range"), "{elsewhere}");
        let uncounted = complaint(&|answers| {
            answers.quota.insert("beer".into(), 1);
        });
        assert!(uncounted.contains("beer is not one of instances"), "{uncounted}");
    }
}
