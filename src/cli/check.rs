//! `small-etl check`: settings and definitions, without data and without a database.

use clap::Args;
use serde::Serialize;

use super::terminal::{DONE, NOT_DONE, as_json, print, say, warn};
use crate::config::Settings;
use crate::error::{Error, Result};
use crate::pipeline::try_definition;
use crate::services::{Parts, migrations};

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  small-etl check
  SMALL_ETL__DATASETS__PATH=mine/datasets SMALL_ETL_ENV=prod small-etl check --json

Every fault is reported, with its file and line where it has one. The exit code is 3 if there is any.")]
pub(super) struct CheckArguments {
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// What was checked, and what is wrong with it.
#[derive(Debug, Default, Serialize)]
struct Checked {
    datasets: Vec<String>,
    faults: Vec<String>,
    warnings: Vec<String>,
}

pub(super) async fn run(parts: &Parts, arguments: CheckArguments) -> Result<u8> {
    let mut checked = Checked::default();
    match Settings::read() {
        Ok(settings) => checked.look(&settings, parts).await,
        Err(error) => checked.refuse(&error),
    }
    if arguments.json {
        print(&as_json(&checked)?)?;
    } else {
        checked.faults.iter().for_each(|fault| say(fault));
        checked.warnings.iter().for_each(|warning| warn(warning));
        if checked.faults.is_empty() {
            print(&format!("settings and definitions are sound: {}\n", checked.datasets.join(", ")))?;
        }
    }
    Ok(if checked.faults.is_empty() { DONE } else { NOT_DONE })
}

impl Checked {
    async fn look(&mut self, settings: &Settings, parts: &Parts) {
        if let Some(folder) = &settings.migrations.path {
            match migrations::faults(folder) {
                Ok(faults) => self.faults.extend(faults),
                Err(error) => self.refuse(&error),
            }
        }
        // A context is what every command and function makes of its settings before it does anything.
        let context = match crate::start::context(settings, parts) {
            Ok(context) => context,
            Err(error) => return self.refuse(&error),
        };
        for (first, other, key) in context.datasets.overlaps() {
            self.warnings.push(format!(
                "datasets {} and {} both claim {key}, which goes to the first; narrow the files of one",
                first.name, other.name
            ));
        }
        for dataset in context.datasets.all() {
            self.datasets.push(dataset.name.clone());
            if let Err(error) = try_definition(&context, dataset).await {
                self.refuse(&error);
            }
        }
    }

    /// An error may have a fault on each of its lines.
    fn refuse(&mut self, error: &Error) {
        self.faults.extend(error.chain().lines().map(str::to_owned));
    }
}
