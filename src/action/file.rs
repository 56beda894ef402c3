//! A file with its content, permissions and owner; the directories above it are made when missing. One that somebody
//! edited since is kept beside it (`kept.rs` tells which, and under which name).

use super::kept::{KEPT_SUFFIX, is_edited, keep_if_edited};
use super::{Action, ActionId, Applied, Change, Checked, History, Lifetime, Originals, Undo};
use crate::config::secrets::MASK;
use crate::content::Content;
use crate::host::accounts::{self, Owner};
use crate::host::command::Command;
use crate::host::{Host, Result, files};
use std::collections::HashSet;
use std::path::{Path, PathBuf};

/// Permission bits and owner of a file or directory.
#[derive(Debug, Clone)]
pub(super) struct Access {
    mode: u32,
    user: String,
    group: String,
}

impl Access {
    pub(super) fn new(mode: u32, user: &str, group: &str) -> Self {
        Self { mode, user: user.into(), group: group.into() }
    }

    /// Whether a path has them; the owner counts on the running system only.
    pub(super) fn is_right(&self, host: &Host, status: &files::Status) -> bool {
        let owner = || accounts::owner(&self.user, &self.group).is_ok_and(|owner| owner == status.owner);
        status.mode == self.mode && (!host.is_live() || owner())
    }

    /// Permission bits, and the owner by number where the host has accounts.
    pub(super) fn numbers(&self, host: &Host) -> Result<(u32, Option<Owner>)> {
        Ok((self.mode, files::owner(host, &self.user, &self.group)?))
    }
}

impl std::fmt::Display for Access {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:04o} {}:{}", self.mode, self.user, self.group)
    }
}

/// Write a file.
#[derive(Debug, Clone)]
pub struct File {
    path: PathBuf,
    content: Content,
    access: Access,
    lifetime: Lifetime,
    accepted_by: &'static [&'static str],
}

impl File {
    /// A file 0644 root:root.
    pub fn new(path: impl Into<PathBuf>, content: Content) -> Self {
        let access = Access::new(0o644, "root", "root");
        Self { path: path.into(), content, access, lifetime: Lifetime::Installed, accepted_by: &[] }
    }

    /// Other permission bits and owner.
    pub fn access(mut self, mode: u32, user: &str, group: &str) -> Self {
        self.access = Access::new(mode, user, group);
        self
    }

    /// Written only where this program, given a file with the content, is content with it.
    pub fn accepted_by(mut self, program: &'static [&'static str]) -> Self {
        self.accepted_by = program;
        self
    }

    /// Taken back at the end of the run.
    pub fn for_the_run(mut self) -> Self {
        self.lifetime = Lifetime::Run;
        self
    }

    fn change(&self, host: &Host, history: &History, before: Option<&[u8]>) -> Result<Change> {
        let edited = is_edited(host, history, &self.path)? && before != Some(self.content.real());
        let kept =
            if edited { format!("; your edit is kept as {}{KEPT_SUFFIX}", self.path.display()) } else { String::new() };
        let verb = if before.is_some() { "replace" } else { "write" };
        let lines = self.content.shown().lines().count();
        Ok(Change {
            summary: format!("{verb}, {lines} lines, {}{kept}", self.access),
            diff: Some(self.diff(host, history, before)),
        })
    }

    /// Of a file that not everybody may read, old values are not shown: they may be secrets that we do not know (any
    /// more). Of one that is not ours, nothing is.
    fn diff(&self, host: &Host, history: &History, before: Option<&[u8]>) -> String {
        let readable = files::status(host, &self.path).ok().flatten().is_some_and(|status| status.mode & 0o004 != 0);
        let old = match before.map(String::from_utf8_lossy) {
            None => String::new(),
            Some(text) if text.contains('\0') => format!("(a program, {} bytes)\n", text.len()),
            Some(text) if readable => host.mask(&text),
            Some(text) if history.undo.is_some() => self.without_old_values(host, &text),
            Some(_) => "(content that only root may read)\n".into(),
        };
        similar::TextDiff::from_lines(old.as_str(), self.content.shown())
            .unified_diff()
            .context_radius(2)
            .header(&format!("{} (now)", self.path.display()), &format!("{} (planned)", self.path.display()))
            .to_string()
    }
}

impl File {
    /// Lets the program that will read it look at it before it is in its place.
    fn judge(&self, host: &Host) -> Result<()> {
        let Some((program, arguments)) = self.accepted_by.split_first() else { return Ok(()) };
        let trial = Path::new("/run/gpucloud").join(files::hash(self.content.real()));
        files::make_parents(host, &trial)?;
        files::write_volatile(host, &trial, self.content.real(), 0o600)?;
        let path = trial.display().to_string();
        let verdict = Command::new(*program).args(arguments.iter().copied()).arg(path).run(host);
        files::remove(host, &trial)?;
        verdict
    }

