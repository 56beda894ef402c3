//! Installs a private GPU cloud (OpenStack) on one machine: planned, resumable, undoable.
//!
//! Data flows one way: answers and facts become steps of actions, a plan shows them, a runner does them with a journal
//! ahead of every change, and displays show its events.

pub mod action;
pub mod checks;
pub mod cli;
pub mod cloud;
pub mod command;
pub mod config;
pub mod content;
pub mod engine;
pub mod exit;
pub mod facts;
pub mod failure;
pub mod finding;
pub mod host;
pub mod installation;
pub mod lab;
pub mod plan;
pub mod run;
pub mod systems;
pub mod template;
pub mod ui;
pub mod wizard;
