//! A snapshot of the machine, for a look at all of it while nothing is changed: what systemd said once is not asked
//! again, and other rooms keep here what they heard meanwhile ([`Snapshot::memory`]).

use super::systemd::UnitStatus;
use std::any::{Any, TypeId};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

/// What is remembered as long as one look lasts.
#[derive(Debug, Default)]
pub struct Snapshot {
    units: HashMap<String, UnitStatus>,
    memories: Mutex<HashMap<TypeId, Arc<dyn Any + Send + Sync>>>,
}

impl Snapshot {
    /// One for which systemd has been asked about all of `units`.
    pub fn of_units(units: impl IntoIterator<Item = (String, UnitStatus)>) -> Self {
        Self { units: units.into_iter().collect(), memories: Mutex::default() }
    }

    /// What systemd said of a unit.
    pub fn unit(&self, unit: &str) -> Option<&UnitStatus> {
        self.units.get(unit)
    }

    /// What the room with the type `T` remembers; there is one of each type, and it goes with the snapshot.
    pub fn memory<T: Any + Default + Send + Sync>(&self) -> Arc<T> {
        let mut memories = self.memories.lock().unwrap_or_else(PoisonError::into_inner);
        let memory = memories.entry(TypeId::of::<T>()).or_insert_with(|| Arc::new(T::default())).clone();
        // The key says of which type it is.
        memory.downcast().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_room_has_one_memory() {
        let snapshot = Snapshot::default();
        *snapshot.memory::<Mutex<u32>>().lock().unwrap() = 7;
        assert_eq!(*snapshot.memory::<Mutex<u32>>().lock().unwrap(), 7);
        assert_eq!(*snapshot.memory::<Mutex<String>>().lock().unwrap(), "");
    }
}
