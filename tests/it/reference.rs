//! The pages in docs/reference, and parts of other pages, are made from the code: between two comments that name the part stands what the
//! program says of itself. `UPDATE=1 cargo test --test it reference::` writes it anew.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::sync::Mutex;

use serde_json::{Map, Value};
use small_etl::config::Settings;
use small_etl::domain::expression::{AGGREGATES, SCALARS};
use small_etl::domain::json_schema;
use small_etl::domain::types::{Options, Registration, TYPES};
use small_etl::services::parts::options_of_parts;

use crate::documents::{commands_of_help, help};

/// Compares a part of a page with what the code says.
fn compare(page: &str, part: &str, made: &str) {
    // Two tests may write the same page.
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    let _guard = ONE_AT_A_TIME.lock();
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs").join(page);
    let text = fs::read_to_string(&path).unwrap();
    let (begin, end) = (format!("<!-- made from the code: {part} -->"), format!("<!-- end: {part} -->"));
    let found = text.split_once(&begin).and_then(|(before, rest)| Some((before, rest.split_once(&end)?)));
    let (before, (written, after)) = found.unwrap_or_else(|| panic!("{page} has no part {begin} … {end}"));
    if std::env::var_os("UPDATE").is_some() {
        fs::write(&path, format!("{before}{begin}\n\n{}\n\n{end}{after}", made.trim())).unwrap();
    } else {
        let command = "UPDATE=1 cargo test --test it reference::";
        assert!(written.trim() == made.trim(), "docs/{page} is not what the program says of {part}: {command}");
    }
}

/// Text as it may stand in a cell of a table.
fn cell(text: &str) -> String {
    text.replace('\n', " ").replace('|', "\\|")
}

fn in_code(text: &str) -> String {
    // A blank at either end, or a backtick inside, needs a longer fence.
    if text.contains('`') { format!("`` {text} ``") } else { format!("`{text}`") }
}

/// An option: its name, its values, its default, and what it is for.
#[derive(PartialEq)]
struct Row(String, String, String, String);

/// What a schema says of the options below it, by the table of TOML that they stand in.
#[derive(Default)]
struct Tables(Vec<(String, String, Vec<Row>)>);

impl Tables {
    fn table(&mut self, place: &str, about: &str) -> &mut Vec<Row> {
        let known = self.0.iter().position(|(name, ..)| name == place).unwrap_or_else(|| {
            self.0.push((place.to_owned(), about.to_owned(), Vec::new()));
            self.0.len() - 1
        });
        &mut self.0[known].2
    }

    fn read(&mut self, schema: &Value, place: &str, about: &str) {
        let choices = ["anyOf", "oneOf"].into_iter().filter_map(|key| schema[key].as_array()).flatten();
        for choice in choices.filter(|choice| choice.get("properties").is_some() || choice.get("items").is_some()) {
            self.read(choice, place, about);
        }
        if schema["items"].is_object() {
            self.read(&schema["items"], &format!("[{place}]"), about);
        }
        if schema["additionalProperties"].is_object() {
            self.read(&schema["additionalProperties"], &below(place, "NAME"), about);
        }
        let properties = schema["properties"].as_object().into_iter().flatten();
        for (name, option) in properties {
            let needed = schema["required"].as_array().is_some_and(|all| all.iter().any(|one| one == name));
            let default = match &option["default"] {
                _ if needed => "required".to_owned(),
                Value::Null => String::new(),
                Value::Array(all) if all.is_empty() => String::new(),
                Value::Object(all) if all.is_empty() => String::new(),
                value => in_code(&value.to_string()),
            };
            let row = Row(name.clone(), values(option), default, meaning(option));
            self.table(place, about).push(row);
        }
        for (name, option) in schema["properties"].as_object().into_iter().flatten() {
            self.read(option, &below(place, name), option["description"].as_str().unwrap_or_default());
        }
    }

