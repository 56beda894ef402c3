//! `tunnel`: serve, show, token. `show` prints how it is, what was counted (`portal/meter.rs`), and an estimate for a class. What a
//! tunnel does is in `tunnel/`; its token, in `classroom/outside.rs`.

use super::Invocation;
use crate::classroom::outside;
use crate::cli::tunnel::{Tunnel, TunnelServe, TunnelShow};
use crate::config::Config;
use crate::config::secrets::Secret;
use crate::ending::Ending;
use crate::failure::Failure;
use crate::installation::Installation;
use crate::portal::meter;
use crate::tunnel::state::{self, State};
use crate::tunnel::supervise::{self, Orders};
use serde_json::json;
use std::path::Path;

/// Requests of JupyterLab: when it is opened, and in each minute that a tab is looked at (measured with JupyterLab 4.6.6
/// and a browser that has nothing of it yet).
const AT_FIRST: f64 = 150.0;
const PER_MINUTE: f64 = 40.0;

pub(super) fn run(invocation: &Invocation, options: &Tunnel) -> Result<Ending, Failure> {
    invocation.require_live()?;
    match options {
        Tunnel::Serve(options) => serve(invocation, options),
        Tunnel::Show(options) => show(invocation, options),
        Tunnel::Token => token(invocation),
    }
}

fn serve(invocation: &Invocation, options: &TunnelServe) -> Result<Ending, Failure> {
    for signal in [signal_hook::consts::SIGTERM, signal_hook::consts::SIGINT] {
        signal_hook::flag::register(signal, invocation.host.stop_flag())
            .map_err(|error| Failure::new("cannot wait for signals", error.to_string(), ""))?;
    }
    let ui = invocation.ui.clone();
    supervise::run(
        &invocation.host,
        Orders {
            told: options.told.clone(),
            directory: options.state.clone(),
            log: Box::new(move |line| ui.say(line)),
        },
    );
    Ok(Ending::Done)
}

fn show(invocation: &Invocation, options: &TunnelShow) -> Result<Ending, Failure> {
    let Some(config) = Installation::load_applied(&invocation.host)?.map(|installation| installation.config) else {
        return Err(
            Failure::new("there is no complete cloud here", "", "gpucloud-install status").with(Ending::Refused)
        );
    };
    let tunnel = &config.tunnel;
    let Some(url) = tunnel.url().filter(|_| tunnel.is_wanted(&config.portal, &config.classroom)) else {
        return Err(no_tunnel(invocation));
    };
    let stopped = || State::Lost("gpucloud-tunnel.service does not run".into());
    let state = state::noted(&invocation.host).unwrap_or_else(stopped);
    let used = meter::noted(&invocation.host, Path::new(meter::FILE));
    let class = class_needs(options);
    let has_token = outside::token(&invocation.host)?.is_some();
    invocation.ui.document(
        "tunnel show",
        json!({"url": url, "tunnel": state, "has_token": has_token, "month": used.month, "used": used.requests,
            "requests": tunnel.requests, "class": class}),
    );
    let plan = match tunnel.requests {
        0 => String::new(),
        all => format!(" of {all}"),
    };
    invocation.ui.say(format!(
        "Page      {url}\nState     {}\nRequests  {}{plan} in {}\nA class   of {} for {} h needs about {class}",
        in_words(&state),
        used.requests,
        used.month,
        options.students,
        options.hours,
    ));
    if tunnel.requests > 0 && used.requests + class > tunnel.requests {
        let near = config.portal.url(config.host.address);
        invocation.ui.say(format!("\nThat is more than is left. In the campus network, students open {near} instead."));
    }
    Ok(Ending::Done)
}

fn class_needs(options: &TunnelShow) -> u64 {
    let each = AT_FIRST + PER_MINUTE * 60.0 * options.hours.clamp(0.0, 1000.0);
    (f64::from(options.students) * each).round() as u64
}

fn in_words(state: &State) -> String {
    match state {
        State::Up => "the page is reached through it".into(),
        State::Connecting => "connecting".into(),
        State::Lost(why) => format!("not reached, trying again: {why}"),
        State::Refused(why) => format!("refused: {why}"),
    }
}

fn token(invocation: &Invocation) -> Result<Ending, Failure> {
    let host = &invocation.host;
    let Some(applied) = Installation::load_applied(host)?.map(|installation| installation.config) else {
        return Err(
            Failure::new("there is no complete cloud here", "", "gpucloud-install status").with(Ending::Refused)
        );
    };
    if !applied.tunnel.is_wanted(&applied.portal, &applied.classroom) {
        return Err(no_tunnel(invocation));
    }
    let typed = invocation.ui.secret("Token of the tunnel's service (it is not shown): ")?;
    let typed = typed.trim();
    if !outside::is_token(applied.tunnel.kind, typed) {
        let what = "this is no token: one word of 8 letters or more is, for pagekite without a colon";
        return Err(Failure::usage(what, "copy it from the service's page, whole, and give it again"));
    }
    outside::set_token(host, &Secret::of(typed.to_owned()))?;
    // What the answers have become since is told by `apply`: until then another service may be running.
    let is_applied = Config::load(host, &invocation.global.config).is_ok_and(|now| now.tunnel == applied.tunnel);
    if is_applied {
        outside::tell(host, &applied)?;
    }
    invocation.ui.document("tunnel token", json!({"kept": true}));
    invocation.ui.say(match is_applied {
        true => "The token is kept. gpucloud-install tunnel show says whether the service takes it.",
        false => "The token is kept. The answers are others than those of the tunnel that runs: gpucloud-install apply",
    });
    Ok(Ending::Done)
}

fn no_tunnel(invocation: &Invocation) -> Failure {
    let next = format!(
        "in {}: kind below [tunnel], enabled = true below [classroom] and [portal]; then: gpucloud-install apply",
        invocation.global.config.display()
    );
    Failure::new("this cloud has no tunnel", "", next).with(Ending::Refused)
}
