//! The classroom as steps of a plan, behind a complete cloud: the image; a project with its network,
//! router, rules and sizes; this machine's port; the declared notebooks.

use super::image;
use super::notebook::{self, Request, SIZES};
use super::page;
use super::port::{PortInput, bound, noted};
use super::recipe::{Part, Recipe};
use super::{CLASSROOM, Classroom, NOTEBOOKS, PORTAL, driver, identity, old_images, reach};
use crate::action::directory::Directory;
use crate::action::packages::{ARCHIVES, Packages, forget_archives};
use crate::action::task::{self, Task};
use crate::action::undo::Leaves;
use crate::action::{ActionId, Checked};
use crate::cloud::disk_image::{Format, Told};
use crate::cloud::resource::Resource;
use crate::cloud::resource::flavor::Flavor;
use crate::cloud::resource::image::Image;
use crate::cloud::resource::network::Network;
use crate::cloud::resource::port::Port;
use crate::cloud::resource::project::Project;
use crate::cloud::resource::quota::Quota;
use crate::cloud::resource::router::Router;
use crate::cloud::resource::security_group::SecurityGroup;
use crate::cloud::resource::server;
use crate::cloud::resource_action::{Wanted, not_yet};
use crate::cloud::session::{Login, SharedSession};
use crate::config::Config;
use crate::config::classroom::NotebookAnswer;
use crate::config::resources::EXTERNAL;
use crate::config::secrets::Secret;
use crate::engine::probe::Prober;
use crate::engine::{Entrance, uv};
use crate::failure::Failure;
use crate::host::{Host, files};
use crate::paths;
use crate::plan::{Hold, Step};
use crate::resources::file;
use std::collections::BTreeMap;
use std::sync::Arc;

/// The step behind which notebooks can be made of the image.
const GIVEN: &str = "classroom-image-given";
/// The same of notebooks with cards.
const CARD_IMAGE_GIVEN: &str = "classroom-card-image-given";

/// The project's only limit is the machine itself.
const UNLIMITED: [&str; 6] = ["instances", "vcpus", "memory_mib", "security_group_rules", "volumes", "storage_gib"];

/// What the steps are made from.
pub struct ClassroomInput<'a> {
    /// The answers.
    pub config: &'a Config,
    /// `ID` of this machine's os-release.
    pub distribution: &'a str,
    /// The cards for instances: "10de:20b2".
    pub cards: &'a [String],
    /// The administrator.
    pub admin: SharedSession,
    /// The password of the classroom's user.
    pub password: Secret,
    /// By what one gets in.
    pub entrance: Entrance,
    /// The step that makes flavors with cards, where there are some.
    pub card_flavors: Option<&'a str>,
    /// The step behind which the cloud answers.
    pub after: &'a str,
    /// The step that makes the external network.
    pub external: &'a str,
    /// What asks whether the portal answers.
    pub prober: Arc<Prober>,
}

/// How the images are made that these answers ask for, on a machine whose `ID` in os-release is `distribution`, with these
/// cards for instances ("10de:20b2"): that of notebooks, and that of notebooks with cards where it is another one.
pub fn recipes(config: &Config, distribution: &str, cards: &[String]) -> (Recipe, Option<Recipe>) {
    let (distribution, packages) = (distribution.to_owned(), config.classroom.packages.clone());
    let driver = driver::wanted(config, &distribution, cards);
    let plain = Recipe { distribution, packages, driver: None };
    let with_driver = driver.map(|driver| Recipe { driver: Some(driver), ..plain.clone() });
    (plain, with_driver)
}

/// Who asks about notebooks of a cloud with these answers and cards.
pub fn classroom(
    config: &Config,
    (distribution, cards): (&str, &[String]),
    admin: &SharedSession,
    password: &Secret,
) -> Classroom {
    let (user, project) = (CLASSROOM.to_owned(), CLASSROOM.to_owned());
    let login = Login { user, project, password: password.clone(), ..admin.login().clone() };
    let (plain, with_driver) = recipes(config, distribution, cards);
    let own = config.classroom.image.own().map(ToString::to_string);
    let image = own.unwrap_or_else(|| plain.name(Part::Disk));
    let card_image = with_driver.map_or_else(|| image.clone(), |recipe| recipe.name(Part::Disk));
    let (user, admin) = (SharedSession::new(login), admin.clone());
    let page = config.portal.is_wanted(&config.classroom).then(|| page::of(config));
    Classroom { user, admin, image, card_image, home_gib: config.classroom.home_gib, page, building: Arc::default() }
}

