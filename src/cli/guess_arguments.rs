//! The arguments of `guess`.

use std::path::PathBuf;

use clap::Args;

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  small-etl guess export.csv --name trade
  small-etl guess export.csv --name trade --answer 'zone:Trade time=Europe/Paris'
  small-etl guess export.csv --against trade --out changed
  small-etl guess s3://my-bucket/incoming/acme/2025-12-22.zip --name acme --out etl --json
  small-etl guess --from trade.odcs.yaml --name trade

What no program can know is a question. On a terminal it is asked; elsewhere the files are written with the open lines marked, \
the exit code is 4, and --json lists the questions.")]
pub(super) struct GuessArguments {
    /// Files on this machine or objects in S3, all of the same kind
    #[arg(value_name = "FILE|s3://BUCKET/KEY", required_unless_present = "from")]
    pub(super) files: Vec<String>,
    /// Instead of files, read a contract: a Table Schema of Frictionless Data, or an Open Data Contract
    #[arg(long, value_name = "CONTRACT", conflicts_with = "files")]
    pub(super) from: Option<PathBuf>,
    /// What the dataset and its table are called
    #[arg(long, value_name = "NAME", required_unless_present = "against", conflicts_with = "against")]
    pub(super) name: Option<String>,
    /// Say how the files differ from this dataset, and write what would read them
    #[arg(long, value_name = "DATASET", conflicts_with = "from")]
    pub(super) against: Option<String>,
    /// Write the definitions and the migrations below this folder
    #[arg(long, value_name = "DIR", default_value = ".")]
    pub(super) out: PathBuf,
    /// Answer a question, or rename a column with name:HEADER=NAME
    #[arg(long = "answer", value_name = "ID=VALUE")]
    pub(super) answers: Vec<String>,
    /// Overwrite files that say something else
    #[arg(long)]
    pub(super) force: bool,
    /// Print JSON
    #[arg(long)]
    pub(super) json: bool,
}
