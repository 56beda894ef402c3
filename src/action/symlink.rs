//! A symbolic link.

use super::kept::{KEPT_SUFFIX, is_edited, keep_if_edited};
use super::{Action, ActionId, Applied, Checked, History, Originals, Undo};
use crate::host::{Host, Result, files};
use std::path::{Path, PathBuf};

/// Make a symbolic link.
#[derive(Debug, Clone)]
pub struct Symlink {
    path: PathBuf,
    target: PathBuf,
}

impl Symlink {
    /// A link at `path` to `target`.
    pub fn new(path: impl Into<PathBuf>, target: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), target: target.into() }
    }
}

impl Action for Symlink {
    fn id(&self) -> ActionId {
        ActionId::new("link", self.path.display())
    }

    fn describe(&self) -> String {
        format!("Link {} to {}", self.path.display(), self.target.display())
    }

    fn check(&self, host: &Host, history: &History) -> Result<Checked> {
        let now = files::status(host, &self.path)?.and_then(|status| status.link);
        let mut summary = format!("link to {}", self.target.display());
        let is_done = now.as_deref() == Some(&self.target);
        if !is_done && is_edited(host, history, &self.path)? {
            summary.push_str(&format!("; what was edited is kept as {}{KEPT_SUFFIX}", self.path.display()));
        }
        Ok(Checked::done_if(is_done, summary))
    }

    fn prepare(&self, host: &Host, originals: &Originals) -> Result<Undo> {
        Ok(Undo::Path {
            path: self.path.clone(),
            original: originals.remember(host, &self.path)?,
            made: files::missing_parents(host, &self.path),
        })
    }

    fn apply(&self, host: &Host, history: &History) -> Result<Applied> {
        let kept = keep_if_edited(host, history, &self.path)?;
        files::make_link(host, &self.path, &self.target)?;
        Ok(kept.map_or(Applied::Done, |kept| {
            Applied::Warned(format!("{} was edited: kept as {}", self.path.display(), kept.display()))
        }))
    }

    /// Of where it leads, not of what lies there.
    fn fingerprint(&self) -> Option<String> {
        Some(files::hash(self.target.as_os_str().as_encoded_bytes()))
    }

    fn changes(&self) -> Option<&Path> {
        Some(&self.path)
    }

    fn is_quick(&self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::action::originals::Original;

    /// What lies behind the link is another's; a link that leads elsewhere is an edit.
    #[test]
    fn a_link_of_ours_is_no_edit_and_another_is() {
        let dir = tempfile::tempdir().unwrap();
        let host = Host::at(dir.path());
        let path = Path::new("/etc/glance/paste.ini");
        files::write(&host, Path::new("/etc/glance/theirs.ini"), b"content", 0o644, None).unwrap();
        for (original, made) in
            [(Original::Absent, "theirs.ini"), (Original::Link { target: "old".into() }, "theirs.ini")]
        {
            let link = Symlink::new(path, made);
            let undo = Some(Undo::Path { path: path.to_owned(), original, made: Vec::new() });
            let history = History { undo, fingerprints: vec![link.fingerprint().unwrap()] };
            link.apply(&host, &history).unwrap();
            assert!(!is_edited(&host, &history, path).unwrap());
            files::make_link(&host, path, Path::new("/etc/glance/theirs.ini")).unwrap();
            assert!(is_edited(&host, &history, path).unwrap());
        }
    }
}
