//! An installation: answers, facts, secrets, engine and journal together. Every command that plans, looks or undoes
//! begins here; [`Installation::load_applied`] gives `None` where no apply was ever complete.
//!
//! [`PARTS`] is the one place where the steps of the rooms meet: a room that changes the machine beside the engine
//! gives its steps there, and what it needs in the services' configuration in [`Installation::new`].

use crate::action::directory::Directory;
use crate::action::{ActionId, Undo};
use crate::checks::{self, Administrator, Asked, CloudPort, Seen, Subject};
use crate::classroom::steps::ClassroomInput;
use crate::classroom::{self, Classroom, driver};
use crate::cloud::{PROBE_LIMIT, SharedSession, resource_action};
use crate::config::Config;
use crate::config::answers::changed_fixed;
use crate::config::network::Access;
use crate::config::secrets::{Secret, Secrets};
use crate::config::values::UserName;
use crate::ending::Ending;
use crate::engine::ask::{self, CACHE_PORT};
use crate::engine::devstack::stack::brought;
use crate::engine::probe::Prober;
use crate::engine::settings::Setting;
use crate::engine::{self, Engine, EngineInput, base, pace};
use crate::facts::Facts;
use crate::facts::disk::{self, Disk};
use crate::facts::listeners::{self, Listener};
use crate::facts::reach::{self, ToDownload};
use crate::failure::Failure;
use crate::finding::Finding;
use crate::gpu::claim::Capacity;
use crate::gpu::health::Admin;
use crate::gpu::{self, CardPlan};
use crate::host::{Host, accounts, files, sql, systemd, users};
use crate::network::consent::Confirmation;
use crate::network::live::Ownership;
use crate::network::{self, state::NetworkState};
use crate::paths;
use crate::plan::journal::{self, ActionState, Journal};
use crate::plan::{Plan, Step};
use crate::resources::{self, keys, known_images, named_files};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::path::Path;
use std::sync::{Arc, OnceLock};

/// Answers, facts, secrets, engine.
pub struct Installation {
    /// The machine; masks the secrets.
    pub host: Host,
    /// The answers.
    pub config: Config,
    /// What the machine is.
    pub facts: Facts,
    /// The secrets, made in memory where they are not on the disk yet.
    pub secrets: Secrets,
    /// The engine.
    pub engine: Box<dyn Engine>,
    /// The administrator of the cloud, where the password is known; logs in when it is needed first.
    pub admin: Option<SharedSession>,
    /// Whether what users have may be destroyed; only told by name.
    pub may_lose: bool,
    /// Cards that a person claimed just now, by address: what was claimed there before is forgotten.
    pub renewed_claims: Vec<String>,
    /// What is done about the cards, once that was asked for: it reads the bus, and who uses what.
    pub cards: OnceLock<CardPlan>,
    /// What the rooms need in the services' configuration, once that was asked for.
    pub settings: OnceLock<Vec<Setting>>,
}

/// The unit of the database; where MySQL is installed instead, its name leads there or nowhere.
const DATABASE: &str = "mariadb.service";

/// A room's part of the plan.
type Part = fn(&Installation) -> Result<Vec<Step>, Failure>;

/// The parts, in their order. One that the cloud is not complete without stands before the last step, and its last
/// step among those that the last one waits for. Resources stand behind all else: an image that cannot be downloaded
/// leaves a complete cloud.
const PARTS: [Part; 8] = [
    Installation::cloud_steps,
    Installation::gpu_part,
    Installation::network_part,
    Installation::last_step,
    Installation::gpu_part_behind,
    Installation::gpu_offer,
    Installation::resource_steps,
    Installation::classroom_steps,
];

impl Installation {
    /// From the answers in `path`.
    ///
    /// # Errors
    /// No or wrong answers (2), not root (3), a look at the machine that failed.
    pub fn load(host: &Host, path: &Path) -> Result<Self, Failure> {
        require_root(host)?;
        Self::new(host, Config::load(host, path)?)
    }

