//! `notebook`: create, list, show, stop, start, restart, delete, token, ssh, logs. What a verb does is in
//! `classroom/notebook.rs`; a new column is a field of `Notebook` there, a cell in [`list`] and a row in `docs/json.md`. A
//! new verb is a variant in `cli/notebook.rs` and an arm here.

use super::Invocation;
use crate::classroom::identity::Identity;
use crate::classroom::notebook::{self, Notebook as Shown, Request, Verb, Work};
use crate::classroom::ready::{self, Times};
use crate::classroom::students::{self, Page};
use crate::classroom::{Classroom, home};
use crate::cli::notebook::{Notebook, NotebookCreate, NotebookDelete, NotebookLogs, NotebookSsh, NotebookToken};
use crate::config::classroom::NotebookName;
use crate::config::secrets::Secret;
use crate::ending::Ending;
use crate::failure::Failure;
use crate::host::{Host, command};
use crate::installation::Installation;
use crate::ui::text;
use serde_json::{Value, json};

pub(super) fn run(invocation: &Invocation, options: &Notebook) -> Result<Ending, Failure> {
    invocation.require_live()?;
    let (host, room) = classroom(invocation)?;
    let (host, room) = (&host, &room);
    match options {
        Notebook::Create(options) => create(invocation, host, room, options),
        Notebook::List => list(invocation, room),
        Notebook::Show(one) => show(invocation, room, &one.name),
        Notebook::Stop(one) => tell(invocation, host, room, &one.name, Verb::Stop),
        Notebook::Start(one) => tell(invocation, host, room, &one.name, Verb::Start),
        Notebook::Restart(one) => tell(invocation, host, room, &one.name, Verb::Restart),
        Notebook::Delete(options) => delete(invocation, host, room, options),
        Notebook::Token(options) => token(invocation, host, room, options),
        Notebook::Ssh(options) => log_in(invocation, room, options),
        Notebook::Logs(options) => logs(invocation, room, options),
    }
}

/// The classroom of the cloud that stands, and its machine, shown at work: its answers say how slow it may be.
fn classroom(invocation: &Invocation) -> Result<(Host, Classroom), Failure> {
    let installation = Installation::load_applied(&invocation.host)?.ok_or_else(|| {
        Failure::new("there is no complete cloud here", "", "gpucloud-install status").with(Ending::Refused)
    })?;
    let host = installation.host.observed(invocation.ui.observer());
    installation.classroom()?.map(|room| (host, room)).ok_or_else(|| {
        let next = format!(
            "in {}: enabled = true below [classroom]; then: gpucloud-install apply",
            invocation.global.config.display()
        );
        Failure::new("this cloud has no notebooks", "", next).with(Ending::Refused)
    })
}

/// What came of the making of one.
type Made = Result<(Shown, Times), Failure>;

/// All at once: each waits for nothing but itself.
fn create(invocation: &Invocation, host: &Host, room: &Classroom, options: &NotebookCreate) -> Result<Ending, Failure> {
    let request = |name: &NotebookName| Request {
        name: name.to_string(),
        flavor: options.flavor.clone(),
        gpu: options.gpu,
        until_ready: !options.no_wait,
    };
    let mut names: Vec<&NotebookName> = Vec::new();
    for name in &options.names {
        if !names.contains(&name) {
            names.push(name);
        }
    }
    let results: Vec<(_, Made)> = std::thread::scope(|scope| {
        let make = |name| notebook::create(host, room, &request(name)).map_err(Failure::from);
        let threads: Vec<_> = names.iter().map(|name| (*name, scope.spawn(move || make(name)))).collect();
        let died = || Err(Failure::bug("a thread died"));
        threads.into_iter().map(|(name, thread)| (name, thread.join().unwrap_or_else(|_| died()))).collect()
    });
    if let [(_, Err(failure))] = results.as_slice() {
        return Err(failure.clone());
    }
    let (mut made, mut failed) = (Vec::new(), Vec::new());
    for (name, result) in results {
        match result {
            Ok((shown, times)) => {
                let mut document = document(invocation, &shown);
                document["seconds"] = json!(times);
                made.push(document);
                invocation.ui.say(made_in_words(room, &shown, &times, options.no_wait));
            }
            Err(failure) => {
                invocation.ui.say(format!("{name} FAILED: {}\n  next: {}", failure.what, failure.next));
                failed.push(
                    json!({"name": name, "what": failure.what, "evidence": failure.evidence, "next": failure.next}),
                );
            }
        }
    }
    let ending = if failed.is_empty() { Ending::Done } else { Ending::Failed };
    invocation.ui.document("notebook create", json!({"notebooks": made, "failed": failed}));
    Ok(ending)
}

