//! Runs undo records: the data is in `action/undo.rs`, the order in which a journal is taken back in
//! `plan/rollback.rs`. This room stands above all that make changes, so that none of them is imported from below.

mod paths;

use crate::action::purge::remove_packages;
use crate::action::{History, Originals, Undo, Undone};
use crate::cloud::resource_action;
use crate::engine::devstack::unstack;
use crate::host::{Error, Host, Result, command::Command, nft, nspawn, sql, sysctl, systemd, users};
use crate::network::{action as network, adopted};

/// Takes it back. May be repeated after having been killed.
pub fn run(undo: &Undo, host: &Host, history: &History, originals: &Originals) -> Result<Undone> {
    match undo {
        Undo::Nothing => Ok(Undone::Restored),
        Undo::Path { path, original, made } => paths::restore(host, history, originals, path, original, made),
        Undo::Edits { path } => paths::keep_edits(host, history, path),
        Undo::Directory { path, original, made, shared } => {
            paths::restore_directory(host, path, original, made, *shared)
        }
        Undo::User { name } => done(users::remove_user(host, name)),
        Undo::Group { name } => done(users::remove_group(host, name)),
        Undo::Member { user, group } => done(users::remove_member(host, user, group)),
        Undo::Packages { added, leaves } => remove_packages(host, added, leaves),
        Undo::Unit { name, enabled, active } => restore_unit(host, name, *enabled, *active),
        Undo::Sysctl { key, value } => done(sysctl::write(host, key, value)),
        Undo::Database { name } => with_sql(|sql| sql.drop_database(&sql::Identifier::new(name)?)),
        Undo::DatabaseUser { name, host } => with_sql(|sql| sql.drop_user(&sql::Identifier::new(name)?, host.parse()?)),
        Undo::Program { argv } => run_program(host, argv),
        Undo::Container { name } => done(nspawn::stop(host, name)),
        Undo::Devstack(stacked) => unstack::run(host, stacked),
        Undo::Network(original) => done(network::restore(host, original)),
        Undo::Iptables { table, rules } => done(adopted::restore(host, table, rules)),
        Undo::Resource { cloud, kind, name, content } => {
            resource_action::take_back(host, cloud, *kind, name, content.as_deref())
        }
        Undo::NftTable { family, table } => done(remove_table(family, table)),
    }
}

fn done(result: Result<()>) -> Result<Undone> {
    result.map(|()| Undone::Restored)
}

fn run_program(host: &Host, argv: &[String]) -> Result<Undone> {
    let Some((program, args)) = argv.split_first() else { return Ok(Undone::Restored) };
    match Command::new(program).args(args.iter().cloned()).run(host) {
        // A program that is gone took what it made with it.
        Err(Error::Start { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => Ok(Undone::Restored),
        result => done(result),
    }
}

/// A database server that is gone took its databases with it.
fn with_sql(work: impl FnOnce(&sql::Sql) -> std::result::Result<(), sql::SqlError>) -> Result<Undone> {
    match sql::connect()? {
        None => Ok(Undone::Restored),
        Some(sql) => done(work(&sql).map_err(Into::into)),
    }
}

fn remove_table(family: &str, table: &str) -> Result<()> {
    let family = if family == "ip" { nft::Family::Ip } else { nft::Family::Inet };
    Ok(nft::delete(family, table)?)
}

fn restore_unit(host: &Host, name: &str, enabled: bool, active: bool) -> Result<Undone> {
    let status = systemd::unit(host, name)?;
    if !active {
        systemd::stop(host, name)?;
    }
    if !enabled && status.is_enabled() && status.file != "static" {
        systemd::disable(host, name)?;
    }
    if status.active == "failed" && !active {
        systemd::reset_failed(host, name)?;
    }
    Ok(Undone::Restored)
}