    /// From the answers of the last complete apply, if there was one.
    pub fn load_applied(host: &Host) -> Result<Option<Self>, Failure> {
        require_root(host)?;
        Config::load_applied(host)?.map(|config| Self::new(host, config)).transpose()
    }

    /// From these answers.
    pub fn new(host: &Host, config: Config) -> Result<Self, Failure> {
        let engine = engine::engine(config.engine);
        let secrets = Secrets::load(host, engine.secrets())?;
        let host = host.masking(secrets.values());
        let facts = Facts::gather(&host)?;
        let admin = engine.login(&config, &secrets).map(SharedSession::new);
        let host = host.paced(config.host.pace);
        let (cards, settings) = (OnceLock::new(), OnceLock::new());
        let (may_lose, renewed_claims) = (false, Vec::new());
        Ok(Self { host, config, facts, secrets, engine, admin, may_lose, renewed_claims, cards, settings })
    }

    /// The journal, to be read only.
    pub fn journal(&self) -> Result<Journal, Failure> {
        Ok(Journal::read(&self.host, journal::DIRECTORY)?)
    }

    /// What `apply` would do.
    pub fn plan(&self, journal: &Journal) -> Result<Plan, Failure> {
        self.refuse_changed_fixed()?;
        let mut steps = Vec::new();
        for part in PARTS {
            steps.extend(part(self)?);
        }
        let mut plan = Plan::make(steps, &self.host, journal)?;
        let goes_on = ActionId::new("file", paths::GOES_ON);
        plan.let_go_first(|id| gpu::steps::owns(id) || *id == goes_on);
        Ok(plan)
    }

    fn gpu_part(&self) -> Result<Vec<Step>, Failure> {
        self.gpu_steps(false, base::STEP)
    }

    /// The same behind all of the cloud, where a card goes back to its driver: Nova has forgotten it by then.
    fn gpu_part_behind(&self) -> Result<Vec<Step>, Failure> {
        self.gpu_steps(true, base::LAST)
    }

    /// The claims' steps behind the step `after`, if whether one goes back is `gives_back`.
    fn gpu_steps(&self, gives_back: bool, after: &str) -> Result<Vec<Step>, Failure> {
        let cards = self.cards()?;
        if cards.gives_back != gives_back {
            return Ok(Vec::new());
        }
        Ok(gpu::steps::steps(&self.host, &cards.claims, &[after], self.standing_admin())?)
    }

    /// Flavors with cards, and whether the cloud counts the cards.
    fn gpu_offer(&self) -> Result<Vec<Step>, Failure> {
        let cards = self.cards()?;
        let Some(admin) = self.admin.clone() else { return Ok(Vec::new()) };
        let mut flavors = gpu::flavors::computed(&cards.claims);
        // One that is declared is as it is declared.
        flavors.retain(|one| self.config.resources.flavors.iter().all(|own| own.name.as_str() != one.name));
        Ok(gpu::offer::steps(&gpu::offer::OfferInput {
            flavors,
            offered: &cards.for_nova.offered,
            admin,
            entrance: self.engine.entrance(),
            after: base::LAST,
        }))
    }

    /// What stands in the way of what the answers ask for of the cards. Of a cloud that stands, nobody's card goes.
    pub fn card_findings(&self) -> Result<Vec<Finding>, Failure> {
        Ok(gpu::steps::findings(&self.host, self.cards()?, self.standing_admin())?)
    }

    /// The same of cards that are given back alone.
    pub fn release_findings(&self) -> Result<Vec<Finding>, Failure> {
        let plan = CardPlan { refused: Vec::new(), ..self.cards()?.clone() };
        Ok(gpu::steps::findings(&self.host, &plan, self.standing_admin())?)
    }

