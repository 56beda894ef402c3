//! `[classroom]`: notebooks for students, each in an instance of its own: whether there are any, what they are made of, the
//! administrator's own Python packages, how large homes are, and those that are there from the beginning. Defaults are in
//! [`ClassroomAnswers::default`]. Their network is no answer: it is the end of
//! `network.tenant_range` ([`ClassroomAnswers::subnet`], [`PREFIX`]). (What else a new answer needs: `answers.rs`.)

use super::resources::{ResourceAnswers, ResourceName};
use super::values::{as_text, checked_name};
use super::volumes;
use ipnet::Ipv4Net;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// What begins with this word in the cloud belongs to the classroom: project, network, router, security groups.
pub const CLASSROOM: &str = "classroom";
/// How many addresses the classroom's network has, as a prefix.
const PREFIX: u8 = 24;

checked_name! {
    /// Name of a notebook: part of its address, and its host name (RFC 1123, 2.1), so also of a student.
    NotebookName, 40, "a name (small letters, digits, `-`, beginning and ending with a letter or digit, at most 40)",
    |i, c| c.is_ascii_lowercase() || c.is_ascii_digit() || (i > 0 && c == '-')
}

checked_name! {
    /// A Python package, as pip takes it (PEP 508) but for addresses: "scikit-learn", "torch==2.9.1", "ray[default]>=2".
    PythonPackage, 100, "a Python package with or without a version (\"scikit-learn\", \"torch==2.9.1\")",
    |i, c| c.is_ascii_alphanumeric() || (i > 0 && "-_.[],=<>!~*+".contains(c))
}

/// Whether there are notebooks, and of what.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ClassroomAnswers {
    /// Whether there are any.
    pub enabled: bool,
    /// What they are made of.
    pub image: NotebookImage,
    /// Whether notebooks with cards have NVIDIA's driver.
    pub driver: CardDriver,
    /// GiB of a home, which is on a volume of its own where the cloud has volumes; 0: on the notebook's disk.
    pub home_gib: u32,
    /// Python packages beside those that the image has.
    pub packages: Vec<PythonPackage>,
    /// Those that are there from the beginning.
    pub notebooks: Vec<NotebookAnswer>,
}

/// The driver of notebooks with cards.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CardDriver {
    /// NVIDIA's where one of its cards is claimed.
    #[default]
    Auto,
    /// NVIDIA's, also where its cards come later.
    Nvidia,
    /// None is built in.
    None,
}

/// What notebooks are made of.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct NotebookImage(Option<ResourceName>);

impl NotebookImage {
    /// The administrator's own image; none where one is made.
    pub fn own(&self) -> Option<&ResourceName> {
        self.0.as_ref()
    }
}

impl std::str::FromStr for NotebookImage {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text.is_empty() { Ok(Self(None)) } else { Ok(Self(Some(text.parse()?))) }
    }
}

impl std::fmt::Display for NotebookImage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.as_ref().map_or(Ok(()), |name| name.fmt(f))
    }
}

as_text!(NotebookImage);

/// A notebook that is there from the beginning.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NotebookAnswer {
    /// Its name.
    pub name: NotebookName,
    /// Its size; without, the smallest that fits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub flavor: Option<ResourceName>,
    /// Whether it has a card.
    #[serde(default)]
    pub gpu: bool,
}

impl Default for ClassroomAnswers {
    fn default() -> Self {
        Self {
            enabled: false,
            image: NotebookImage::default(),
            driver: CardDriver::default(),
            home_gib: 10,
            packages: Vec::new(),
            notebooks: Vec::new(),
        }
    }
}

impl ClassroomAnswers {
    /// The network of the classroom: the last part of `tenant_range`.
    pub fn subnet(tenant_range: &Ipv4Net) -> Ipv4Net {
        let bits = PREFIX.max(tenant_range.prefix_len());
        Ipv4Net::new(tenant_range.broadcast(), bits).map_or(*tenant_range, |net| net.trunc())
    }

