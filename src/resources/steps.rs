//! The declared resources as steps of a plan: each waits only for what it needs, so that all else goes on at once.

use super::error::ResourceError;
use super::fetch::Download;
use super::known_images::{self, Source};
use super::ssh::{Expected, Reachability};
use super::{file, guest, keys, named_files::told, ssh};
use crate::action::task::{self, Task};
use crate::action::{ActionId, Checked};
use crate::cloud::Session;
use crate::cloud::disk_image::{Format, Told};
use crate::cloud::resource::Resource;
use crate::cloud::resource::flavor::Flavor;
use crate::cloud::resource::floating_ip::FloatingIp;
use crate::cloud::resource::image::Image;
use crate::cloud::resource::key_pair::KeyPair;
use crate::cloud::resource::network::{External, Network};
use crate::cloud::resource::port::Port;
use crate::cloud::resource::project::Project;
use crate::cloud::resource::quota::Quota;
use crate::cloud::resource::router::Router;
use crate::cloud::resource::security_group::SecurityGroup;
use crate::cloud::resource::server::{self, Place, Server};
use crate::cloud::resource::volume::Volume;
use crate::cloud::resource_action::Wanted;
use crate::cloud::session::{Login, SharedSession};
use crate::config::Config;
use crate::config::resources::{EXTERNAL, ImageAnswer, InstanceAnswer, ResourceAnswers};
use crate::config::secrets::Secret;
use crate::engine::Entrance;
use crate::facts::Facts;
use crate::failure::Failure;
use crate::host::home::Home;
use crate::host::{Error, Host, files};
use crate::plan::{Hold, Step, StepId};
use std::collections::BTreeMap;

/// What the steps are made from.
pub struct ResourceInput<'a> {
    /// The machine.
    pub host: &'a Host,
    /// The answers.
    pub config: &'a Config,
    /// What the machine is.
    pub facts: &'a Facts,
    /// The administrator.
    pub admin: SharedSession,
    /// The password of the project's user.
    pub password: Secret,
    /// By what one gets in.
    pub entrance: Entrance,
    /// Whether the cloud has volumes.
    pub volumes: bool,
    /// The step behind which the cloud answers.
    pub after: &'a str,
}

struct Maker<'a> {
    order: &'a ResourceInput<'a>,
    answers: &'a ResourceAnswers,
    admin: SharedSession,
    user: SharedSession,
    home: Home,
}

/// All steps; none where nothing is declared.
///
/// # Errors
/// An image's source that means nothing; `~NAME` of nobody.
pub fn steps(order: &ResourceInput) -> Result<Vec<Step>, Failure> {
    let answers = &order.config.resources;
    if answers.is_empty() && !order.config.classroom.enabled {
        return Ok(Vec::new());
    }
    let name = answers.project.to_string();
    let user =
        Login { user: name.clone(), project: name, password: order.password.clone(), ..order.admin.login().clone() };
    let home = keys::home(&order.config.host.administrators);
    let maker = Maker { order, answers, admin: order.admin.clone(), user: SharedSession::new(user), home };
    let mut steps = vec![maker.project()];
    for image in &answers.images {
        steps.extend(maker.image(image)?);
    }
    steps.extend(maker.flavors());
    steps.extend(maker.networks());
    steps.extend(maker.access()?);
    steps.extend(maker.volumes());
    for instance in &answers.instances {
        steps.extend(maker.instance(instance));
    }
    let after: Vec<StepId> = steps.iter().map(|step| step.id.clone()).collect();
    let mut end = Step::new("resources", "Note what the cloud has").closing().with(task::sync("resources"));
    end.after = after;
    steps.push(end);
    Ok(steps)
}

