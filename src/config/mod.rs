//! The answers: `gpucloud.toml`, complete and checked. Profiles feed only `init` and the wizard; a cloud that stands
//! reads nothing but its own file, so that a new release changes no old cloud. How to add an answer: [`answers`].

pub mod answers;
pub mod classroom;
mod detected;
pub mod devstack;
pub mod gpu;
pub mod network;
pub mod portal;
pub mod profile;
pub mod resources;
pub mod rule;
mod second_link;
pub mod secrets;
pub mod tunnel;
pub mod values;
pub mod volumes;

use crate::ending::Ending;
use crate::failure::Failure;
use crate::host::{Host, files};
use crate::paths::APPLIED;
use answers::ANSWERS;
use classroom::ClassroomAnswers;
use devstack::{DevstackAnswers, GitBase};
use gpu::GpuAnswers;
use network::NetworkAnswers;
use portal::PortalAnswers;
use resources::ResourceAnswers;
use serde::{Deserialize, Serialize};
use std::net::Ipv4Addr;
use std::path::Path;
use tunnel::TunnelAnswers;
use values::{HostName, InterfaceName, Region, UserName};
use volumes::VolumeAnswers;

/// How OpenStack gets onto the host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum EngineName {
    /// Release packages from PyPI in one virtual environment, units of our own.
    Native,
    /// DevStack: stack.sh from a Git host or a mirror, as user stack.
    Devstack,
}

impl EngineName {
    /// All of them.
    pub const ALL: [Self; 2] = [EngineName::Native, EngineName::Devstack];
}

/// How guests are run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Virt {
    /// KVM where it is proven to work, emulation elsewhere.
    Auto,
    /// KVM, or stop.
    Kvm,
    /// Emulation: works everywhere, about ten times slower.
    Qemu,
}

/// All answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// How OpenStack gets onto the host.
    pub engine: EngineName,
    /// This machine.
    pub host: HostAnswers,
    /// The cloud as a whole.
    pub cloud: CloudAnswers,
    /// What the engine called devstack is told; the others do not read it.
    #[serde(default)]
    pub devstack: DevstackAnswers,
    /// The hypervisor.
    pub compute: ComputeAnswers,
    /// What keeps volumes; DevStack does not read it.
    #[serde(default)]
    pub volumes: VolumeAnswers,
    /// Which devices count as cards.
    #[serde(default)]
    pub gpu: GpuAnswers,
    /// How instances reach the world, and the world them.
    pub network: NetworkAnswers,
    /// What the cloud has for its users from the beginning.
    #[serde(default)]
    pub resources: ResourceAnswers,
    /// Notebooks for students.
    #[serde(default)]
    pub classroom: ClassroomAnswers,
    /// The page that students open.
    #[serde(default)]
    pub portal: PortalAnswers,
    /// The way in for students outside.
    #[serde(default)]
    pub tunnel: TunnelAnswers,
}

/// This machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HostAnswers {
    /// Address of the APIs.
    #[serde(deserialize_with = "values::written::address")]
    pub address: Ipv4Addr,
    /// The link that has it.
    pub interface: InterfaceName,
    /// Name of this machine in the cloud.
    pub name: HostName,
    /// Who may administer the cloud.
    pub administrators: Vec<UserName>,
    /// Whether databases and queues that were here before may be used.
    pub share_services: bool,
    /// How many times longer than on a real machine everything may take.
    #[serde(default = "real_machine")]
    pub pace: u32,
}

fn real_machine() -> u32 {
    1
}

/// The cloud as a whole.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CloudAnswers {
    /// Name of the region.
    pub region: Region,
    /// Whether Horizon is installed.
    pub dashboard: bool,
    /// Processes for each API.
    pub workers: u8,
    /// Where repositories are cloned from.
    #[serde(default)]
    pub git_base: GitBase,
}

/// The hypervisor.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ComputeAnswers {
    /// How guests are run.
    pub virt: Virt,
}

