//! Installs a private GPU cloud (OpenStack) on one machine: planned, resumable, undoable.
//!
//! Data flows one way: answers and facts become steps of actions, a plan shows them, a runner does them with a journal
//! ahead of every change, and displays show its events. Each folder is a room with one task:
//!
//! ```text
//! cli, command     what was typed becomes calls into the rooms
//! wizard, config   answers
//! facts, checks    what this machine is, and what that means
//! engine           how OpenStack gets onto it: steps, service table, probes
//! gpu              what each card is, what stands between it and an instance, and claims on cards
//! recovery         what is down, and bringing it back
//! network          how instances reach the world, and the world them
//! resources        what the cloud has for its users from the beginning: images, networks, keys, instances
//! classroom        notebooks: a JupyterLab for each student, in an instance of its own
//! portal           the page that students open: a token, and they are in their notebook
//! tunnel           the way to that page from outside
//! installation     answers, facts and engine together: the plan
//! plan, action     order, journal, runner, rollback; the kinds of change
//! undo             runs undo records
//! run              a run in its own unit, and terminals that watch it
//! host             the hands, which alone change a machine
//! cloud            the OpenStack API
//! lab              throw-away hosts
//! ui               everything that is printed
//! failure, finding, complaint, ending   errors with the next command; what checks and probes say; how things end
//! paths, systems, template, content, ini   our names on a host; supported systems; files that land on a host
//! ```

#![cfg_attr(not(test), deny(clippy::disallowed_methods, clippy::disallowed_types))]

pub mod action;
pub mod checks;
pub mod classroom;
pub mod cli;
pub mod cloud;
pub mod command;
pub mod complaint;
pub mod config;
pub mod content;
pub mod ending;
pub mod engine;
pub mod facts;
pub mod failure;
pub mod finding;
pub mod gpu;
pub mod host;
pub mod ini;
pub mod installation;
pub mod lab;
pub mod network;
pub mod paths;
pub mod plan;
pub mod portal;
pub mod recovery;
pub mod resources;
pub mod run;
pub mod systems;
pub mod template;
pub mod tunnel;
pub mod ui;
pub mod undo;
pub mod wizard;
