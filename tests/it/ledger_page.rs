//! docs/ledger.md says what every table, view and column of the ledger means, as the comments in the database do.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use crate::world::{World, client};

const INTRODUCTION: &str = "# The ledger\n\n\
    Everything that Small ETL knows of files and rows is in the schema `etl` of the database, for SQL, dashboards and alarms of your own. The views are what people look at first. \
    This page is made of the comments in the database, which `\\d+ etl.load` and other tools show as well; a test compares them.\n";
const RELATIONS: &str = "select c.oid::regclass::text, c.relkind = 'v', coalesce(obj_description(c.oid, 'pg_class'), '') \
    from pg_class c where c.relnamespace = 'etl'::regnamespace and c.relkind in ('r', 'v') order by c.relkind = 'r', c.relname";
const COLUMNS: &str = "select a.attname::text, format_type(a.atttypid, a.atttypmod), coalesce(col_description(a.attrelid, a.attnum), '') \
    from pg_attribute a where a.attrelid = $1::text::regclass and a.attnum > 0 and not a.attisdropped order by a.attnum";

/// `UPDATE=1` writes the page anew.
#[tokio::test]
async fn the_page_says_what_every_table_and_column_is() {
    let world = World::new().await;
    let (client, _connection) = client(&world.admin_url()).await;
    let mut page = INTRODUCTION.to_owned();
    for relation in client.query(RELATIONS, &[]).await.unwrap() {
        let (name, is_view, meaning): (String, bool, String) = (relation.get(0), relation.get(1), relation.get(2));
        assert!(!meaning.is_empty(), "{name} has no comment; write one in the migration that makes it");
        let kind = if is_view { "a view" } else { "a table" };
        write!(page, "\n## {name}\n\n{meaning} ({kind}).\n\n| column | type | |\n| --- | --- | --- |\n").unwrap();
        for column in client.query(COLUMNS, &[&name]).await.unwrap() {
            let (column, kind, meaning): (String, String, String) = (column.get(0), column.get(1), column.get(2));
            assert!(!meaning.is_empty(), "{name}.{column} has no comment; write one in the migration that adds it");
            writeln!(page, "| `{column}` | {kind} | {meaning} |").unwrap();
        }
    }
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/ledger.md");
    if std::env::var_os("UPDATE").is_some() {
        fs::write(&path, &page).unwrap();
    }
    let written = fs::read_to_string(path).unwrap();
    assert!(
        written == page,
        "docs/ledger.md is not what the database says; write it anew: UPDATE=1 cargo test --test it ledger_page::"
    );
}
