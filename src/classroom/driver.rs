//! NVIDIA's driver in the image of notebooks with cards: which packages of which distribution, and for which cards.
//! Pure. A newer driver or another distribution is a row of [`RELEASES`]; a new generation of cards, a line of
//! [`FIRST_IDS`].

use super::CLASSROOM;
use crate::config::Config;
use crate::config::classroom::CardDriver;
use crate::facts::pci::NVIDIA;
use crate::finding::Finding;

/// The first device id of each generation that a driver begins or ends with; ids rise with them (pci.ids: GM108, TU102,
/// GB100).
const FIRST_IDS: [(u16, &str); 3] = [(MAXWELL, "Maxwell"), (TURING, "Turing"), (BLACKWELL, "Blackwell")];
const MAXWELL: u16 = 0x1340;
/// Kernel modules with open sources know cards from here on (NVIDIA, open-gpu-kernel-modules, "Compatible GPUs").
const TURING: u16 = 0x1e00;
/// These are known to the open modules alone, from driver 570 on (the same page).
const BLACKWELL: u16 = 0x2900;

/// What a distribution has.
#[derive(Debug)]
struct Release {
    distribution: &'static str,
    /// Its name, in words.
    name: &'static str,
    /// The driver's version.
    version: &'static str,
    /// The first device id that it knows no more.
    end: u16,
    /// A kernel with what NVIDIA's modules need: one for clouds has no DRM (Debian).
    kernel: &'static [&'static str],
    /// Of modules with closed and with open sources: their packages.
    closed: &'static str,
    open: &'static str,
    /// What programs need.
    programs: &'static [&'static str],
    /// Parts of the archive beside `main`.
    components: &'static [&'static str],
}

/// Debian builds the modules in the image, Ubuntu has them built and signed.
const RELEASES: [Release; 2] = [
    Release {
        distribution: "debian",
        name: "Debian 13",
        version: "550",
        end: BLACKWELL,
        kernel: &["linux-image-amd64", "linux-headers-amd64"],
        closed: "nvidia-kernel-dkms",
        open: "nvidia-open-kernel-dkms",
        programs: &["nvidia-smi", "nvidia-modprobe", "libcuda1", "libnvidia-ml1"],
        components: &["contrib", "non-free", "non-free-firmware"],
    },
    Release {
        distribution: "ubuntu",
        name: "Ubuntu 24.04",
        version: "580",
        end: u16::MAX,
        kernel: &["linux-image-generic"],
        closed: "linux-modules-nvidia-580-server-generic",
        open: "linux-modules-nvidia-580-server-open-generic",
        programs: &["nvidia-utils-580-server", "nvidia-modprobe", "libnvidia-compute-580-server"],
        components: &["restricted", "multiverse"],
    },
];

/// The driver in an image.
#[derive(Debug, Clone, Copy)]
pub struct Driver {
    release: &'static Release,
    open: bool,
}

impl Driver {
    /// For a distribution and cards with these device ids; none where it knows none of them.
    fn of(distribution: &str, devices: &[u16]) -> Option<Self> {
        let release = release(distribution);
        let known: Vec<u16> = devices.iter().copied().filter(|id| is_known(release, *id)).collect();
        // Modules of both kinds cannot be there at once: the newest card decides where they differ.
        let newest = known.iter().max()?;
        let open = *newest >= BLACKWELL || known.iter().all(|id| *id >= TURING);
        Some(Self { release, open })
    }

    /// Packages: kernel, modules, programs.
    pub fn packages(&self) -> Vec<&'static str> {
        let Release { kernel, programs, closed, open, .. } = self.release;
        [kernel, &[if self.open { *open } else { *closed }][..], programs].concat()
    }

    /// Parts of the archive that they come from, beside `main`.
    pub fn components(&self) -> &'static [&'static str] {
        self.release.components
    }
}

fn release(distribution: &str) -> &'static Release {
    let [debian, ..] = &RELEASES;
    RELEASES.iter().find(|release| release.distribution == distribution).unwrap_or(debian)
}

fn is_known(release: &Release, device: u16) -> bool {
    (MAXWELL..release.end).contains(&device)
}

/// Device ids of NVIDIA's among "10de:20b2".
fn nvidias(cards: &[String]) -> Vec<u16> {
    let pairs = cards.iter().filter_map(|ids| ids.split_once(':'));
    pairs.filter(|(vendor, _)| *vendor == NVIDIA).filter_map(|(_, id)| u16::from_str_radix(id, 16).ok()).collect()
}

