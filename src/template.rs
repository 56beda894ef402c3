//! Files that land on a host, rendered from `templates/`: the path below it is the path on the host. What several files
//! share is in `templates/parts/`; in a name, `SERVICE` stands for that of a service.
//!
//! An undefined variable is an error. A secret comes in by `secret(name="nova_db")`: real where the file is written,
//! masked where it is shown.

use crate::config::secrets::{MASK, Secrets};
use crate::content::Content;
use crate::failure::Failure;
use include_dir::{Dir, include_dir};
use std::collections::BTreeMap;
use tera::{Context, Kwargs, State, Tera, TeraResult};

static TEMPLATES: Dir = include_dir!("$CARGO_MANIFEST_DIR/templates");

/// Renders templates with one set of secrets.
pub struct Templates {
    real: Tera,
    shown: Tera,
}

/// Values of a template's variables.
pub type Values = BTreeMap<String, serde_json::Value>;

impl Templates {
    /// All templates of the program.
    ///
    /// # Errors
    /// A template that does not parse: our own mistake.
    pub fn new(secrets: &Secrets) -> Result<Self, Failure> {
        let secrets = secrets.clone();
        let real = engine(move |name| secrets.get(name).map(|secret| secret.expose().to_owned()))?;
        Ok(Self { real, shown: engine(|_| Some(MASK.to_owned()))? })
    }

    /// The file whose template is called `name` (a path without the leading slash).
    ///
    /// # Errors
    /// No such template, or a variable or secret that has no value.
    pub fn render(&self, name: &str, values: &Values) -> Result<Content, Failure> {
        let context = Context::from_serialize(values).map_err(|e| bug(name, &e))?;
        let real = self.real.render(name, &context).map_err(|e| bug(name, &e))?;
        let shown = self.shown.render(name, &context).map_err(|e| bug(name, &e))?;
        Ok(Content::masked(real, shown))
    }
}

fn engine(secret: impl Fn(&str) -> Option<String> + Send + Sync + 'static) -> Result<Tera, Failure> {
    let mut tera = Tera::new();
    tera.autoescape_on(Vec::<String>::new());
    tera.register_function("secret", move |kwargs: Kwargs, _: &State| -> TeraResult<String> {
        let name: String = kwargs.must_get("name")?;
        secret(&name).ok_or_else(|| tera::Error::message(format!("there is no secret called {name}")))
    });
    let mut files = Vec::new();
    collect(&TEMPLATES, &mut files);
    tera.add_raw_templates(files).map_err(|e| bug("templates", &e))?;
    Ok(tera)
}

fn collect(dir: &'static Dir, files: &mut Vec<(String, &'static str)>) {
    for file in dir.files() {
        if let Some(text) = file.contents_utf8() {
            files.push((file.path().to_string_lossy().into_owned(), text));
        }
    }
    dir.dirs().for_each(|dir| collect(dir, files));
}

fn bug(name: &str, error: &tera::Error) -> Failure {
    Failure { evidence: error.to_string(), ..Failure::bug(format!("template {name} cannot be rendered")) }
}
