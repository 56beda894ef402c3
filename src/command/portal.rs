//! `portal`: serve, renew, show. What it serves is in `portal/`; its certificate, in `classroom/certificate.rs`.

use super::Invocation;
use crate::classroom::certificate::{self, Names};
use crate::cli::portal::{Portal, PortalServe};
use crate::ending::Ending;
use crate::failure::Failure;
use crate::installation::Installation;
use crate::portal::serve::{self, Listener, Order};
use crate::portal::tls;
use serde_json::json;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;

pub(super) fn run(invocation: &Invocation, options: &Portal) -> Result<Ending, Failure> {
    invocation.require_live()?;
    match options {
        Portal::Serve(options) => serve(invocation, options),
        Portal::Renew => renew(invocation),
        Portal::Show => show(invocation),
    }
}

/// The cloud that stands, if it has the page.
fn installation(invocation: &Invocation) -> Result<Installation, Failure> {
    let installation = Installation::load_applied(&invocation.host)?.ok_or_else(|| {
        Failure::new("there is no complete cloud here", "", "gpucloud-install status").with(Ending::Refused)
    })?;
    if !installation.config.portal.is_wanted(&installation.config.classroom) {
        let next = format!(
            "in {}: enabled = true below [classroom] and [portal]; then: gpucloud-install apply",
            invocation.global.config.display()
        );
        return Err(Failure::new("this cloud has no page for students", "", next).with(Ending::Refused));
    }
    Ok(installation)
}

fn renew(invocation: &Invocation) -> Result<Ending, Failure> {
    let installation = installation(invocation)?;
    let config = &installation.config;
    let is_new = config.portal.is_secure()
        && certificate::renew(&installation.host, &Names::new(config.host.address, &config.portal.names))?;
    invocation.ui.document("portal renew", json!({"renewed": is_new}));
    if is_new {
        invocation.ui.say("The page has a new certificate.");
    }
    Ok(Ending::Done)
}

fn show(invocation: &Invocation) -> Result<Ending, Failure> {
    let installation = installation(invocation)?;
    let portal = &installation.config.portal;
    let url = portal.url(installation.config.host.address);
    let fingerprint = match portal.is_secure() {
        true => Some(shown_fingerprint(invocation)?),
        false => None,
    };
    invocation.ui.document("portal show", json!({"url": url, "fingerprint": fingerprint}));
    invocation.ui.say(format!("Page         {url}"));
    match fingerprint {
        Some(fingerprint) => invocation.ui.say(format!(
            "Fingerprint  {fingerprint}\n\nBrowsers warn until they trust its authority; {url}certificate says how. Give \
             students the fingerprint on paper: they compare it there."
        )),
        None => invocation.ui.say("Tokens and notebooks pass unencrypted: tls = \"own\" below [portal] ends that."),
    }
    Ok(Ending::Done)
}

fn shown_fingerprint(invocation: &Invocation) -> Result<String, Failure> {
    let shown = tls::read(&invocation.host, Path::new(tls::FILE));
    let shown = shown.map_err(|error| {
        Failure::new("the certificate of the page cannot be read", error, "sudo gpucloud-install apply")
    })?;
    Ok(shown.authority.fingerprint)
}

fn serve(invocation: &Invocation, options: &PortalServe) -> Result<Ending, Failure> {
    let open = options.listen.iter().map(|at| listener(*at, false));
    let listeners = open.chain(options.tunnel.iter().map(|at| listener(*at, true))).collect::<Result<_, _>>()?;
    let ui = invocation.ui.clone();
    serve::run(Order {
        listeners,
        told: options.told.clone(),
        sessions: options.sessions.clone(),
        tls: options.tls.clone(),
        log: Box::new(move |line| ui.say(line)),
    })?;
    Ok(Ending::Done)
}

fn listener(at: SocketAddr, is_tunnel: bool) -> Result<Listener, Failure> {
    let open = || -> std::io::Result<TcpListener> {
        let socket = TcpListener::bind(at)?;
        socket.set_nonblocking(true)?;
        Ok(socket)
    };
    let who = format!("ss --listening --tcp --processes 'sport = :{}'", at.port());
    let socket = open().map_err(|error| Failure::new(format!("cannot listen on {at}"), error.to_string(), who))?;
    Ok(Listener { socket, is_tunnel })
}
