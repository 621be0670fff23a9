//! The command line `small-etl`: arguments in, tables or JSON out.

mod check;
mod decrypt;
mod describe;
mod explain;
mod guess;
mod guess_arguments;
mod guess_from;
mod load;
mod man;
mod migrate;
mod questions;
mod reconcile;
mod rejects;
mod rekey;
mod replay;
mod report;
mod schema;
mod signals;
mod status;
mod terminal;
mod undo;
mod validate;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;

use crate::config::Settings;
use crate::data_access::postgres::Database;
use crate::domain::LoadId;
use crate::error::{Error, Result};
use crate::sample::{self, SampleOptions};
use crate::services::{self, Parts};
use terminal::{DONE, NOT_DONE, as_json, print, tell, unwritable};

/// Loads files as their senders write them, from S3 or from this machine, into Postgres: every row checked, none lost, none twice, each bad
/// one explained.
#[derive(Debug, Parser)]
#[command(name = "small-etl", version, after_long_help = EXAMPLES)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

/// What is logged unless `RUST_LOG` says more.
const QUIET: &str = "small_etl::start=warn,small_etl::data_access::retry=warn,small_etl::data_access::traces=warn";

const EXAMPLES: &str = "\
Examples:
  small-etl guess trades_2025-12-22.csv --name trade
  small-etl validate trades.csv --dataset trade --rejects bad.csv
  small-etl check
  DATABASE_URL=postgres://me:PASSWORD@localhost/etl small-etl migrate
  DATABASE_URL=postgres://me:PASSWORD@localhost/etl small-etl load assets.csv --dataset asset
  small-etl load s3://my-bucket/incoming/trades/2025-12-22.csv --json
  small-etl status --since 1d
  small-etl rejects 7 --export mend.csv
  small-etl explain trade T20251222000001
  small-etl undo 7 --dry-run
  small-etl completions bash > /etc/bash_completion.d/small-etl

Exit codes:
  0  done
  1  validate: some rows would be rejected
  2  the file as a whole is unusable
  3  settings, connection or machine failed, another worker has the file, no dataset claims it, or it was interrupted;
     reconcile and backfill: something is missing, differs or has failed; check: settings or definitions are wrong
  4  guess: the files are written, and some questions are open

