//! A machine from a description in `tests/fixtures/machines`, as the tree of files that the kernel would show.

use crate::host::Host;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

/// What a description says.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Machine {
    /// `vendor_id` of the processor.
    pub processor: String,
    /// Whether it is virtual itself.
    pub hypervisor: bool,
    /// The firmware's table of the IOMMU.
    pub table: Option<String>,
    /// The kernel's command line.
    pub arguments: String,
    /// Mount points, by block device.
    pub mounts: BTreeMap<String, String>,
    /// What block devices are made of.
    pub stacks: BTreeMap<String, Vec<String>>,
    /// The link with the default route.
    pub uplink: Option<String>,
    /// Links that only a route of their own network goes by.
    pub routed: Vec<String>,
    /// What links are made of.
    pub links: BTreeMap<String, Vec<String>>,
    /// Where the firmware's screen lies.
    pub framebuffer: Option<String>,
    /// Whether Xen runs below.
    pub xen: bool,
    /// Whether groups keep nothing apart (VFIO's unsafe mode).
    pub unsafe_groups: bool,
    /// Programs that have a card open.
    pub users: BTreeMap<String, String>,
    /// Ids that count as cards.
    pub also: Vec<String>,
    /// What stands on the bus.
    pub function: Vec<Function>,
    /// The verdict of each card.
    pub expect: BTreeMap<String, String>,
}

/// A function on the bus.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Function {
    /// "01:00.0".
    pub at: String,
    /// The bridge that it is behind.
    pub under: Option<String>,
    /// "10de:2204".
    pub ids: String,
    /// "0300".
    pub class: String,
    /// Its IOMMU group.
    pub group: Option<u32>,
    /// Who holds it.
    pub driver: Option<String>,
    /// Whether it has the console.
    pub console: bool,
    /// Virtual functions that it can have.
    pub sriov: Option<u32>,
    /// The physical function of which it is one.
    pub of: Option<String>,
    /// Its memory: first byte, and MiB.
    pub memory: Option<(u64, u64)>,
    /// How many slices of it are made.
    pub slices: usize,
    /// Whether it answers nothing.
    pub silent: bool,
    /// Whether the kernel found no place for its memory.
    pub unplaced: bool,
    /// The terminal that it has, on which the kernel has its console.
    pub terminal: Option<String>,
    /// The disk that it has.
    pub disk: Option<String>,
    /// The link that it has.
    pub link: Option<String>,
}

impl Machine {
    /// Reads a description.
    pub fn load(path: &Path) -> Self {
        toml::from_str(&fs::read_to_string(path).unwrap()).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
    }