/// The driver that the answers ask for, with these cards ("10de:20b2") for instances.
pub fn wanted(config: &Config, distribution: &str, cards: &[String]) -> Option<Driver> {
    if !config.classroom.enabled || config.classroom.image.own().is_some() {
        return None;
    }
    match config.classroom.driver {
        CardDriver::None => None,
        CardDriver::Auto => Driver::of(distribution, &nvidias(cards)),
        // Cards may come later.
        CardDriver::Nvidia => {
            let devices = nvidias(cards);
            Driver::of(distribution, if devices.is_empty() { &[TURING] } else { &devices })
        }
    }
}

/// The finding about cards that the driver does not know.
pub const UNKNOWN: &str = "notebook-driver";

/// Cards that notebooks get without a driver, because the image's does not know them.
pub fn finding(config: &Config, distribution: &str, cards: &[String]) -> Option<Finding> {
    let answers = &config.classroom;
    if !answers.enabled || answers.image.own().is_some() || answers.driver == CardDriver::None {
        return None;
    }
    let devices = nvidias(cards);
    let (release, chosen) = (release(distribution), Driver::of(distribution, &devices));
    let served = |id: u16| is_known(release, id) && !chosen.is_some_and(|driver| driver.open && id < TURING);
    let unserved: Vec<String> = devices
        .iter()
        .filter(|id| !served(**id))
        .map(|id| format!("{NVIDIA}:{id:04x} ({})", generation(*id)))
        .collect();
    if unserved.is_empty() {
        return None;
    }
    let what = format!(
        "{CLASSROOM}: driver {} of {}, which is built into notebooks with cards, does not know {}",
        release.version,
        release.name,
        unserved.join(", ")
    );
    let next = "an image of your own with a driver that does (image below [classroom], docs/classroom.md); or \
                driver = \"none\", and install it by hand";
    Some(Finding::warn(UNKNOWN, what, next))
}

fn generation(id: u16) -> String {
    let begun = FIRST_IDS.iter().rfind(|(first, _)| id >= *first);
    begun.map_or_else(|| "older than Maxwell".into(), |(_, name)| format!("{name} or later"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::tests::sample;

    #[test]
    fn each_card_gets_the_modules_that_know_it() {
        let modules = |distribution: &str, ids: &[u16]| {
            Driver::of(distribution, ids).map(|driver| driver.packages()[driver.release.kernel.len()])
        };
        let (gtx_1080, v100, rtx_3090, h100, rtx_5090) = (0x1b80, 0x1db6, 0x2204, 0x2330, 0x2b85);
        assert_eq!(modules("debian", &[rtx_3090, h100]), Some("nvidia-open-kernel-dkms"));
        assert_eq!(modules("debian", &[rtx_3090, v100]), Some("nvidia-kernel-dkms"));
        assert_eq!(modules("debian", &[gtx_1080, rtx_5090]), Some("nvidia-kernel-dkms"));
        assert_eq!(modules("debian", &[rtx_5090]), None);
        assert_eq!(modules("ubuntu", &[gtx_1080]), Some("linux-modules-nvidia-580-server-generic"));
        assert_eq!(modules("ubuntu", &[gtx_1080, rtx_5090]), Some("linux-modules-nvidia-580-server-open-generic"));
        assert_eq!(modules("debian", &[0x0fc6]), None);
    }

    #[test]
    fn a_driver_is_built_in_where_a_card_of_nvidias_is_and_what_it_does_not_know_is_said() {
        let mut config = sample();
        config.classroom.enabled = true;
        let all = ["10de:2204", "1002:73bf"].map(str::to_owned);
        assert!(wanted(&config, "debian", &all).is_some());
        assert!(wanted(&config, "debian", &all[1..]).is_none());
        assert!(finding(&config, "debian", &all).is_none());
        let said = |distribution: &str, cards: &[&str]| {
            let cards: Vec<String> = cards.iter().map(|card| (*card).to_owned()).collect();
            finding(&config, distribution, &cards).map(|found| found.what)
        };
        let unknown = said("debian", &["10de:2b85"]).unwrap();
        assert!(
            unknown.contains("550 of Debian 13") && unknown.contains("10de:2b85 (Blackwell or later)"),
            "{unknown}"
        );
        let torn = said("ubuntu", &["10de:1b80", "10de:2b85"]).unwrap();
        assert!(torn.ends_with("does not know 10de:1b80 (Maxwell or later)"), "{torn}");
        config.classroom.driver = CardDriver::Nvidia;
        assert!(wanted(&config, "debian", &[]).is_some(), "cards may come later");
        config.classroom.driver = CardDriver::None;
        assert!(wanted(&config, "debian", &all).is_none());
        config.classroom.driver = CardDriver::Auto;
        config.classroom.image = "mine".parse().unwrap();
        assert!(wanted(&config, "debian", &all).is_none());
    }
}