    fn print(&self) -> String {
        let mut page = String::new();
        for (place, about, rows) in &self.0 {
            if !place.is_empty() {
                write!(page, "\n## `[{place}]`\n\n{}\n", cell(about)).unwrap();
            }
            // An option of a source holds for all of its columns, or for one.
            let above = place.trim_matches(['[', ']']).rsplit_once('.').map(|(above, _)| format!("[{above}]"));
            let above = self.0.iter().find(|(name, ..)| Some(name) == above.as_ref());
            let (again, own): (Vec<&Row>, Vec<&Row>) =
                rows.iter().partition(|row| above.is_some_and(|(.., rows)| rows.contains(row)));
            page.push_str("\n| option | value | default | |\n| --- | --- | --- | --- |\n");
            for Row(name, values, default, meaning) in own {
                writeln!(page, "| `{name}` | {values} | {default} | {meaning} |").unwrap();
            }
            if let Some((above, ..)) = above.filter(|_| again.len() > 1) {
                let names: Vec<String> = again.iter().map(|row| in_code(&row.0)).collect();
                let names = names.join(", ");
                write!(
                    page,
                    "\nThese options of `[{above}]` may also stand here, and then hold for this one alone: {names}.\n"
                )
                .unwrap();
            } else {
                for row in again {
                    writeln!(page, "| `{}` | {} | {} | {} |", row.0, row.1, row.2, row.3).unwrap();
                }
            }
        }
        page
    }
}

/// The place of a table or list below a table or list: `[source]` and `column` are `source.column`.
fn below(place: &str, name: &str) -> String {
    let place = place.trim_matches(['[', ']']);
    if place.is_empty() { name.to_owned() } else { format!("{place}.{name}") }
}

/// Says what values an option takes.
fn values(schema: &Value) -> String {
    let json = |value: &Value| in_code(&cell(&value.to_string()));
    if let Some(value) = schema.get("const") {
        return json(value);
    }
    if let Some(all) = schema["enum"].as_array() {
        return all.iter().filter(|value| !value.is_null()).map(json).collect::<Vec<_>>().join(", ");
    }
    let choices: Vec<&Value> =
        ["anyOf", "oneOf"].into_iter().filter_map(|key| schema[key].as_array()).flatten().collect();
    if !choices.is_empty() {
        let mut said: Vec<String> = Vec::new();
        for one in choices.into_iter().map(values) {
            if !said.contains(&one) {
                said.push(one);
            }
        }
        return said.join(if said.iter().all(|one| one.starts_with('`')) { ", " } else { " or " });
    }
    let (kind, null) = match &schema["type"] {
        Value::Array(kinds) => (kinds[0].as_str(), " or null"),
        kind => (kind.as_str(), ""),
    };
    let kind = match kind.unwrap_or_default() {
        "array" if schema["items"].is_object() => return format!("list of {}", values(&schema["items"])),
        "array" => "list",
        "object" => "table",
        "string" => "text",
        "integer" => "whole number",
        "boolean" => "true or false",
        other => other,
    };
    let bound = |key: &str, word: &str| schema.get(key).map(|bound| format!(" {word} {bound}")).unwrap_or_default();
    format!("{kind}{}{}{null}", bound("minimum", "from"), bound("maximum", "to"))
}

/// Says what an option is for, and what each of its values means.
fn meaning(schema: &Value) -> String {
    let mut text = vec![cell(schema["description"].as_str().unwrap_or_default())];
    let choices: Vec<&Value> = schema["oneOf"].as_array().into_iter().flatten().collect();
    // The types of columns have a page.
    if choices.len() > 10 {
        return format!("{} See [Column types](types.md).", text[0]);
    }
    for choice in choices {
        if let (Some(value), Some(about)) = (choice.get("const"), choice["description"].as_str()) {
            text.push(format!("{}: {}", in_code(&value.to_string()), cell(about)));
        }
    }
    text.join(" ")
}

fn every_option(schema: &Value) -> String {
    let mut tables = Tables::default();
    tables.read(schema, "", "");
    tables.print()
}

#[test]
fn every_option_of_a_definition_is_listed_with_its_sentence() {
    compare("reference/definition.md", "options", &every_option(&json_schema::of_dataset()));
}

#[test]
fn every_setting_is_listed_with_its_default() {
    compare("reference/settings.md", "settings", &every_option(&Settings::schema()));
}

#[test]
fn every_option_of_a_part_is_listed_with_its_default() {
    for (part, schema) in options_of_parts() {
        compare("parts.md", part, &every_option(&schema));
    }
}

#[test]
fn every_command_is_listed_with_its_options() {
    let mut page = String::new();
    for name in commands_of_help() {
        let help = help(&[&name]);
        let (about, usage) = help.split_once("\n\n").unwrap();
        let usage: Vec<&str> = usage.trim_end().lines().map(str::trim_end).collect();
        write!(page, "\n## {name}\n\n{}.\n\n```text\n{}\n```\n", about.trim(), usage.join("\n")).unwrap();
    }
    compare("reference/commands.md", "commands", &page);
}