impl Config {
    /// Reads and checks the answers in `path`.
    ///
    /// # Errors
    /// No such file, or a text that is no complete set of answers: file, line, key, nearest known key.
    pub fn load(host: &Host, path: &Path) -> Result<Self, Failure> {
        let text = files::read_text(host, path)?.ok_or_else(|| {
            Failure::usage(
                format!("there are no answers in {}", path.display()),
                "sudo gpucloud-install asks for them; gpucloud-install init asks nothing",
            )
        })?;
        let mut config = Self::parse(&text, path)?;
        let refused = config.resources.refuse_names_of_others();
        refused.map_err(|what| Failure::usage(format!("{}: {what}", path.display()), edit_hint(path)))?;
        config.resources.anchor(host, path.parent().unwrap_or(path));
        Ok(config)
    }

    /// The answers of the last complete apply, if there was one. What a release took, later ones go on with.
    pub fn load_applied(host: &Host) -> Result<Option<Self>, Failure> {
        let path = Path::new(APPLIED);
        files::read_text(host, path)?.map(|text| Self::parse(&text, path)).transpose()
    }

    /// Reads and checks a text; `path` only names it in errors.
    pub fn parse(text: &str, path: &Path) -> Result<Self, Failure> {
        let config: Self = toml::from_str(text).map_err(|error| explain(&error, text, path))?;
        config.check().map_err(|what| Failure::usage(format!("{}: {what}", path.display()), edit_hint(path)))?;
        Ok(config)
    }

    /// What is wrong with the answers by themselves, in words.
    pub fn check(&self) -> Result<(), String> {
        if self.host.address.is_loopback() || self.host.address.is_unspecified() || self.host.address.is_multicast() {
            return Err(format!("host.address: {} is not an address that others can reach", self.host.address));
        }
        if !(1..=100).contains(&self.host.pace) {
            return Err(format!("host.pace: {} is not between 1 and 100", self.host.pace));
        }
        if !(1..=64).contains(&self.cloud.workers) {
            return Err(format!("cloud.workers: {} is not between 1 and 64", self.cloud.workers));
        }
        if self.engine == EngineName::Devstack && self.host.share_services {
            return Err("host.share_services: DevStack takes database, queue and web server over whole".into());
        }
        self.volumes.check(self.engine)?;
        self.network.check(self.host.address, &self.host.interface)?;
        if self.engine == EngineName::Devstack && self.resources.project.as_str() != "demo" {
            return Err("resources.project: stack.sh makes the project demo, and no other".into());
        }
        self.resources.check(&self.network.tenant_range)?;
        self.classroom.check(&self.resources, &self.network.tenant_range)?;
        self.portal.check()?;
        self.tunnel.check(&self.portal)
    }

    /// The answers as a commented file.
    pub fn render(&self) -> String {
        answers::render(self)
    }

    /// The value of one answer as TOML, by its dotted key.
    pub fn value(&self, key: &str) -> Option<toml::Value> {
        let root = toml::Value::try_from(self).ok()?;
        key.split('.').try_fold(root, |value, part| value.get(part).cloned())
    }
}

fn edit_hint(path: &Path) -> String {
    format!("edit {}, then: gpucloud-install plan", path.display())
}

fn explain(error: &toml::de::Error, text: &str, path: &Path) -> Failure {
    let line = error.span().map_or(0, |span| text.bytes().take(span.start).filter(|byte| *byte == b'\n').count() + 1);
    let here = error.span().and_then(|span| text.get(span)).unwrap_or_default();
    let message = error.message();
    let what = match unknown_key(message) {
        Some(key) => {
            let key = if key.is_empty() { here } else { key };
            format!("{}, line {line}: there is no answer called `{key}`{}", path.display(), did_you_mean(key))
        }
        None => format!("{}, line {line}: {message}", path.display()),
    };
    let evidence = text.lines().nth(line.saturating_sub(1)).unwrap_or_default().trim().to_owned();
    Failure { evidence, ..Failure::usage(what, edit_hint(path)) }.with(Ending::Usage)
}

