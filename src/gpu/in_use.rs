//! Who uses a card now, and how that ends: by a kind of user a next step. Pure, as `verdict.rs` is.

use super::Card;
use super::verdict::{Found, Scene};
use crate::facts::card_users::User;
use std::collections::BTreeSet;

/// Programs of a desktop: they hold a card as long as somebody can log in with one.
const DESKTOP: &[&str] =
    &["Xorg", "Xwayland", "gdm3", "gdm-x-session", "gnome-shell", "sddm", "lightdm", "kwin_wayland", "systemd-logind"];
/// Sound servers: sessions start them anew as often as they are ended. They have the sound functions of cards open, which
/// drivers let go at the boot that binds them, and nobody misses.
const SOUND: &[&str] = &["pipewire", "pipewire-pulse", "wireplumber", "pulseaudio", "pipewire-media-session"];

/// Whether a user is known here by its name, which then says nothing of anybody.
pub fn is_known(user: &User) -> bool {
    let name = user.name.as_str();
    name.starts_with("instance-") || name.starts_with("nvidia-") || DESKTOP.contains(&name) || SOUND.contains(&name)
}

impl Scene {
    pub(super) fn in_use(&self, card: &Card, companions: &[String]) -> Option<Found> {
        if card.details.slices > 0 {
            let reason = format!("{} slices of it (vGPU) are made, which guests may have", card.details.slices);
            let next = format!(
                "remove them: ls /sys/bus/mdev/devices; echo 1 > /sys/bus/pci/devices/{}/UUID/remove",
                card.function.address
            );
            return Some((reason, next));
        }
        if let Some(found) = self.users_of(card, companions) {
            return Some(found);
        }
        let others = self.others_of_its_board(card);
        let used = others.iter().find_map(|other| Some((other, self.users_of(other, &[])?)));
        used.map(|(other, (reason, next))| {
            (format!("its board (HGX) goes whole or not at all, and of {} {reason}", other.function.address), next)
        })
    }

    fn users_of(&self, card: &Card, companions: &[String]) -> Option<Found> {
        // What is made of it goes with it.
        let virtual_ones = self.virtual_functions.iter().filter(|(_, of)| *of == card.function.address);
        let own = std::iter::once(&card.function.address).chain(companions).chain(virtual_ones.map(|(one, _)| one));
        let addresses: BTreeSet<&String> = own.collect();
        let is_sound = |user: &User| user.address != card.function.address && SOUND.contains(&user.name.as_str());
        let uses = |user: &&User| addresses.contains(&user.address) && !is_sound(user);
        let users: Vec<&User> = self.users.iter().filter(uses).collect();
        let first = users.first()?;
        let mut names: Vec<String> = users.iter().map(|user| format!("{} ({})", user.name, user.pid)).collect();
        names.dedup();
        let verb = if names.len() == 1 { "has" } else { "have" };
        Some((format!("{} {verb} it open", names.join(", ")), how_it_ends(first)))
    }
}

fn how_it_ends(user: &User) -> String {
    let name = user.name.as_str();
    match (name, &user.service) {
        _ if name.starts_with("instance-") => "gpucloud-install instance list; delete the one that has it".into(),
        _ if user.is_guest => format!("virsh shutdown {name}"),
        ("nvidia-persistenced", _) => "systemctl disable --now nvidia-persistenced".into(),
        _ if DESKTOP.contains(&name) => "systemctl set-default multi-user.target; reboot (the desktop holds it)".into(),
        (_, Some(service)) => format!("systemctl disable --now {service}"),
        (_, None) => format!("end it: kill {}", user.pid),
    }
}
