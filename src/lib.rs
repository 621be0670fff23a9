//! Small ETL turns a file in S3 into rows in Postgres. Every row is checked, none is lost, none comes twice, and each
//! bad one is explained.
//!
//! The layers, from the outside in; each imports only from those to its right:
//!
//! ```text
//! bin -> lambda | cli -> (config, start, event) -> pipeline -> services -> data_access -> domain
//! ```
//!
//! `error` is a leaf that every layer may use. What must always hold:
//!
//! - nothing is written before the whole file is validated;
//! - rows, rejects and checkpoint of a batch commit in one transaction, or not at all;
//! - no transaction of a load commits without the load's fencing token;
//! - every record read has exactly one outcome, and a constraint of the ledger proves the sum;
//! - no cell's value and no secret is logged.
//!
//! What is absent: `unsafe`, mocks, and vendor names outside `data_access`.

//! Parts of your own ([`services::Parts`]) are written against `services`; see docs/own-parts.md.

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used))]

pub use ::arrow;
pub use ::async_trait::async_trait;

pub mod cli;
pub mod config;
pub mod data_access;
pub mod domain;
pub mod error;
pub mod event;
pub mod lambda;
pub mod pipeline;
pub mod sample;
pub mod services;
pub mod start;