/// All steps; none where there are no notebooks.
///
/// # Errors
/// Only our own mistakes: a template that does not render.
pub fn steps(input: &ClassroomInput) -> Result<Vec<Step>, Failure> {
    if !input.config.classroom.enabled {
        return Ok(Vec::new());
    }
    let room = classroom(input.config, (input.distribution, input.cards), &input.admin, &input.password);
    let maker = Maker { input, room };
    let mut steps = Vec::new();
    if input.config.classroom.image.own().is_none() {
        steps.extend(maker.images());
    }
    steps.extend(maker.network());
    steps.extend(page::portal(input.config, &maker.room, &input.prober)?);
    steps.extend(page::tunnel(input.config)?);
    steps.extend(input.config.classroom.notebooks.iter().map(|answer| maker.notebook(answer)));
    let mut end = Step::new("classroom-noted", "Note what notebooks need").closing().with(task::sync("classroom"));
    end.after = steps.iter().map(|step| step.id.clone()).collect();
    steps.push(end);
    Ok(steps)
}

struct Maker<'a> {
    input: &'a ClassroomInput<'a>,
    room: Classroom,
}

impl Maker<'_> {
    /// All is taken back by the administrator: the classroom's user goes too.
    fn wanted(&self, resource: impl Resource + 'static, session: &SharedSession) -> Wanted {
        let Entrance { admin, stands, .. } = self.input.entrance;
        Wanted { resource: Box::new(resource), session: session.clone(), cloud: admin, stands }
    }

    fn by_admin(&self, resource: impl Resource + 'static) -> Wanted {
        self.wanted(resource, &self.room.admin)
    }

    fn by_user(&self, resource: impl Resource + 'static) -> Wanted {
        self.wanted(resource, &self.room.user)
    }

    /// Built one after the other, and given to the cloud: the disk has to hold one while it is built.
    fn images(&self) -> Vec<Step> {
        let (plain, with_driver) = recipes(self.input.config, self.input.distribution, self.input.cards);
        let packages = Packages {
            purpose: "notebooks".into(),
            names: ["mmdebstrap", "qemu-utils", "e2fsprogs", "ca-certificates"].map(str::to_owned).into(),
            leaves: Leaves::default(),
            made_once: Vec::new(),
            changed_permissions: Vec::new(),
        };
        // Behind the cloud: one that has no image for notebooks is complete all the same.
        let tools = Step::new("classroom-tools", "Install what builds the image of notebooks")
            .after(&[self.input.after])
            .holding(Hold::Packages)
            .with(packages)
            .with(tidy("classroom"));
        let mut steps = vec![tools];
        steps.extend(self.image(&plain, ["classroom-image", GIVEN], &["classroom-tools", uv::STEP]));
        if let Some(recipe) = with_driver {
            steps.extend(self.image(&recipe, ["classroom-card-image", CARD_IMAGE_GIVEN], &[GIVEN]));
        }
        let current = vec![self.room.image.clone(), self.room.card_image.clone()];
        let last = steps.last().map_or(String::new(), |step| step.id.to_string());
        let out = Step::new("classroom-old-images", "Remove images of notebooks that nobody has any more");
        steps.push(out.after(&[&last]).with(old_images::taken_out(self.room.admin.clone(), current)));
        steps
    }

    /// The steps, by their names, that build an image and give it to the cloud.
    fn image(&self, recipe: &Recipe, [build, give]: [&str; 2], after: &[&str]) -> [Step; 2] {
        let part = |part, format| Image {
            name: recipe.name(part),
            file: file(&recipe.file_name(part)),
            told: Told::Ours(format),
            properties: BTreeMap::new(),
            parts: Vec::new(),
            marked: true,
        };
        let name = |part| recipe.name(part);
        let line = "root=/dev/vda rw console=ttyS0 net.ifnames=0 quiet";
        let mut properties = BTreeMap::from([("os_command_line", line), ("hw_rng_model", "virtio")]);
        if recipe.driver.is_some() {
            // Cards have their memory above 4 GiB, and PCI Express of their own.
            properties.extend([("hw_machine_type", "q35"), ("hw_firmware_type", "uefi")]);
        }
        let whole = Image {
            properties: properties.into_iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect(),
            parts: vec![("kernel_id".into(), name(Part::Kernel)), ("ramdisk_id".into(), name(Part::InitialFileSystem))],
            ..part(Part::Disk, Format::Qcow2)
        };
        let made = Step::new(build, &format!("Build {}", recipe.what())).after(after).with(image::build(recipe));
        let given = Step::new(give, &format!("Give {} to the cloud", recipe.what()))
            .after(&[build])
            .with(self.by_admin(part(Part::Kernel, Format::Aki)))
            .with(self.by_admin(part(Part::InitialFileSystem, Format::Ari)))
            .with(self.by_admin(whole));
        [made, given]
    }

    /// The project, and this machine's way into its network.
    fn network(&self) -> Vec<Step> {
        let config = self.input.config;
        let name = || CLASSROOM.to_owned();
        let project = Project { name: name(), password: self.input.password.clone(), user: self.room.user.clone() };
        let limits = UNLIMITED.iter().map(|limit| ((*limit).to_owned(), -1)).collect();
        let make = Step::new(CLASSROOM, "Make the classroom's project")
            .after(&[self.input.after])
            .with(Directory::new(paths::CLASSROOM).access(0o700, "root", "root"))
            .with(Directory::new(paths::HOMES).access(0o700, "root", "root"))
            .with(identity::made_login_key())
            .with(self.by_admin(project))
            .with(self.by_admin(Quota { project: name(), limits }));
        let make = self.sizes().into_iter().fold(make, Step::with);
        let subnet = reach::subnet(config);
        let network = Network { name: name(), subnet, dns: config.network.dns.clone(), external: None };
        let router = Router { name: name(), external: EXTERNAL.into(), networks: vec![name()] };
        let port = Port {
            name: PORTAL.into(),
            network: name(),
            security_groups: vec![PORTAL.into()],
            address: Some(reach::portal(config)),
        };
        let port_input = PortInput::new(config, self.room.user.clone(), self.room.admin.clone());
        let connect = Step::new("classroom-network", "Make the notebooks' network")
            .after(&[CLASSROOM, self.input.external])
            .with(self.by_user(SecurityGroup { name: NOTEBOOKS.into(), rules: reach::rules(config), alone: true }))
            .with(self.by_user(SecurityGroup { name: PORTAL.into(), rules: all_out(), alone: false }))
            .with(self.by_user(network))
            .with(self.by_user(router))
            .with(self.by_user(port))
            .with(bound(port_input.clone()))
            .with(noted(port_input));
        vec![make, connect]
    }

    /// One that is declared is as it is declared.
    fn sizes(&self) -> Vec<Wanted> {
        let declared = &self.input.config.resources.flavors;
        let own = SIZES.iter().filter(|(name, ..)| declared.iter().all(|flavor| flavor.name.as_str() != *name));
        let flavor = |(name, vcpus, memory_mib, disk_gib): &(&str, u32, u32, u32)| {
            self.by_admin(Flavor {
                name: (*name).to_owned(),
                vcpus: *vcpus,
                memory_mib: *memory_mib,
                disk_gib: *disk_gib,
                specs: BTreeMap::new(),
                marked: true,
            })
        };
        own.map(flavor).collect()
    }

    /// What is in it is a student's: it carries no mark, and no plan takes it away.
    fn notebook(&self, answer: &NotebookAnswer) -> Step {
        let name = answer.name.to_string();
        let request = Request {
            name: name.clone(),
            flavor: answer.flavor.as_ref().map(ToString::to_string),
            gpu: answer.gpu,
            until_ready: true,
        };
        let (room, looked) = (self.room.clone(), self.room.user.clone());
        let asked = name.clone();
        let probe = move |host: &Host| match looked.look(host, |session| server::look_up(session, &asked)) {
            Ok(Some(found)) if found.status == "ERROR" && found.launched_at.is_none() => {
                Ok(Checked::needed("make it anew: Nova could not build it"))
            }
            Ok(Some(_)) => Ok(Checked::Done),
            Ok(None) => Ok(Checked::needed("make it")),
            Err(error) => not_yet(error),
        };
        let make = move |host: &Host| notebook::create(host, &room, &request).map(drop);
        let id = ActionId::new("notebook", &name);
        let task = Task::new(id, format!("Make notebook {name}"), probe, make).at_runtime().asking_the_running_system();
        let mut step = Step::new(&format!("notebook-{name}"), &format!("Make notebook {name}"));
        step = step.after(self.room.page.as_ref().map_or(&[], |_| &["portal"]));
        step =
            step.after(&["classroom-network"]).after(&self.input.card_flavors.map_or_else(Vec::new, |step| vec![step]));
        let resources = &self.input.config.resources;
        step = match self.input.config.classroom.image.own() {
            // A flavor that is said may have a card, too.
            None if self.room.card_image != self.room.image && (answer.gpu || answer.flavor.is_some()) => {
                step.after(&[GIVEN, CARD_IMAGE_GIVEN])
            }
            None => step.after(&[GIVEN]),
            Some(own) if resources.images.iter().any(|image| image.name == *own) => {
                step.after(&[&format!("image-{own}")])
            }
            Some(_) => step,
        };
        if let Some(declared) = resources.flavors.iter().find(|flavor| answer.flavor.as_ref() == Some(&flavor.name)) {
            step = step.after(&[&format!("flavor-{}", declared.name)]);
        }
        step.with(task)
    }
}

/// This machine itself goes anywhere from its port; nobody comes in by it.
fn all_out() -> Vec<crate::config::rule::Rule> {
    "out any".parse().into_iter().collect()
}

/// Behind the cloud nobody else tidies up behind an installation of packages.
pub(super) fn tidy(of: &str) -> Task {
    let probe = |host: &Host| Ok(Checked::done_if(!files::exists(host, ARCHIVES), "remove the downloaded packages"));
    let id = ActionId::new("tidy", of);
    Task::new(id, "Remove the downloaded packages", probe, forget_archives).at_runtime()
}
