//! A step: actions that belong together, what they wait for, and what they must have for themselves.

use crate::action::{Action, Lifetime};

/// Names a step; stable, users see it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
#[serde(transparent)]
pub struct StepId(String);

impl StepId {
    /// A kebab-case name: "start-keystone".
    pub fn new(name: impl Into<String>) -> Self {
        Self(name.into())
    }
}

impl std::fmt::Display for StepId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

/// Something that only one step at a time may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Hold {
    /// dpkg's lock.
    Packages,
    /// The Open vSwitch database and daemons.
    OpenVSwitch,
}

/// Which machine of a cloud a step belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// Databases, queues, APIs.
    Control,
    /// Hypervisor and its network.
    Compute,
}

/// Actions that belong together, in their order, and what they wait for.
pub struct Step {
    /// Its name.
    pub id: StepId,
    /// What a person reads: "Install databases".
    pub title: String,
    /// Steps that must be done before.
    pub after: Vec<StepId>,
    /// What it must have for itself.
    pub holds: Vec<Hold>,
    /// Where it runs.
    pub role: Role,
    /// Whether it looks again at what has no lasting trace, whenever anything before it changes something.
    pub closing: bool,
    /// What it does.
    pub actions: Vec<Box<dyn Action>>,
}

impl Step {
    /// A step without predecessors.
    pub fn new(id: &str, title: &str) -> Self {
        Self {
            id: StepId::new(id),
            title: title.to_owned(),
            after: Vec::new(),
            holds: Vec::new(),
            role: Role::Control,
            closing: false,
            actions: Vec::new(),
        }
    }

    /// Waits for these steps.
    pub fn after(mut self, ids: &[&str]) -> Self {
        self.after.extend(ids.iter().map(|id| StepId::new(*id)));
        self
    }

    /// Must have this for itself.
    pub fn holding(mut self, hold: Hold) -> Self {
        self.holds.push(hold);
        self
    }

    /// Belongs to the hypervisor's side.
    pub fn on_compute(mut self) -> Self {
        self.role = Role::Compute;
        self
    }

    /// Tidies up and waits for health behind every change.
    pub fn closing(mut self) -> Self {
        self.closing = true;
        self
    }

    /// One more action.
    pub fn with(mut self, action: impl Action + 'static) -> Self {
        self.actions.push(Box::new(action));
        self
    }

    /// More actions.
    pub fn with_all(mut self, actions: impl IntoIterator<Item = Box<dyn Action>>) -> Self {
        self.actions.extend(actions);
        self
    }

    pub(super) fn lasts_only_for_the_run(&self) -> bool {
        !self.actions.is_empty() && self.actions.iter().all(|action| action.lifetime() == Lifetime::Run)
    }
}