fn unknown_key(message: &str) -> Option<&str> {
    message.strip_prefix("unknown field `")?.split('`').next()
}

fn did_you_mean(key: &str) -> String {
    let names = ANSWERS.iter().flat_map(|answer| answer.key.split('.'));
    let nearest = names.map(|name| (strsim::damerau_levenshtein(name, key), name)).min();
    match nearest {
        Some((distance, name)) if distance <= 3 => format!("; did you mean `{name}`?"),
        _ => String::new(),
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn sample() -> Config {
        Config {
            engine: EngineName::Native,
            host: HostAnswers {
                address: Ipv4Addr::new(192, 0, 2, 10),
                interface: "eno1".parse().unwrap(),
                name: "gpubox".parse().unwrap(),
                administrators: vec!["ada".parse().unwrap()],
                share_services: false,
                pace: 1,
            },
            cloud: CloudAnswers {
                region: "RegionOne".parse().unwrap(),
                dashboard: true,
                workers: 2,
                git_base: GitBase::default(),
            },
            devstack: DevstackAnswers::default(),
            compute: ComputeAnswers { virt: Virt::Auto },
            volumes: VolumeAnswers::default(),
            gpu: GpuAnswers::default(),
            network: network::tests::sample(),
            resources: resources::tests::sample(),
            classroom: ClassroomAnswers::default(),
            portal: PortalAnswers::of_new_answers(),
            tunnel: TunnelAnswers::default(),
        }
    }

    fn error_of(text: &str) -> Failure {
        Config::parse(text, Path::new("/etc/gpucloud/gpucloud.toml")).unwrap_err()
    }

    #[test]
    fn what_is_written_is_read_back() {
        let text = sample().render();
        assert_eq!(Config::parse(&text, Path::new("x")).unwrap(), sample());
        insta::assert_snapshot!(text);
    }

    #[test]
    fn an_unknown_key_is_named_with_its_line_and_the_nearest_known_one() {
        let text = sample().render().replace("region =", "regoin =");
        let failure = error_of(&text);
        assert!(
            failure.what.contains("`regoin`") && failure.what.contains("did you mean `region`"),
            "{}",
            failure.what
        );
        assert_eq!(failure.evidence, "regoin = \"RegionOne\"");
        assert_eq!(failure.ending, Ending::Usage);
    }

    #[test]
    fn a_wrong_value_is_named_with_its_line() {
        let failure = error_of(&sample().render().replace("\"192.0.2.10\"", "\"192.0.2.300\""));
        assert!(failure.what.contains("line ") && failure.what.contains("IPv4"), "{}", failure.what);
    }

    #[test]
    fn names_of_others_are_refused_in_the_answers_and_stay_in_what_was_applied() {
        let dir = tempfile::tempdir().unwrap();
        let host = Host::at(dir.path());
        let text = sample().render().replace("{ name = \"ssh\", rules", "{ name = \"default\", rules");
        let text = text.replace("security_groups = [\"ssh\"]", "security_groups = [\"default\"]");
        for path in [APPLIED, "/etc/gpucloud/gpucloud.toml"] {
            files::make_parents(&host, Path::new(path)).unwrap();
            files::write(&host, Path::new(path), text.as_bytes(), 0o600, None).unwrap();
        }
        assert!(Config::load_applied(&host).unwrap().is_some());
        let failure = Config::load(&host, Path::new("/etc/gpucloud/gpucloud.toml")).unwrap_err();
        assert!(failure.what.contains("default belongs to Neutron"), "{failure:?}");
        assert_eq!(failure.ending, Ending::Usage);
    }

    #[test]
    fn a_loopback_address_is_refused() {
        assert!(error_of(&sample().render().replace("192.0.2.10", "127.0.0.1")).what.contains("host.address"));
    }
}