/// Describes the options of a type.
fn options_of(registered: &Registration) -> String {
    let options = registered.options.iter().map(|option| {
        let (least, most) = option.bounds;
        format!(" `{}` ({least} to {most}): {}", option.name, option.about)
    });
    options.collect()
}

#[test]
fn every_column_type_is_listed_with_what_it_reads_and_where_it_fits() {
    let mut values = "| type | values | a cell, and the value in Postgres | not a value | column of the table |\n\
        | --- | --- | --- | --- | --- |\n"
        .to_owned();
    let mut uses = "| type | key, reference | version | bounds, `allowed` | sum in a manifest |\n\
        | --- | --- | --- | --- | --- |\n"
        .to_owned();
    for registered in TYPES {
        let samples = &registered.samples[0];
        let kind = registered.kind(&toml::from_str::<Options>(samples.options).unwrap()).unwrap();
        let (written, stored) = samples.values[0];
        let stored = if written == stored { String::new() } else { format!(" → {}", in_code(&cell(stored))) };
        let others: Vec<String> = samples.others.iter().take(2).map(|other| in_code(&cell(other))).collect();
        let (name, about, options) = (registered.name, cell(registered.about), options_of(registered));
        let (written, others, needed) = (in_code(&cell(written)), others.join(", "), kind.needed(None));
        writeln!(values, "| `{name}` | {about}{options} | {written}{stored} | {others} | {needed} |").unwrap();
        let yes = |is: bool| if is { "yes" } else { "no" };
        let key = kind.not_a_key().map_or("yes".to_owned(), |why| format!("no: {why}"));
        let (version, bounds, sum) = (kind.can_be_version(), kind.can_be_compared(), kind.digits().is_some());
        writeln!(uses, "| `{name}` | {key} | {} | {} | {} |", yes(version), yes(bounds), yes(sum)).unwrap();
    }
    compare("reference/types.md", "types", &values);
    compare("reference/types.md", "uses", &uses);
    let listed = |names: &[&str]| names.iter().map(|name| in_code(name)).collect::<Vec<_>>().join(", ");
    compare("reference/types.md", "functions", &format!("{}.", listed(SCALARS)));
    compare("reference/types.md", "aggregates", &format!("{}.", listed(AGGREGATES)));
}

#[test]
fn every_event_is_listed_with_its_members() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("events/schemas");
    let mut files: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    let schemas: Vec<Value> =
        files.iter().map(|file| serde_json::from_str(&fs::read_to_string(file).unwrap()).unwrap()).collect();
    let members = |schema: &Value| schema["properties"].as_object().unwrap().clone();
    // What every event has, and what every event about a file has, is said once.
    let shared = |schemas: &[&Value]| -> Map<String, Value> {
        let mut all = members(schemas[0]);
        all.retain(|name, _| schemas.iter().all(|schema| schema["properties"].get(name).is_some()));
        all
    };
    let table = |members: &Map<String, Value>| {
        let mut table = "| member | value | |\n| --- | --- | --- |\n".to_owned();
        for (name, member) in members {
            let about = member["description"].as_str().unwrap_or_else(|| panic!("{name} has no description"));
            writeln!(table, "| `{name}` | {} | {} |", values(member), cell(about)).unwrap();
        }
        table
    };
    let of_all = shared(&schemas.iter().collect::<Vec<_>>());
    let about_files: Vec<&Value> = schemas.iter().filter(|schema| schema["properties"].get("key").is_some()).collect();
    let mut of_files = shared(&about_files);
    of_files.retain(|name, _| !of_all.contains_key(name));
    let mut page =
        format!("Every event has:\n\n{}\nEvery event about a file also has:\n\n{}", table(&of_all), table(&of_files));
    for schema in &schemas {
        let is_about_a_file = schema["properties"].get("key").is_some();
        let mut own = members(schema);
        own.retain(|name, _| !(of_all.contains_key(name) || is_about_a_file && of_files.contains_key(name)));
        let (title, about) = (schema["title"].as_str().unwrap(), schema["description"].as_str().unwrap());
        let about = about.split(" The detail of an event").next().unwrap();
        write!(page, "\n### {title}\n\n{}\n\n{}", cell(about), table(&own)).unwrap();
    }
    compare("events.md", "events", &page);
}
