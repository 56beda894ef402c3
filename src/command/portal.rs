//! `portal`: serve. What it serves is in `portal/`.

use super::Invocation;
use crate::cli::portal::{Portal, PortalServe};
use crate::ending::Ending;
use crate::failure::Failure;
use crate::portal::serve::{self, Listener, Order};
use std::net::{SocketAddr, TcpListener};

pub(super) fn run(invocation: &Invocation, options: &Portal) -> Result<Ending, Failure> {
    invocation.require_live()?;
    match options {
        Portal::Serve(options) => serve(invocation, options),
    }
}

fn serve(invocation: &Invocation, options: &PortalServe) -> Result<Ending, Failure> {
    let open = options.listen.iter().map(|at| listener(*at, false));
    let listeners = open.chain(options.tunnel.iter().map(|at| listener(*at, true))).collect::<Result<_, _>>()?;
    let ui = invocation.ui.clone();
    serve::run(Order {
        listeners,
        told: options.told.clone(),
        sessions: options.sessions.clone(),
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
