//! Names of PCI devices, from the list that the distribution has (pci.ids(5)): packages pci.ids and hwdata put it in
//! either of two places.

use crate::host::{Host, Result, files};
use std::collections::{BTreeMap, BTreeSet};

const LISTS: [&str; 2] = ["/usr/share/misc/pci.ids", "/usr/share/hwdata/pci.ids"];

/// Names of the devices that were asked about.
#[derive(Debug, Clone, Default)]
pub struct Names {
    vendors: BTreeMap<String, String>,
    devices: BTreeMap<(String, String), String>,
}

impl Names {
    /// "NVIDIA Corporation GA102 [GeForce RTX 3090]", or the ids where the list does not have them.
    pub fn of(&self, vendor: &str, device: &str) -> String {
        let known = self.vendors.get(vendor);
        match (known, self.devices.get(&(vendor.to_owned(), device.to_owned()))) {
            (Some(vendor), Some(device)) => format!("{vendor} {device}"),
            (Some(vendor), None) => format!("{vendor} {device}"),
            (None, _) => format!("{vendor}:{device}"),
        }
    }
}

/// Looks up these pairs of vendor and device.
pub fn look_up<'a>(host: &Host, wanted: impl IntoIterator<Item = (&'a str, &'a str)>) -> Result<Names> {
    let wanted: BTreeSet<(&str, &str)> = wanted.into_iter().collect();
    for list in LISTS {
        if let Some(text) = files::read_text(host, list)? {
            return Ok(found_in(&text, &wanted));
        }
    }
    Ok(Names::default())
}

/// A vendor begins its line, its devices are indented once, boards twice; classes follow behind a "C".
fn found_in(text: &str, wanted: &BTreeSet<(&str, &str)>) -> Names {
    let (mut names, mut vendor) = (Names::default(), "");
    for line in text.lines() {
        if line.starts_with("C ") {
            break;
        }
        if line.starts_with('#') || line.starts_with("\t\t") {
            continue;
        }
        let Some((id, name)) = line.trim_start().split_once("  ") else { continue };
        if line.starts_with('\t') {
            if wanted.contains(&(vendor, id)) {
                names.devices.insert((vendor.to_owned(), id.to_owned()), name.to_owned());
            }
            continue;
        }
        vendor = id;
        if wanted.iter().any(|(wanted, _)| *wanted == id) {
            names.vendors.insert(id.to_owned(), name.to_owned());
        }
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_in_the_list_is_called_by_its_ids() {
        let text = "# list\n10de  NVIDIA Corporation\n\t2204  GA102 [GeForce RTX 3090]\n\t\t10de 147d  Board\n\
                    1234  Technical Corp.\nC 03  Display controller\n\t00  VGA\n";
        let names = found_in(text, &[("10de", "2204"), ("10de", "ffff"), ("1b36", "0010")].into());
        assert_eq!(names.of("10de", "2204"), "NVIDIA Corporation GA102 [GeForce RTX 3090]");
        assert_eq!(names.of("10de", "ffff"), "NVIDIA Corporation ffff");
        assert_eq!(names.of("1b36", "0010"), "1b36:0010");
    }
}
