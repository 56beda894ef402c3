//! Notebooks: verbs and their options. What they do: `command/notebook.rs`.

use crate::config::classroom::NotebookName;
use clap::{Args, Subcommand};

/// Notebooks.
#[derive(Debug, Subcommand)]
pub enum Notebook {
    /// Make notebooks and wait until they can be worked in
    Create(NotebookCreate),
    /// List notebooks
    #[command(after_help = "Example:\n  sudo gpucloud-install notebook list --json | jq .notebooks")]
    List,
    /// Show one notebook: where it is, and how to get in
    #[command(after_help = "Example:\n  sudo gpucloud-install notebook show ada")]
    Show(OneNotebook),
    /// Shut it down; what is in it stays
    #[command(after_help = "Example:\n  sudo gpucloud-install notebook stop ada")]
    Stop(OneNotebook),
    /// Start it again, and wait until it can be worked in
    #[command(after_help = "Example:\n  sudo gpucloud-install notebook start ada")]
    Start(OneNotebook),
    /// Boot it anew; its kernels end
    #[command(after_help = "Example:\n  sudo gpucloud-install notebook restart ada")]
    Restart(OneNotebook),
    /// End it; what its student has in it stays: on its volume, else saved here
    Delete(NotebookDelete),
    /// Print its token, or give it another one
    Token(NotebookToken),
    /// Log in as root, or run a command there
    Ssh(NotebookSsh),
    /// Show what its JupyterLab logged; where that cannot be had, its console
    Logs(NotebookLogs),
}

/// One notebook.
#[derive(Debug, Args)]
pub struct OneNotebook {
    /// Its name
    pub name: NotebookName,
}

/// Options of `notebook create`.
#[derive(Debug, Args)]
#[command(
    after_help = "It has the home of the earlier notebook of this name: its volume, or what was saved.\n\nExamples:\n  sudo gpucloud-install notebook create ada\n  sudo gpucloud-install notebook create ada bob --gpu"
)]
pub struct NotebookCreate {
    /// Its name: small letters, digits, `-`; several are made at once
    #[arg(required = true, value_name = "NAME", value_parser = host_name)]
    pub names: Vec<NotebookName>,
    /// Name or id of its flavor; notebook.small unless said
    #[arg(long, conflicts_with = "gpu")]
    pub flavor: Option<String>,
    /// With a card: the smallest flavor that has one
    #[arg(long)]
    pub gpu: bool,
    /// Wait only until Nova has built it; `notebook start` waits for the rest
    #[arg(long)]
    pub no_wait: bool,
}

/// Options of `notebook delete`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  sudo gpucloud-install notebook delete ada --yes\n  sudo gpucloud-install notebook delete ada --and-its-data --yes"
)]
pub struct NotebookDelete {
    /// Its name
    pub name: NotebookName,
    /// Save nothing; what was kept of it before stays
    #[arg(long)]
    pub without_saving: bool,
    /// Save nothing, and remove what was kept of it: its volume, what was saved
    #[arg(long, conflicts_with = "without_saving")]
    pub and_its_data: bool,
}

/// Options of `notebook token`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  sudo gpucloud-install notebook token ada\n  sudo gpucloud-install notebook token ada --new"
)]
pub struct NotebookToken {
    /// Its name
    pub name: NotebookName,
    /// Give it another one: who has the old one is shut out; its kernels end only where there is no portal
    #[arg(long)]
    pub new: bool,
}

/// Options of `notebook ssh`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  sudo gpucloud-install notebook ssh ada\n  sudo gpucloud-install notebook ssh ada -- nvidia-smi"
)]
pub struct NotebookSsh {
    /// Its name
    pub name: NotebookName,
    /// Program and arguments; without: a shell
    #[arg(last = true)]
    pub command: Vec<String>,
}

/// Options of `notebook logs`.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  sudo gpucloud-install notebook logs ada --lines 100")]
pub struct NotebookLogs {
    /// Its name
    pub name: NotebookName,
    /// How many lines
    #[arg(long, default_value_t = 40)]
    pub lines: u32,
}

/// A name that is a host's too.
fn host_name(text: &str) -> Result<NotebookName, String> {
    match text.ends_with('-') {
        true => Err(format!("`{text}` ends with a `-`")),
        false => text.parse(),
    }
}