    fn without_old_values(&self, host: &Host, old: &str) -> String {
        let real = String::from_utf8_lossy(self.content.real());
        let same: HashSet<&str> = real.lines().collect();
        let shown = |line: &str| match line.find(['=', ':']) {
            _ if same.contains(line) => host.mask(line),
            Some(end) => format!("{} {MASK}", &line[..=end]),
            None => MASK.to_owned(),
        };
        old.lines().map(|line| shown(line) + "\n").collect()
    }
}

impl Action for File {
    fn id(&self) -> ActionId {
        ActionId::new("file", self.path.display())
    }

    fn describe(&self) -> String {
        format!("Write {}", self.path.display())
    }

    fn lifetime(&self) -> Lifetime {
        self.lifetime
    }

    fn check(&self, host: &Host, history: &History) -> Result<Checked> {
        let Some(status) = files::status(host, &self.path)?.filter(|status| !status.is_dir) else {
            return Ok(Checked::Needed(self.change(host, history, None)?));
        };
        let content = if status.link.is_some() { None } else { files::read(host, &self.path)? };
        let same = content.as_deref() == Some(self.content.real());
        if same && self.access.is_right(host, &status) {
            return Ok(Checked::Done);
        }
        Ok(Checked::Needed(self.change(host, history, content.as_deref())?))
    }

    fn prepare(&self, host: &Host, originals: &Originals) -> Result<Undo> {
        Ok(Undo::Path {
            path: self.path.clone(),
            original: originals.remember(host, &self.path)?,
            made: files::missing_parents(host, &self.path),
        })
    }

    fn fingerprint(&self) -> Option<String> {
        Some(files::hash(self.content.real()))
    }

    fn apply(&self, host: &Host, history: &History) -> Result<Applied> {
        let planned = files::hash(self.content.real());
        let now = files::read(host, &self.path)?.map(|content| files::hash(&content));
        let kept = if now.as_ref() == Some(&planned) { None } else { keep_if_edited(host, history, &self.path)? };
        let (mode, owner) = self.access.numbers(host)?;
        self.judge(host)?;
        files::write(host, &self.path, self.content.real(), mode, owner)?;
        Ok(kept.map_or(Applied::Done, |kept| Applied::Warned(format!("your edit is kept as {}", kept.display()))))
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
    use super::super::originals::Original;
    use super::*;

    fn trial() -> (tempfile::TempDir, Host, Originals) {
        let dir = tempfile::tempdir().unwrap();
        let host = Host::at(dir.path());
        let originals = Originals::new(&host, "/var/lib/gpucloud/blobs");
        (dir, host, originals)
    }

    #[test]
    fn a_new_file_goes_with_the_directories_made_for_it() {
        let (_dir, host, originals) = trial();
        let file = File::new("/etc/x/y.conf", Content::plain("a\n"));
        let undo = file.prepare(&host, &originals).unwrap();
        file.apply(&host, &History::default()).unwrap();
        assert_eq!(file.check(&host, &History::default()).unwrap(), Checked::Done);
        assert_eq!(
            undo,
            Undo::Path {
                path: "/etc/x/y.conf".into(),
                original: Original::Absent,
                made: vec!["/etc".into(), "/etc/x".into()]
            }
        );
    }

    #[test]
    fn an_edit_is_kept_beside_and_the_plan_says_so() {
        let (_dir, host, originals) = trial();
        let file = File::new("/etc/y.conf", Content::plain("ours\n"));
        let undo = file.prepare(&host, &originals).unwrap();
        file.apply(&host, &History::default()).unwrap();
        let history = History { undo: Some(undo.clone()), fingerprints: vec![file.fingerprint().unwrap()] };
        files::write(&host, Path::new("/etc/y.conf"), b"theirs\n", 0o644, None).unwrap();
        let Checked::Needed(change) = file.check(&host, &history).unwrap() else { panic!("not seen") };
        assert!(change.summary.contains("/etc/y.conf.gpucloud-kept"), "{}", change.summary);
        file.apply(&host, &history).unwrap();
        assert_eq!(files::read_text(&host, "/etc/y.conf.gpucloud-kept").unwrap().as_deref(), Some("theirs\n"));
    }

    #[test]
    fn a_diff_shows_the_mask_and_not_the_secret() {
        let (_dir, host, _) = trial();
        let file = File::new("/etc/z", Content::masked("password = hunter2hunter2\n", "password = ********\n"));
        let Checked::Needed(change) = file.check(&host, &History::default()).unwrap() else { panic!("not needed") };
        let diff = change.diff.unwrap();
        assert!(diff.contains("+password = ********") && !diff.contains("hunter2"), "{diff}");
    }
}