    /// Writes its tree below `root`.
    pub fn write(&self, root: &Path) -> Host {
        let put = |path: &str, text: &str| {
            let path = root.join(path.trim_start_matches('/'));
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        let flags = if self.hypervisor { "fpu hypervisor" } else { "fpu vmx" };
        put("proc/cpuinfo", &format!("processor\t: 0\nvendor_id\t: {}\nflags\t\t: {flags}\n\n", self.processor));
        put("proc/cmdline", &format!("{}\n", self.arguments));
        if let Some(table) = &self.table {
            put(&format!("sys/firmware/acpi/tables/{table}"), "");
        }
        if self.xen {
            put("sys/hypervisor/type", "xen\n");
        }
        self.functions(root);
        self.disks(root, &put);
        self.network(root, &put);
        if let Some(range) = &self.framebuffer {
            put("proc/iomem", &format!("00000000-ffffffff : PCI Bus 0000:00\n  {range} : BOOTFB\n"));
        }
        let users: Vec<_> = self
            .users
            .iter()
            .map(|(at, name)| serde_json::json!({"address": address(at), "name": name, "pid": 100}))
            .collect();
        put("run/gpucloud/card-users.json", &serde_json::json!(users).to_string());
        Host::at(root)
    }

    fn path_of(&self, at: &str) -> PathBuf {
        let function = self.function.iter().find(|one| one.at == at).unwrap_or_else(|| panic!("no function {at}"));
        let above = match &function.under {
            Some(bridge) => self.path_of(bridge),
            None => PathBuf::from("devices/pci0000:00"),
        };
        above.join(address(at))
    }

    fn functions(&self, root: &Path) {
        let sys = root.join("sys");
        fs::create_dir_all(sys.join("bus/pci/devices")).unwrap();
        for function in &self.function {
            let (at, dir) = (address(&function.at), self.path_of(&function.at));
            let real = sys.join(&dir);
            fs::create_dir_all(&real).unwrap();
            symlink(Path::new("../../..").join(&dir), sys.join("bus/pci/devices").join(&at)).unwrap();
            let driver = function.driver.as_ref().map(|name| format!("DRIVER={name}\n")).unwrap_or_default();
            let (class, ids) = (&function.class, function.ids.to_uppercase());
            let class = class.trim_start_matches('0');
            let text = format!("{driver}PCI_CLASS={class}00\nPCI_ID={ids}\nPCI_SUBSYS_ID={ids}\nPCI_SLOT_NAME={at}\n");
            fs::write(real.join("uevent"), text).unwrap();
            if let Some(group) = function.group {
                let members = sys.join(format!("kernel/iommu_groups/{group}/devices"));
                fs::create_dir_all(&members).unwrap();
                symlink(format!("../../../../{}", dir.display()), members.join(&at)).unwrap();
                symlink(format!("/sys/kernel/iommu_groups/{group}"), real.join("iommu_group")).unwrap();
                if self.unsafe_groups {
                    fs::write(sys.join(format!("kernel/iommu_groups/{group}/name")), "vfio-noiommu\n").unwrap();
                }
            }
            if function.class.starts_with("03") {
                fs::write(real.join("boot_vga"), format!("{}\n", u8::from(function.console))).unwrap();
            }
            if let Some(count) = function.sriov {
                fs::write(real.join("sriov_totalvfs"), format!("{count}\n")).unwrap();
            }
            if let Some(of) = &function.of {
                symlink(format!("../{}", address(of)), real.join("physfn")).unwrap();
            }
            for n in 0..function.slices {
                fs::create_dir(real.join(format!("1b0bd9ab-4f0c-4f5e-9f6c-{n:012}"))).unwrap();
            }
            if function.silent {
                fs::write(real.join("config"), [0xff; 64]).unwrap();
            }
            if function.unplaced {
                let mut header = [0; 64];
                header[0x14] = 0x0c;
                fs::write(real.join("config"), header).unwrap();
                fs::write(
                    real.join("resource"),
                    "0x0000000000000000 0x0000000000000000 0x0000000000000000\n".repeat(6),
                )
                .unwrap();
            }
            if let Some(terminal) = &function.terminal {
                let tty = sys.join("class/tty");
                fs::create_dir_all(tty.join("console")).unwrap();
                fs::write(tty.join("console/active"), format!("tty0 {terminal}\n")).unwrap();
                let port = dir.join(format!("{at}:0/{at}:0.0/tty")).join(terminal);
                fs::create_dir_all(sys.join(&port)).unwrap();
                symlink(Path::new("../..").join(&port), tty.join(terminal)).unwrap();
            }
            if let Some((begins, mib)) = function.memory {
                let last = begins + (mib << 20) - 1;
                fs::write(real.join("resource"), format!("{begins:#018x} {last:#018x} 0x000000000014220c\n")).unwrap();
            }
        }
    }

    fn disks(&self, root: &Path, put: &dyn Fn(&str, &str)) {
        let sys = root.join("sys");
        for dir in ["class/block", "dev/block", "class/net"] {
            fs::create_dir_all(sys.join(dir)).unwrap();
        }
        let mut mounts = String::new();
        let mut names: Vec<&String> = self.mounts.keys().chain(self.stacks.keys()).collect();
        names.extend(self.stacks.values().flatten());
        names.extend(self.function.iter().filter_map(|one| one.disk.as_ref()));
        names.sort();
        names.dedup();
        for (number, name) in names.iter().enumerate() {
            let owner = self.function.iter().find(|one| {
                one.disk.as_ref().is_some_and(|disk| name.strip_prefix(disk.as_str()).is_some_and(is_partition))
            });
            let dir = match owner {
                Some(owner) => {
                    let disk = self.path_of(&owner.at).join("block").join(owner.disk.as_ref().unwrap());
                    if *name == owner.disk.as_ref().unwrap() { disk } else { disk.join(name) }
                }
                None => PathBuf::from("devices/virtual/block").join(name),
            };
            fs::create_dir_all(sys.join(&dir)).unwrap();
            symlink(Path::new("../..").join(&dir), sys.join("class/block").join(name)).unwrap();
            symlink(Path::new("../..").join(&dir), sys.join(format!("dev/block/8:{number}"))).unwrap();
            if owner.is_some_and(|owner| owner.disk.as_ref() != Some(*name)) {
                fs::write(sys.join(&dir).join("partition"), "1\n").unwrap();
            }
            for below in self.stacks.get(*name).into_iter().flatten() {
                fs::create_dir_all(sys.join(&dir).join("slaves")).unwrap();
                symlink("x", sys.join(&dir).join("slaves").join(below)).unwrap();
            }
            if let Some(point) = self.mounts.get(*name) {
                mounts.push_str(&format!("1 0 8:{number} / {point} rw - ext4 /dev/{name} rw\n"));
            }
        }
        put("proc/self/mountinfo", &mounts);
    }

    fn network(&self, root: &Path, put: &dyn Fn(&str, &str)) {
        let sys = root.join("sys");
        for function in &self.function {
            if let Some(link) = &function.link {
                let dir = self.path_of(&function.at).join("net").join(link);
                fs::create_dir_all(sys.join(&dir)).unwrap();
                symlink(Path::new("../..").join(&dir), sys.join("class/net").join(link)).unwrap();
            }
        }
        for (link, below) in &self.links {
            let dir = Path::new("devices/virtual/net").join(link);
            fs::create_dir_all(sys.join(&dir)).unwrap();
            symlink(Path::new("../..").join(&dir), sys.join("class/net").join(link)).unwrap();
            for one in below {
                symlink("x", sys.join(&dir).join(format!("lower_{one}"))).unwrap();
            }
        }
        let head = "Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\tMTU\tWindow\tIRTT\n";
        let out =
            self.uplink.iter().map(|link| format!("{link}\t00000000\t010200C0\t0003\t0\t0\t0\t00000000\t0\t0\t0\n"));
        let own =
            self.routed.iter().map(|link| format!("{link}\t0000A8C0\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0\n"));
        put("proc/net/route", &format!("{head}{}", out.chain(own).collect::<String>()));
    }
}

/// Nothing, or what the name of a partition has behind its disk's.
fn is_partition(rest: &str) -> bool {
    rest.trim_start_matches('p').bytes().all(|byte| byte.is_ascii_digit())
}

/// With its domain.
pub fn address(at: &str) -> String {
    if at.matches(':').count() == 2 { at.to_owned() } else { format!("0000:{at}") }
}