fn made_in_words(room: &Classroom, shown: &Shown, times: &Times, built_only: bool) -> String {
    let Shown { name, .. } = shown;
    if built_only {
        return format!(
            "Notebook {name} is built ({:.0} s). Until it can be worked in: notebook start {name}",
            times.built
        );
    }
    let Times { built, booted, answered, ready } = times;
    format!(
        "Notebook {name} is ready after {ready:.0} s (built {built:.0} s, booted {booted:.0} s, JupyterLab {answered:.0} \
         s).\n{}",
        ways_in(room, shown)
    )
}

/// How its student gets in, else somebody on this machine.
fn ways_in(room: &Classroom, shown: &Shown) -> String {
    let Shown { name, url, .. } = shown;
    if let Some(Page { url, outside, .. }) = &room.page {
        let outside = outside.as_ref().map_or_else(String::new, |outside| format!(", from outside {}", outside.url));
        return format!(
            "Page        {url}{outside} (its student enters a token there)\n\
             Token       gpucloud-install notebook token {name} (prints a link, too)\n\
             A shell     gpucloud-install notebook ssh {name}"
        );
    }
    let url = url.clone().unwrap_or_else(|| "(no address yet)".into());
    format!(
        "Address     {url}lab (this machine alone reaches it)\n\
         Token       gpucloud-install notebook token {name} (kept in {})\n\
         A shell     gpucloud-install notebook ssh {name}",
        Identity::of(name).token_file().display()
    )
}

fn document(invocation: &Invocation, shown: &Shown) -> Value {
    let mut document = json!(shown);
    document["token_file"] = json!(Identity::of(&shown.name).token_file());
    document["saved"] = json!(shown.home_on_volume || home::is_saved(&invocation.host, &shown.name));
    document
}

fn list(invocation: &Invocation, room: &Classroom) -> Result<Ending, Failure> {
    let all = notebook::all(room)?;
    let kept = notebook::kept(&invocation.host, room);
    invocation.ui.document("notebook list", json!({"notebooks": all, "saved": kept.as_ref().ok()}));
    if invocation.ui.is_json() {
        return Ok(Ending::Done);
    }
    if all.is_empty() {
        invocation.ui.say("No notebooks. gpucloud-install notebook create NAME makes one.");
    } else {
        let row = |one: &Shown| {
            let card = if one.gpu { "yes" } else { "no" };
            let address = one.address.map(|address| address.to_string()).unwrap_or_default();
            vec![one.name.clone(), one.state.clone(), one.flavor.clone(), card.to_owned(), address]
        };
        let rows: Vec<Vec<String>> = all.iter().map(row).collect();
        invocation.ui.say(text::table(&["NAME", "STATE", "FLAVOR", "CARD", "ADDRESS"], &rows));
    }
    let saved = match kept {
        Ok(saved) => saved,
        Err(error) => {
            invocation.ui.say(format!("\nWhat is kept of notebooks that are gone is not known: {error}"));
            return Ok(Ending::Done);
        }
    };
    let gone: Vec<&String> = saved.iter().filter(|name| all.iter().all(|one| one.name != **name)).collect();
    if !gone.is_empty() {
        let names = gone.iter().map(|name| name.as_str()).collect::<Vec<_>>().join(", ");
        invocation.ui.say(format!("\nKept of notebooks that are gone: {names}. notebook create NAME brings it back."));
    }
    Ok(Ending::Done)
}

fn show(invocation: &Invocation, room: &Classroom, name: &NotebookName) -> Result<Ending, Failure> {
    let shown = notebook::get(room, name.as_str())?;
    invocation.ui.document("notebook show", document(invocation, &shown));
    let card = if shown.gpu { ", with a card" } else { "" };
    invocation.ui.say(format!("{}: {}, {}{card}\n{}", shown.name, shown.state, shown.flavor, ways_in(room, &shown)));
    Ok(Ending::Done)
}

fn tell(
    invocation: &Invocation,
    host: &Host,
    room: &Classroom,
    name: &NotebookName,
    verb: Verb,
) -> Result<Ending, Failure> {
    let word = match verb {
        Verb::Stop => "stop",
        Verb::Start => "start",
        Verb::Restart => "restart",
    };
    let shown = notebook::tell(host, room, name.as_str(), verb)?;
    invocation.ui.document(&format!("notebook {word}"), document(invocation, &shown));
    let more = if verb == Verb::Stop { "what is in it stays" } else { "it can be worked in" };
    invocation.ui.say(format!("{} is {}: {more}.", shown.name, shown.state));
    Ok(Ending::Done)
}

