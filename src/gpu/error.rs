//! What goes wrong with cards, beyond what the hands themselves say.

use crate::host::RoomError;

/// What goes wrong with cards.
#[derive(Debug, thiserror::Error)]
pub enum GpuError {
    /// Nova was told of cards, and does not count them.
    #[error("Nova does not count {cards}, which it was told of, and did not within {seconds} s")]
    NotCounted {
        /// Their addresses.
        cards: String,
        /// How long it was given.
        seconds: u64,
    },
    /// An instance that was started anew runs without its card all the same.
    #[error("{name} was started anew, and has its card not again within {seconds} s")]
    NotGiven {
        /// The instance's.
        name: String,
        /// How long it was given.
        seconds: u64,
    },
    /// A card that should be tested is not there.
    #[error("nothing is at {card} any more")]
    Gone {
        /// Its address.
        card: String,
    },
    /// Somebody has a card that should be tested.
    #[error("{user} has {card} open")]
    InUse {
        /// Its address.
        card: String,
        /// Name of the program or instance.
        user: String,
    },
    /// A card that should be tested is not bound.
    #[error("{card} is not bound for instances")]
    NotBound {
        /// Its address.
        card: String,
    },
    /// The guest that looks at a card does not start, whatever the card.
    #[error("the guest that looks at cards does not start: {said}")]
    NoGuest {
        /// The emulator's last words.
        said: String,
    },
    /// There is no kernel for a guest.
    #[error("/boot has no kernel for a guest that looks at the card")]
    NoKernel,
}

impl RoomError for GpuError {
    fn next(&self) -> Option<String> {
        Some(match self {
            Self::Gone { .. } => "gpucloud-install gpu list shows what is there".into(),
            Self::InUse { .. } => "gpucloud-install gpu list says who; test it when it is free".into(),
            Self::NotBound { .. } => "gpucloud-install gpu list says what it waits for".into(),
            Self::NoGuest { .. } => "qemu-system-x86_64 --version; apt-get install --reinstall qemu-system-x86".into(),
            Self::NotGiven { .. } => {
                "journalctl -u gpucloud-nova-compute -u devstack@n-cpu -n 50; then: gpucloud-install recover".into()
            }
            Self::NoKernel => "install the distribution's kernel package; then again".into(),
            Self::NotCounted { .. } => {
                "journalctl -u gpucloud-nova-compute -u devstack@n-cpu --grep -i pci -n 30; then: gpucloud-install apply"
                    .into()
            }
        })
    }
}