    /// Who asks the cloud about cards, where one stands here.
    fn standing_admin(&self) -> Option<Admin<'_>> {
        self.cloud_admin().filter(|_| self.host.is_live() && files::exists(&self.host, paths::APPLIED))
    }

    /// Who asks the cloud about cards.
    pub fn cloud_admin(&self) -> Option<Admin<'_>> {
        self.admin.as_ref().map(|admin| (admin, self.engine.entrance().admin))
    }

    /// What the answers ask for of the cards.
    pub fn cards(&self) -> Result<&CardPlan, Failure> {
        if let Some(known) = self.cards.get() {
            return Ok(known);
        }
        let made = CardPlan::make(&self.host, &self.config.gpu, &self.renewed_claims, self.capacity())?;
        Ok(self.cards.get_or_init(|| made))
    }

    fn capacity(&self) -> Capacity {
        let hardware = &self.facts.hardware;
        Capacity {
            processors: hardware.processors.try_into().unwrap_or(u32::MAX),
            memory_mib: hardware.memory >> 20,
            disk_gib: self.facts.storage.data.size >> 30,
        }
    }

    /// What the rooms need in the services' configuration.
    fn settings(&self) -> Result<&[Setting], Failure> {
        if let Some(known) = self.settings.get() {
            return Ok(known);
        }
        let (cards, pace) = (self.cards()?, self.config.host.pace);
        let of_cards = gpu::nova::settings(&cards.claims, &cards.for_nova, cards.had_cards);
        let made = [network::settings(&self.config), pace::settings(pace), of_cards].concat();
        Ok(self.settings.get_or_init(|| made))
    }

    /// The GPU's part of the plan alone, on a machine without a cloud: with this program, which a unit runs at boot.
    pub fn gpu_plan(&self, journal: &Journal) -> Result<Plan, Failure> {
        let mut steps = gpu::steps::steps(&self.host, &self.cards()?.claims, &[base::PROGRAM_STEP], None)?;
        if !steps.is_empty() {
            let first = base::program_step()?.with(Directory::new("/etc/gpucloud").shared());
            steps.insert(0, first.with(Directory::new(paths::STAMPS)));
        }
        let mut plan = Plan::make(steps, &self.host, journal)?;
        // What belongs to the rest of the cloud is wanted, although it is not in this plan.
        plan.orphans.retain(|orphan| gpu::steps::owns(&orphan.id));
        Ok(plan)
    }

    fn cloud_steps(&self) -> Result<Vec<Step>, Failure> {
        self.engine.steps(&self.order()?)
    }

    fn network_part(&self) -> Result<Vec<Step>, Failure> {
        self.network_steps(&[self.engine.bridge_step()], Confirmation::Witnesses)
    }

    fn last_step(&self) -> Result<Vec<Step>, Failure> {
        Ok(vec![self.engine.finish(&self.order()?, &[network::steps::LAST])?])
    }

    /// What the cloud has from the beginning.
    fn resource_steps(&self) -> Result<Vec<Step>, Failure> {
        let entrance = self.engine.entrance();
        let password = self.secrets.get(entrance.user_secret).cloned();
        let (Some(admin), Some(password)) = (self.admin.clone(), password) else { return Ok(Vec::new()) };
        resources::steps::steps(&resources::steps::ResourceInput {
            host: &self.host,
            config: &self.config,
            facts: &self.facts,
            admin,
            password,
            entrance,
            volumes: self.engine.has_volumes(&self.config),
            after: engine::base::LAST,
        })
    }

    /// Notebooks.
    fn classroom_steps(&self) -> Result<Vec<Step>, Failure> {
        let Some((admin, password)) = self.classroom_login() else { return Ok(Vec::new()) };
        let claims = &self.cards()?.claims;
        let has_card_flavors = !gpu::flavors::computed(claims).is_empty();
        classroom::steps::steps(&ClassroomInput {
            config: &self.config,
            distribution: &self.facts.os.id,
            cards: &claims.ids(),
            admin: admin.clone(),
            password,
            entrance: self.engine.entrance(),
            card_flavors: has_card_flavors.then_some(gpu::offer::FLAVORS_STEP),
            after: base::LAST,
            external: resources::steps::EXTERNAL_STEP,
            prober: Arc::new(self.prober()),
        })
    }

    /// Who asks the cloud about notebooks; none where it has none.
    ///
    /// # Errors
    /// It cannot be read which cards are claimed.
    pub fn classroom(&self) -> Result<Option<Classroom>, Failure> {
        let login = self.classroom_login().filter(|_| self.config.classroom.enabled);
        let Some((admin, password)) = login else { return Ok(None) };
        let cards = gpu::claim::noted(&self.host)?.ids();
        Ok(Some(classroom::steps::classroom(&self.config, (&self.facts.os.id, &cards), admin, &password)))
    }

    fn classroom_login(&self) -> Option<(&SharedSession, Secret)> {
        Some((self.admin.as_ref()?, self.secrets.get(classroom::CLASSROOM)?.clone()))
    }

    /// The network's part of the plan; its state waits for the steps `after`.
    pub fn network_steps(&self, after: &[&str], confirmation: Confirmation) -> Result<Vec<Step>, Failure> {
        let services = self.engine.services(&self.config);
        network::steps::steps(&self.input(), &services, after, self.ownership()?, confirmation)
    }

    /// What of the network is ours to change.
    pub fn ownership(&self) -> Result<Ownership, Failure> {
        let mut owned = Ownership::of(&self.config, Config::load_applied(&self.host)?.as_ref());
        owned.extend_by(&self.journal()?);
        Ok(owned)
    }

    /// What of the network's part the answers decide, without the units that keep it.
    pub fn network_state_steps(&self, confirmation: Confirmation) -> Result<Vec<Step>, Failure> {
        let services = self.engine.services(&self.config);
        network::steps::of_state(&self.input(), &services, self.ownership()?, confirmation)
    }

    /// The state of the network that the answers ask for.
    pub fn network_state(&self) -> NetworkState {
        network::desired(&self.config, &self.engine.services(&self.config), self.facts.os.datapath())
    }

    /// What asks the probes of the service table.
    pub fn prober(&self) -> Prober {
        self.engine.prober(&self.input())
    }

    /// What the engine works from, but for the settings.
    fn input(&self) -> EngineInput<'_> {
        EngineInput {
            host: &self.host,
            config: &self.config,
            facts: &self.facts,
            secrets: &self.secrets,
            admin: self.admin.as_ref(),
            settings: &[],
            may_lose: self.may_lose,
        }
    }

    fn order(&self) -> Result<EngineInput<'_>, Failure> {
        Ok(EngineInput { settings: self.settings()?, ..self.input() })
    }

    /// A fixed answer that was changed stops everything.
    pub fn refuse_changed_fixed(&self) -> Result<(), Failure> {
        let Some(applied) = Config::load_applied(&self.host)? else { return Ok(()) };
        let Some(change) = changed_fixed(&applied, &self.config).into_iter().next() else { return Ok(()) };
        let what =
            format!("{} is fixed once installed, but was changed from {} to {}", change.key, change.was, change.now);
        let next = "put it back; or uninstall first, and lose the cloud";
        Err(Failure::new(what, change.lost, next).with(Ending::Refused))
    }

    /// What is looked at on the wire: whether what will be downloaded can be reached, and who is on the LAN; takes its
    /// time.
    pub fn wire_findings(&self) -> Vec<Finding> {
        let mut seen = Seen { taken: self.taken_addresses(), ..self.seen() };
        if self.host.is_live() {
            seen.servers = reach::probe(&self.host, &self.downloads()).into();
        }
        checks::of_the_wire(&self.subject(&[], &seen))
    }

    /// What the answers want downloaded, and is not here yet.
    fn downloads(&self) -> Vec<ToDownload> {
        let home = resources::keys::home(&self.config.host.administrators);
        let mut wanted = known_images::downloads(&self.host, &self.config.resources.images, &home);
        wanted.extend(self.engine.downloads(&self.host, &self.config));
        wanted
    }

    /// What can be said at once: machine, network, engine.
    pub fn findings(&self, journal: &Journal) -> Result<Vec<Finding>, Failure> {
        let our_packages = packages_of(&self.host, journal)?;
        let mut seen = self.seen();
        self.look_at_services(journal, &mut seen);
        seen.administrators = self.administrators().into();
        seen.volume_disk = self.volume_disk(journal);
        if journal.is_empty() && !self.facts.software.ours.applied {
            let ports = seen.ports.iter().map(|port| port.port).collect();
            seen.on_cloud_ports = self.listeners(&ports);
        }
        let made = |kind, name: &str| {
            journal.entry(&resource_action::id(kind, name)).is_some_and(|entry| entry.state == ActionState::Done)
        };
        if self.host.is_live() {
            seen.wrong_files = named_files::wrong(&self.host, &self.config, made);
        }
        let mut findings = checks::run(&self.subject(&our_packages, &seen));
        findings.extend(self.engine.suits(&self.facts));
        findings.extend(self.card_findings()?);
        findings.extend(classroom::findings(&self.host, &self.config)?);
        findings.extend(driver::finding(&self.config, &self.facts.os.id, &self.cards()?.claims.ids()));
        Ok(findings)
    }

    /// The disk that the answers give to volumes, as long as it was not begun.
    fn volume_disk(&self, journal: &Journal) -> Asked<Option<Disk>> {
        let volumes = &self.config.volumes;
        let path = volumes.device.path().filter(|_| volumes.are_wanted() && self.host.is_live());
        match path {
            Some(path) if journal.entry(&engine::native::lvm::id()).is_none() => disk::look(&self.host, path).into(),
            _ => Asked::NotNeeded,
        }
    }

    /// What the checks of these ids say, and no others are asked.
    pub fn findings_of(&self, ids: &[&str]) -> Vec<Finding> {
        checks::of(&self.subject(&[], &Seen::default()), ids)
    }

    /// The database and the cache that are here and will be used. Where they stop the installation anyway, they are not
    /// asked.
    fn look_at_services(&self, journal: &Journal, seen: &mut Seen) {
        let begun = !journal.is_empty() || self.facts.software.ours.applied;
        if !self.host.is_live() || !(begun || self.config.host.share_services) {
            return;
        }
        let has = |names: &[&str]| self.facts.software.shared.iter().any(|(name, _)| names.contains(&name.as_str()));
        let unit = |name: &str| systemd::unit(&self.host, name).map(|status| status.active).unwrap_or_default();
        if has(&["mariadb-server", "mysql-server"]) || files::exists(&self.host, sql::DEFAULT_SOCKET) {
            seen.database = Asked::Told(checks::Database { unit: unit(DATABASE), look: sql::look(PROBE_LIMIT) });
        }
        if has(&["memcached"]) && !begun && unit("memcached.service") == "active" {
            seen.cache = Asked::Told(ask::cache(CACHE_PORT).err());
        }
    }

    /// The accounts of the administrators; the first one's home is where keys are made.
    fn administrators(&self) -> Result<Vec<Administrator>, Failure> {
        if !self.host.is_live() {
            return Ok(Vec::new());
        }
        let keys = &self.config.resources.key_pairs;
        let obstacle = keys::obstacle(&self.host, keys, &keys::home(&self.config.host.administrators));
        let mut obstacles = std::iter::once(obstacle).chain(std::iter::repeat(None));
        let look = |name: &UserName| {
            let name = name.to_string();
            Ok(Administrator {
                is_known: accounts::find_user(&name)?.is_some(),
                is_member: users::is_member(&name, base::ADMIN_GROUP)?,
                obstacle: obstacles.next().flatten(),
                name,
            })
        };
        self.config.host.administrators.iter().map(look).collect()
    }

    /// What can be said of the network alone; takes its time where addresses are asked for on the wire.
    pub fn network_findings(&self) -> Vec<Finding> {
        let seen = Seen { taken: self.taken_addresses(), ..self.seen() };
        checks::of_network(&self.subject(&[], &seen))
    }

    fn subject<'a>(&'a self, our_packages: &'a [String], seen: &'a Seen) -> Subject<'a> {
        Subject { facts: &self.facts, config: &self.config, our_packages, seen }
    }

    /// What every check may want to know of this cloud.
    fn seen(&self) -> Seen {
        let services = self.engine.services(&self.config);
        let open = network::rules::open_ports(&services);
        let mut ports = Vec::new();
        for service in &services {
            ports.extend(service.listens.iter().map(|listen| CloudPort {
                port: listen.port,
                service: service.id,
                unit: service.unit.clone(),
                open: open.contains_key(&listen.port),
            }));
        }
        let mapped = self.config.network.port_maps.iter().map(|map| map.port).collect();
        Seen {
            ports,
            has_volumes: self.engine.has_volumes(&self.config),
            on_mapped_ports: self.listeners(&mapped),
            ..Seen::default()
        }
    }

    fn listeners(&self, ports: &BTreeSet<u16>) -> Asked<Vec<Listener>> {
        if self.host.is_live() { listeners::on_ports(&self.host, ports).into() } else { Asked::NotNeeded }
    }

    /// With proxy ARP, machines of the LAN that have an address of the pool; not asked once this machine answers
    /// itself.
    fn taken_addresses(&self) -> Asked<BTreeMap<Ipv4Addr, String>> {
        let network = &self.config.network;
        let ours = self.facts.network.routes.iter().any(|r| r.net == network.range && r.interface == paths::BRIDGE);
        if network.access != Access::ProxyArp || ours || !self.host.is_live() {
            return Asked::NotNeeded;
        }
        network::probe::taken_addresses(self.config.host.interface.as_str(), network).into()
    }

    /// Ports of the cloud that are open beyond this machine, and to whom.
    pub fn open_ports(&self) -> Vec<OpenPort> {
        let network = &self.config.network;
        let mut open_to: Vec<String> = network.admin_networks.iter().map(ToString::to_string).collect();
        if network.is_routed_here() {
            open_to.extend([network.range.to_string(), network.tenant_range.to_string()]);
        }
        let ports = network::rules::open_ports(&self.engine.services(&self.config));
        let open = |(port, (service, purpose))| OpenPort { port, service, purpose, open_to: open_to.clone() };
        ports.into_iter().map(open).collect()
    }
}

/// A port of the cloud that others can reach.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct OpenPort {
    /// TCP port.
    pub port: u16,
    /// Whose it is: the id of a service.
    pub service: &'static str,
    /// What for.
    pub purpose: &'static str,
    /// Networks that may use it.
    pub open_to: Vec<String>,
}

/// Packages that runs of ours added.
pub fn packages_of(host: &Host, journal: &Journal) -> Result<Vec<String>, Failure> {
    let mut all = Vec::new();
    for (_, entry) in journal.entries() {
        match &entry.history.undo {
            Some(Undo::Packages { added, .. }) => all.extend(added.iter().cloned()),
            Some(Undo::Devstack(_)) => all.extend(brought(host)?),
            _ => {}
        }
    }
    Ok(all)
}

/// Changing, and most of looking, needs root on a running machine.
pub fn require_root(host: &Host) -> Result<(), Failure> {
    if accounts::is_root() || !host.is_live() {
        return Ok(());
    }
    let again: Vec<String> = std::env::args().skip(1).collect();
    let next = format!("sudo gpucloud-install {}", again.join(" "));
    Err(Failure::new("this needs root", "", next.trim_end()).with(Ending::Refused))
}