impl Maker<'_> {
    fn by_admin(&self, resource: impl Resource + 'static) -> Wanted {
        self.wanted(Box::new(resource), &self.admin, self.order.entrance.admin)
    }

    fn by_user(&self, resource: impl Resource + 'static) -> Wanted {
        self.wanted(Box::new(resource), &self.user, self.order.entrance.user)
    }

    fn wanted(&self, resource: Box<dyn Resource>, session: &SharedSession, cloud: &'static str) -> Wanted {
        Wanted { resource, session: session.clone(), cloud, stands: self.order.entrance.stands }
    }

    /// A step of one resource.
    fn step(&self, wanted: Wanted, after: &[String]) -> Step {
        let (kind, name) = (wanted.resource.kind(), wanted.resource.name().to_owned());
        let mut step = Step::new(&format!("{}-{name}", kind.as_str()), &format!("Make {kind} {name}"));
        step = step.after(&[self.order.after]).with(wanted);
        step.after.extend(after.iter().map(StepId::new));
        step
    }

    fn project(&self) -> Step {
        let name = self.answers.project.to_string();
        let project = Project { name: name.clone(), password: self.order.password.clone(), user: self.user.clone() };
        let mut step = Step::new(PROJECT, &format!("Make project {name}")).after(&[self.order.after]);
        step = step.with(self.by_admin(project));
        if !self.answers.quota.is_empty() {
            step = step.with(self.by_admin(Quota { project: name, limits: self.answers.quota.clone() }));
        }
        step
    }

    fn image(&self, answer: &ImageAnswer) -> Result<Vec<Step>, Failure> {
        let name = answer.name.to_string();
        let Source::File { path: file, download, mut properties } =
            known_images::source(&name, &answer.from, &self.home)?
        else {
            return Ok(self.guest(&name, &answer.properties));
        };
        properties.extend(answer.properties.clone());
        let image = Image { name, file, told: told(answer.format), properties, parts: Vec::new(), marked: true };
        let mut step = self.step(self.by_admin(image), &[]);
        if let Some(download) = download {
            let download = Download { told: told(answer.format), ..download };
            step.actions.insert(0, Box::new(fetch(download)));
        }
        Ok(vec![step])
    }

    /// The guest that is built here: three images, of which the disk names the others.
    fn guest(&self, name: &str, properties: &BTreeMap<String, String>) -> Vec<Step> {
        let [kernel, initramfs, disk] = guest::PARTS;
        let part = |name: &str, format| Image {
            name: name.to_owned(),
            file: file(name),
            told: Told::Ours(format),
            properties: BTreeMap::new(),
            parts: Vec::new(),
            marked: true,
        };
        let build = Step::new("guest", "Build a small guest")
            .after(&[self.order.after])
            .holding(Hold::Packages)
            .with(guest::build(&self.order.facts.os.id));
        let property = |key: &str, value: &str| (key.to_owned(), value.to_owned());
        let own = [property("os_command_line", "console=ttyS0 quiet"), property("hw_rng_model", "virtio")];
        let image = Image {
            name: name.to_owned(),
            file: file(disk),
            properties: own.into_iter().chain(properties.clone()).collect(),
            parts: vec![property("kernel_id", kernel), property("ramdisk_id", initramfs)],
            ..part(disk, Format::Raw)
        };
        let step = self.step(self.by_admin(part(kernel, Format::Aki)), &["guest".into()]);
        let step = Step { id: StepId::new(format!("image-{name}")), title: format!("Make image {name}"), ..step };
        vec![build, step.with(self.by_admin(part(initramfs, Format::Ari))).with(self.by_admin(image))]
    }

    fn flavors(&self) -> Vec<Step> {
        let flavor = |answer: &crate::config::resources::FlavorAnswer| Flavor {
            name: answer.name.to_string(),
            vcpus: answer.vcpus,
            memory_mib: answer.memory_mib,
            disk_gib: answer.disk_gib,
            specs: answer.specs.clone(),
            marked: true,
        };
        self.answers.flavors.iter().map(|answer| self.step(self.by_admin(flavor(answer)), &[])).collect()
    }

    /// The external network, own networks, and a router for all that name it.
    fn networks(&self) -> Vec<Step> {
        let config = &self.order.config.network;
        let external = External {
            physical: EXTERNAL.into(),
            gateway: config.gateway,
            pool: (config.pool.first, config.pool.last),
        };
        let public = Network { name: EXTERNAL.into(), subnet: config.range, dns: Vec::new(), external: Some(external) };
        let mut steps = vec![self.step(self.by_admin(public), &[])];
        let mut routers: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for answer in &self.answers.networks {
            let name = answer.name.to_string();
            let network =
                Network { name: name.clone(), subnet: answer.subnet, dns: config.dns.clone(), external: None };
            steps.push(self.step(self.by_user(network), &[PROJECT.into()]));
            routers.entry(answer.router.to_string()).or_default().push(name);
        }
        for (name, networks) in routers {
            let mut after = vec![format!("network-{EXTERNAL}")];
            after.extend(networks.iter().map(|network| format!("network-{network}")));
            let router = Router { name, external: EXTERNAL.into(), networks };
            steps.push(self.step(self.by_user(router), &after));
        }
        steps
    }

    /// Security groups and keys.
    fn access(&self) -> Result<Vec<Step>, Failure> {
        let after = [PROJECT.to_owned()];
        let groups = self.answers.security_groups.iter().map(|answer| {
            let group = SecurityGroup { name: answer.name.to_string(), rules: answer.rules.clone(), alone: false };
            self.step(self.by_user(group), &after)
        });
        let keys = self.answers.key_pairs.iter().map(|answer| {
            let (file, home) = keys::public_path(answer, &self.home)?;
            let instead = keys::instead(answer, &home);
            let pair = KeyPair { name: answer.name.to_string(), file, home, instead };
            let mut step = self.step(self.by_user(pair), &after);
            let made = keys::made(self.order.host, answer, &self.home);
            step.actions.splice(0..0, made.into_iter().map(|task| Box::new(task) as Box<dyn crate::action::Action>));
            Ok(step)
        });
        groups.map(Ok).chain(keys).collect()
    }

    fn volumes(&self) -> Vec<Step> {
        let declared = self.answers.volumes.iter().filter(|_| self.order.volumes);
        let steps = declared.map(|answer| {
            let volume = Volume { name: answer.name.to_string(), size_gib: answer.size_gib };
            self.step(self.by_user(volume), &[PROJECT.into()])
        });
        steps.collect()
    }

    fn instance(&self, answer: &InstanceAnswer) -> Vec<Step> {
        let name = answer.name.to_string();
        let group = |name: &crate::config::resources::ResourceName| format!("security-group-{name}");
        let port = Port {
            name: name.clone(),
            network: answer.network.to_string(),
            security_groups: answer.security_groups.iter().map(ToString::to_string).collect(),
            address: None,
        };
        let mut after = vec![format!("network-{}", answer.network)];
        after.extend(answer.security_groups.iter().map(group));
        let mut steps = vec![self.step(self.by_user(port), &after)];
        let server = Server {
            name: name.clone(),
            image: answer.image.to_string(),
            flavor: answer.flavor.to_string(),
            place: Place::Port(name.clone()),
            security_groups: Vec::new(),
            key_pair: Some(answer.key_pair.to_string()),
            boot_volume_gib: answer.boot_volume_gib,
            volumes: Vec::new(),
            user_data: None,
            marked: true,
            metadata: BTreeMap::new(),
        };
        let after = [
            format!("port-{name}"),
            format!("image-{}", answer.image),
            format!("flavor-{}", answer.flavor),
            format!("key-pair-{}", answer.key_pair),
        ];
        steps.push(self.step(self.by_user(server), &after));
        if answer.floating_ip {
            let router = self.answers.networks.iter().find(|network| network.name == answer.network);
            let router = router.map_or_else(String::new, |network| format!("router-{}", network.router));
            let address = FloatingIp { port: name.clone(), external: EXTERNAL.into() };
            steps.push(self.step(self.by_user(address), &[format!("port-{name}"), router]));
            steps.push(self.answers_ssh(answer));
        }
        steps
    }

    /// Whether a declared security group of the instance lets this machine in.
    fn opens_ssh(&self, answer: &InstanceAnswer) -> bool {
        let config = self.order.config;
        let own = [config.host.address, config.network.gateway];
        let declared = self.answers.security_groups.iter().filter(|group| answer.security_groups.contains(&group.name));
        declared.flat_map(|group| &group.rules).any(|rule| own.iter().any(|from| rule.lets_in(ssh::PORT, *from)))
    }

    /// Waits, once for each instance, until it answers.
    fn answers_ssh(&self, answer: &InstanceAnswer) -> Step {
        let name = &answer.name.to_string();
        let id = ActionId::new("answers", name);
        let stamp = task::stamp_path(&id);
        let (stamp_again, session, again) = (stamp.clone(), self.user.clone(), self.user.clone());
        let (instance, instance_again) = (name.clone(), name.clone());
        let opened = self.opens_ssh(answer);
        let probe = move |host: &Host| {
            let noted = files::read_text(host, &stamp)?;
            let look = |session: &Session| ssh::expected(session, &instance, noted.as_deref(), opened);
            Ok(match session.look(host, look) {
                Ok(Expected::Never) => Checked::Done,
                Ok(Expected::At(_, address)) => Checked::needed(format!("wait until {address} answers SSH")),
                _ => Checked::Later("when the instance runs".into()),
            })
        };
        let work = move |host: &Host| {
            let expected = again.ask(|session| ssh::expected(session, &instance_again, None, opened))?;
            let Expected::At(server, address) = expected else { return Ok(()) };
            let mut started = false;
            let ask_why = || start_what_ended(host, &again, &instance_again, &mut started);
            match ssh::wait(host, &instance_again, address, ssh::LIMIT, ask_why)? {
                Reachability::Answers(_) => files::write(host, &stamp_again, server.as_str().as_bytes(), 0o644, None),
                ends_at => Err(ResourceError::Silent { name: instance_again.clone(), ends_at }.into()),
            }
        };
        let wait =
            Task::new(id, format!("Wait until {name} answers"), probe, work).at_runtime().asking_the_running_system();
        Step::new(&format!("answers-{name}"), &format!("Wait until {name} answers"))
            .after(&[&format!("instance-{name}"), &format!("floating-ip-{name}")])
            .with(wait)
    }
}