fn delete(invocation: &Invocation, host: &Host, room: &Classroom, options: &NotebookDelete) -> Result<Ending, Failure> {
    let name = options.name.as_str();
    let on_volume = notebook::get(room, name).is_ok_and(|shown| shown.home_on_volume);
    let (work, question) = match (options.and_its_data, options.without_saving) {
        (true, _) => {
            (Work::Forgotten, format!("End {name} and lose what its student has in it, and all that was saved?"))
        }
        (_, true) if on_volume => {
            (Work::NotSaved, format!("Take the power from {name}? What is not on its volume is lost."))
        }
        (_, true) => (Work::NotSaved, format!("End {name} and lose what its student has in it?")),
        _ if on_volume => (Work::Saved, format!("End {name}? Its home stays on its volume.")),
        _ => (Work::Saved, format!("End {name}? What its student has in it is saved here.")),
    };
    invocation.consent(&question, false)?;
    let saved = notebook::delete(host, room, name, work)?;
    invocation.ui.document("notebook delete", json!({"name": name, "saved": saved}));
    invocation.ui.say(match saved {
        true => format!("{name} is gone; notebook create {name} brings back what was in it."),
        false => format!("{name} is gone, with what was in it."),
    });
    Ok(Ending::Done)
}

fn token(invocation: &Invocation, host: &Host, room: &Classroom, options: &NotebookToken) -> Result<Ending, Failure> {
    let name = options.name.as_str();
    notebook::get(room, name)?;
    if let Some(page) = &room.page {
        return token_for_the_page(invocation, host, room, page, options);
    }
    if options.new {
        notebook::renew_token(host, room, name)?;
    }
    let token = Identity::of(name).token(&invocation.host)?;
    invocation.ui.document(
        "notebook token",
        json!({"name": name, "token": token.expose(), "link": null, "link_from_outside": null}),
    );
    if !invocation.ui.is_json() {
        invocation.ui.raw(&format!("{}\n", token.expose()));
    }
    Ok(Ending::Done)
}

/// The token of a notebook's student, who comes by the portal.
fn token_for_the_page(
    invocation: &Invocation,
    host: &Host,
    room: &Classroom,
    page: &Page,
    options: &NotebookToken,
) -> Result<Ending, Failure> {
    let name = options.name.as_str();
    let known = if options.new { None } else { students::token(host, name)? };
    let token = known.map_or_else(|| students::renew_token(host, room, name), Ok)?;
    let link = page.link(&token);
    let outside = page.link_from_outside(&token);
    let document = json!({"name": name, "token": token.expose(), "link": link.expose(),
        "link_from_outside": outside.as_ref().map(Secret::expose)});
    invocation.ui.document("notebook token", document);
    if !invocation.ui.is_json() {
        let links = std::iter::once(&link).chain(&outside).map(|link| format!("{}\n", link.expose()));
        invocation.ui.raw(&format!("{}\n{}", token.expose(), links.collect::<String>()));
    }
    Ok(Ending::Done)
}

fn log_in(invocation: &Invocation, room: &Classroom, options: &NotebookSsh) -> Result<Ending, Failure> {
    let client = notebook::remote(room, options.name.as_str())?.login(&options.command);
    match client.interactive(&invocation.host)? {
        0 => Ok(Ending::Done),
        code => Err(Failure::passed_on(code)),
    }
}

fn logs(invocation: &Invocation, room: &Classroom, options: &NotebookLogs) -> Result<Ending, Failure> {
    let (name, lines) = (options.name.as_str(), options.lines.to_string());
    let remote = notebook::remote(room, name)?;
    let journal = [
        "journalctl",
        "--unit=notebook.service",
        "--unit=notebook-setup.service",
        "--unit=notebook-home.service",
        "--unit=notebook-card.service",
        "--no-pager",
        "--output=cat",
    ];
    let asked = remote.program(&[&journal[..], &["--lines", &lines]].concat()).quiet().read(&invocation.host);
    let (from, text) = match asked {
        Ok(text) => ("journal", text),
        Err(_) => ("console", ready::console_of(room, name, options.lines)?),
    };
    invocation.ui.document("notebook logs", json!({"name": name, "from": from, "output": text}));
    if !invocation.ui.is_json() {
        invocation.ui.raw(&command::harmless(&text));
    }
    Ok(Ending::Done)
}
