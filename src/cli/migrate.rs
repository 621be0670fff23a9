//! `small-etl migrate`.

use std::fmt::Write as _;
use std::path::PathBuf;

use clap::Args;
use serde_json::json;

use super::terminal::{DONE, NOT_DONE, as_json, print, say};
use crate::config::Settings;
use crate::data_access::postgres::{Database, TablePlan, newest_migration};
use crate::error::Result;
use crate::services::migrations;

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  small-etl migrate
  small-etl migrate --plan
  small-etl migrate --plan --out mine/migrations

A plan creates tables, adds columns and indexes, and widens types. It never narrows a type, and it alters nothing by itself: write it \
as a migration and run `migrate`. The exit code is 3 if a table cannot be made to fit without a decision of yours.")]
pub(super) struct MigrateArguments {
    /// Print the SQL that would make each table fit the definition of its dataset, and change nothing
    #[arg(long)]
    plan: bool,
    /// Also write the plan as a migration: into this folder, with the next free number, or into this file
    #[arg(long, value_name = "DIR|FILE.sql", requires = "plan")]
    out: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(settings: &Settings, arguments: MigrateArguments) -> Result<u8> {
    let database = Database::new(&settings.database()?)?;
    if arguments.plan {
        return plan(&database.plan(&settings.datasets()?).await?, &arguments);
    }
    let applied = database.migrate(settings.migrations.path.as_deref(), &settings.datasets()?).await?;
    database.keep_ledger_for(settings.ledger.retention_days).await?;
    if settings.migrations.rds_iam {
        database.grant_rds_iam().await?;
    }
    if arguments.json {
        print(&format!("{}\n", serde_json::json!({ "applied": applied })))?;
    } else if applied.is_empty() {
        print("the schema is current\n")?;
    } else {
        for migration in applied {
            print(&format!("applied V{} {}\n", migration.version, migration.name))?;
        }
    }
    Ok(DONE)
}

fn plan(plans: &[TablePlan], arguments: &MigrateArguments) -> Result<u8> {
    let (sql, refused) = (sql(plans), plans.iter().any(|plan| !plan.refused.is_empty()));
    // Half a plan would be a migration after which the table still does not fit.
    let out = arguments.out.as_deref().filter(|_| !refused && !sql.is_empty());
    let written = out.map(|out| migrations::write(out, "fit_tables", &sql, newest_migration())).transpose()?;
    if arguments.json {
        print(&as_json(&json!({ "plan": plans, "written": written }))?)?;
    } else {
        print(if sql.is_empty() && !refused { "every table fits its definition\n" } else { &sql })?;
        for plan in plans {
            plan.refused.iter().for_each(|why| say(&format!("dataset {}: table {}: {why}", plan.dataset, plan.table)));
        }
        if let Some(path) = &written {
            print(&format!("-- written to {}; `small-etl migrate` applies it from migrations.path\n", path.display()))?;
        } else if arguments.out.is_some() && refused {
            say("nothing is written until every table can be made to fit");
        }
    }
    Ok(if refused { NOT_DONE } else { DONE })
}

fn sql(plans: &[TablePlan]) -> String {
    let mut text = String::new();
    for plan in plans.iter().filter(|plan| !plan.statements.is_empty()) {
        // Writing to a string does not fail.
        let _ = writeln!(text, "-- dataset {}", plan.dataset);
        for statement in &plan.statements {
            let end = if statement.starts_with("--") { "" } else { ";" };
            let _ = writeln!(text, "{statement}{end}");
        }
    }
    text
}
