//! Integration tests: one binary, a module for each behaviour, on a real Postgres and a real S3 server over HTTP.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::too_many_lines, missing_docs, unreachable_pub)]

#[path = "../support/mod.rs"]
mod support;
mod world;

mod announce;
mod append;
mod backfill;
mod chain;
mod command_line;
mod composite;
mod contract;
mod dataset;
mod deadline;
mod deploy;
mod dist;
mod documents;
mod drift;
mod events;
mod formats;
mod functions;
mod hostile;
mod house;
mod inspect;
mod keys;
mod lake;
mod ledger;
mod lexical;
mod manifest;
mod memory;
mod mend;
mod metrics;
mod migrations;
mod modes;
mod nightly;
mod nights;
mod object_parts;
mod objects;
mod operate;
mod order;
mod parts;
mod privacy;
mod read_only;
mod refused;
mod replace;
mod replay;
mod report;
mod resume;
mod returned;
mod rights;
mod sandbox;
mod security;
mod sources;
mod stream;
mod tables;
mod tls;
mod torture;
mod tutorial;
mod typed_files;
mod types;
mod web;