Settings come from config/*.toml and from variables such as SMALL_ETL__LOAD__BATCH_SIZE; see docs/settings.md.";

#[derive(Debug, Subcommand)]
enum Command {
    /// Bring the database schema to the version that this program needs
    Migrate(migrate::MigrateArguments),
    /// Check settings and definitions, without data and without a database
    Check(check::CheckArguments),
    /// Load files into Postgres; a file that was already loaded is left alone
    Load(load::LoadArguments),
    /// Make the definition of a dataset and its migration from files as their sender writes them
    Guess(guess_arguments::GuessArguments),
    /// Write what a sender must deliver: a page for people, or a contract that other programs read
    Describe(describe::DescribeArguments),
    /// Check a file without a database
    Validate(validate::ValidateArguments),
    /// Show how the last loads went, and which rows wait to be mended or for another row
    Status(status::StatusArguments),
    /// List rejected rows, or write them to a file that you can mend and load
    Rejects(rejects::RejectsArguments),
    /// Show which file and line gave a row its values, and what other files brought for it
    Explain(explain::ExplainArguments),
    /// Show which rows of the loaded files a changed definition would reject or accept
    Replay(replay::ReplayArguments),
    /// Give back what a table had before a load, as far as no later load has touched it
    Undo(undo::UndoArguments),
    /// Give the rows of a table new keys after `content` in its definition has changed
    Rekey(rekey::RekeyArguments),
    /// Write the report of a load as a web page
    Report {
        /// Which load
        load: i64,
        /// Write to this file; - is standard output
        #[arg(long, value_name = "OUT.html")]
        html: PathBuf,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Compare buckets, tables and calendar with the ledger, load what is missing, and report what differs
    Reconcile(reconcile::ReconcileArguments),
    /// Load the files that were already in a bucket
    Backfill(reconcile::BackfillArguments),
    /// Print the encrypted values of a dataset as CSV
    Decrypt(decrypt::DecryptArguments),
    /// Print a sample file; the same seed makes the same bytes
    Sample {
        /// What to generate
        dataset: SampleDataset,
        /// The number of records
        #[arg(long, default_value_t = 1000)]
        rows: u64,
        /// The number of accounts that trades may belong to
        #[arg(long, default_value_t = 100)]
        accounts: u64,
        /// The seed of the random numbers
        #[arg(long, default_value_t = 1)]
        seed: u64,
        /// Break every Nth record; 0 breaks none
        #[arg(long, default_value_t = 0)]
        broken_every: u64,
        /// Write to this file instead of standard output
        #[arg(long, short)]
        output: Option<PathBuf>,
    },
    /// Print the JSON Schema that editors use to complete and check definitions or settings
    Schema {
        /// Of what
        of: schema::SchemaOf,
    },
    /// Print a completion script for a shell
    Completions {
        /// Which shell
        shell: Shell,
    },
    /// Write the manual pages into a folder
    #[command(hide = true)]
    Man {
        /// The folder, which must exist
        folder: PathBuf,
    },
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum SampleDataset {
    Asset,
    Trade,
}

/// Runs the command line of this process and ends the process. `parts` are the parts that settings may name. It does
/// not wait for threads whose result is no longer needed: one of them may be waiting for an answer from a server.
pub async fn main(parts: Parts) -> ExitCode {
    let code = match Arguments::try_parse() {
        Ok(arguments) => run(arguments.command, &parts).await.unwrap_or_else(|error| tell(&error)),
        Err(usage) => {
            // Nothing can be reported if the terminal is gone. Help and version are not mistakes.
            let _ = usage.print();
            if usage.use_stderr() { NOT_DONE } else { DONE }
        }
    };
    crate::data_access::traces::flush();
    std::process::exit(code.into())
}

async fn run(command: Command, parts: &Parts) -> Result<u8> {
    match command {
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Arguments::command(), "small-etl", &mut script);
            // For a name with a hyphen, the generator writes case labels for bash that differ from those it computes.
            print(&String::from_utf8_lossy(&script).replace("small__subcmd__etl", "small__etl"))?;
            Ok(DONE)
        }
        Command::Man { folder } => {
            for (name, page) in man::pages(Arguments::command()) {
                let path = folder.join(name);
                std::fs::write(&path, page).map_err(|error| unwritable(&path, error))?;
            }
            Ok(DONE)
        }
        Command::Sample { dataset, rows, accounts, seed, broken_every, output } => {
            let options = SampleOptions { rows, accounts, seed, broken_every };
            match write_sample(dataset, options, output) {
                // The reader closed the pipe.
                Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(DONE),
                written => written.map(|()| DONE).map_err(|error| Error::system("write the sample", error)),
            }
        }
        Command::Schema { of } => schema::run(of),
        Command::Check(arguments) => check::run(parts, arguments).await,
        Command::Migrate(arguments) => migrate::run(&start()?, arguments).await,
        Command::Load(arguments) => load::run(&start()?, parts, arguments).await,
        Command::Guess(arguments) => guess::run(&start()?, arguments).await,
        Command::Describe(arguments) => describe::run(&start()?, parts, arguments).await,
        Command::Validate(arguments) => validate::run(&start()?, parts, arguments).await,
        Command::Status(arguments) => status::run(&start()?, arguments).await,
        Command::Rejects(arguments) => rejects::run(&start()?, arguments).await,
        Command::Explain(arguments) => explain::run(&start()?, arguments).await,
        Command::Replay(arguments) => replay::run(&start()?, parts, arguments).await,
        Command::Undo(arguments) => undo::run(&start()?, arguments).await,
        Command::Rekey(arguments) => rekey::run(&start()?, arguments).await,
        Command::Report { load, html, json } => write_report(&start()?, LoadId(load), &html, json).await,
        Command::Reconcile(arguments) => reconcile::reconcile(&start()?, parts, arguments).await,
        Command::Backfill(arguments) => reconcile::backfill(&start()?, parts, arguments).await,
        Command::Decrypt(arguments) => decrypt::run(&start()?, arguments).await,
    }
}

fn start() -> Result<Settings> {
    let settings = Settings::read()?;
    // On a terminal the report says it all, except what it waits for and what is odd about the definitions;
    // `RUST_LOG=info` shows the steps.
    crate::start::logging(settings.log.format, QUIET)?;
    Ok(settings)
}

fn write_sample(dataset: SampleDataset, options: SampleOptions, output: Option<PathBuf>) -> std::io::Result<()> {
    let out: Box<dyn Write> = match output {
        Some(path) => Box::new(std::fs::File::create(path)?),
        None => Box::new(std::io::stdout()),
    };
    let mut out = std::io::BufWriter::new(out);
    match dataset {
        SampleDataset::Asset => sample::assets(&mut out, options)?,
        SampleDataset::Trade => sample::trades(&mut out, options)?,
    }
    out.flush()
}

async fn write_report(settings: &Settings, load: LoadId, path: &Path, json: bool) -> Result<u8> {
    let database = Database::new(&settings.database()?)?;
    let page = services::report::page(&database, load).await?;
    if path == Path::new("-") {
        print(&page)?;
        return Ok(DONE);
    }
    std::fs::write(path, page).map_err(|error| unwritable(path, error))?;
    let text = format!("report of load {load} written to {}\n", path.display());
    print(&if json { as_json(&serde_json::json!({ "load_id": load, "html": path }))? } else { text })?;
    Ok(DONE)
}