    /// What is wrong with it beside the other answers, in words.
    pub(super) fn check(&self, resources: &ResourceAnswers, tenant_range: &Ipv4Net) -> Result<(), String> {
        if !self.enabled {
            return Ok(());
        }
        if self.home_gib > volumes::LARGEST {
            return Err(format!("classroom.home_gib: {} is more than {}", self.home_gib, volumes::LARGEST));
        }
        let mut names = BTreeSet::new();
        for notebook in &self.notebooks {
            let name = notebook.name.as_str();
            if name.ends_with('-') {
                return Err(format!("classroom.notebooks: `{name}` ends with a `-`"));
            }
            if !names.insert(name) {
                return Err(format!("classroom.notebooks: two are called {name}"));
            }
        }
        let subnet = Self::subnet(tenant_range);
        for network in &resources.networks {
            let (name, net) = (&network.name, network.subnet.trunc());
            if net.contains(&subnet) || subnet.contains(&net) {
                return Err(format!(
                    "resources.networks: {net} of {name} overlaps {subnet}, which is the classroom's (the end of \
                     network.tenant_range)"
                ));
            }
        }
        let taken = |name: &ResourceName| name.as_str() == CLASSROOM || name.as_str().starts_with("classroom-");
        let all = resources.networks.iter().flat_map(|network| [&network.name, &network.router]);
        let mut all = all.chain(resources.security_groups.iter().map(|group| &group.name)).chain([&resources.project]);
        match all.find(|name| taken(name)) {
            Some(name) => Err(format!("resources: {name} is a name of the classroom's own parts: choose another one")),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::resources::tests::sample;

    fn answers(text: &str) -> ClassroomAnswers {
        toml::from_str(text).unwrap()
    }

    #[test]
    fn the_classroom_has_the_end_of_the_range() {
        let of = |range: &str| ClassroomAnswers::subnet(&range.parse().unwrap()).to_string();
        assert_eq!(of("10.254.0.0/16"), "10.254.255.0/24");
        assert_eq!(of("192.168.40.0/26"), "192.168.40.0/26");
    }

    #[test]
    fn what_does_not_fit_is_named() {
        let range: Ipv4Net = "10.254.0.0/16".parse().unwrap();
        let complaint = |text: &str, change: &dyn Fn(&mut ResourceAnswers)| {
            let mut resources = sample();
            change(&mut resources);
            answers(text).check(&resources, &range).unwrap_err()
        };
        answers("enabled = true").check(&sample(), &range).unwrap();
        let twice = "enabled = true\nnotebooks = [{ name = \"ada\" }, { name = \"ada\" }]";
        let large = "enabled = true\nhome_gib = 20000";
        assert_eq!(complaint(large, &|_| ()), "classroom.home_gib: 20000 is more than 16384");
        assert_eq!(complaint(twice, &|_| ()), "classroom.notebooks: two are called ada");
        let overlap = |resources: &mut ResourceAnswers| resources.networks[0].subnet = "10.254.0.0/16".parse().unwrap();
        assert!(complaint("enabled = true", &overlap).contains("overlaps 10.254.255.0/24"));
        let name = |resources: &mut ResourceAnswers| resources.security_groups[0].name = "classroom-x".parse().unwrap();
        assert!(complaint("enabled = true", &name).contains("classroom-x is a name of the classroom's own"));
    }

    #[test]
    fn a_package_is_no_option_and_no_address() {
        for good in ["scikit-learn", "torch==2.9.1", "ray[default]>=2,<3", "a"] {
            good.parse::<PythonPackage>().unwrap();
        }
        for bad in ["--index-url=http://x", "x @ http://y", "../x", "x;y", ""] {
            bad.parse::<PythonPackage>().unwrap_err();
        }
        for bad in ["Ada", "ada_1", "-ada", ""] {
            bad.parse::<NotebookName>().unwrap_err();
        }
    }
}
