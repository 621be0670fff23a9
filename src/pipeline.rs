//! The path of one object into Postgres and the ledger: dispatch, identify, claim, extract, validate, load, finish.

mod check;
mod context;
mod dispatch;
mod example;
mod file_work;
mod land;
mod nightly;
mod piece;
mod plan;
mod rekey;
mod replay;
mod request;
mod undo;

pub use self::check::{CheckedFile, in_full, try_definition, unusable, validate};
pub use self::context::{Context, NightlyTerms, with_rules};
pub use self::dispatch::{run, skipped};
pub use self::example::example_rows;
pub use self::land::{Landed, land};
pub use self::nightly::{LoadHere, reconcile};
pub use self::rekey::{Rekey, plan_rekey, rekey};
pub use self::replay::{ReplayedFile, RuleChange, replay};
pub use self::request::Request;
pub use self::undo::{Undo, plan_undo, undo};