/// The step that makes the external network.
pub const EXTERNAL_STEP: &str = "network-public";
/// The step that makes the project.
const PROJECT: &str = "project";

fn fetch(download: Download) -> Task {
    let id = ActionId::new("image-file", download.path.display());
    let words = format!("Download {}", download.url);
    let again = download.clone();
    let probe = move |host: &Host| Ok(Checked::done_if(again.is_done(host), "download it, compare its hash, pin that"));
    Task::new(id, words, probe, move |host| download.run(host))
}
/// An instance that is waited for, and whose machine has ended by itself while it booted, is started once more: QEMU's
/// emulation crashes now and then on a busy host ("iotlb_to_section", seen with 10.0). A second end is told.
fn start_what_ended(host: &Host, session: &SharedSession, name: &str, started: &mut bool) -> Result<(), Error> {
    let found = session.ask(|session| server::get(session, name))?;
    if found.status != "SHUTOFF" || found.task.is_some() {
        return Ok(());
    }
    if *started {
        return Err(ResourceError::EndedTwice { name: name.to_owned() }.into());
    }
    host.warn(&format!("instance {name} ended by itself while it booted: it is started once more"));
    *started = true;
    session.ask(|session| server::act(session, &found.id, "os-start", serde_json::Value::Null))?;
    Ok(())
}
