//! Guess: from files as a sender writes them to the definitions of datasets, each checked against the whole file.

mod against;
mod archive;
#[cfg(test)]
mod brokers;
mod fetch;
#[cfg(test)]
mod formats;
mod from;
mod input;
mod json;
#[cfg(test)]
mod layouts;
#[cfg(test)]
mod misled;
#[cfg(test)]
mod neighbours;
mod open;
mod parsed;
mod records;
mod sample;
#[cfg(test)]
mod told;
#[cfg(test)]
mod unfamiliar;
#[cfg(test)]
mod values;
mod write;

use std::collections::BTreeSet;

pub use against::{Against, against};
pub use fetch::{Fetched, fetch};
pub use from::{from_contract, read_contract};
pub use input::Input;
pub use parsed::datasets_of;
pub use write::{Texts, Written, write, write_against, write_texts};

use crate::domain::guess::answers::Answers;
use crate::domain::guess::dataset::{Guessed, look_at};
use crate::domain::guess::names;
use crate::domain::guess::place::Place;
use crate::domain::guess::sample::Record;
use crate::domain::guess::table::{FoundTable, find_tables};
use open::Opened;

/// Looks at files of the same kind, and says what datasets they hold.
///
/// # Errors
/// A message that names the file and says why nothing can be made of it.
pub fn guess(inputs: &[Input], name: &str, answers: &Answers) -> Result<Vec<Guessed>, String> {
    let mut tables: Vec<Table> = Vec::new();
    for input in inputs {
        let opened = open::open(input, answers)?;
        let several = opened.len() > 1;
        for part in opened {
            add(&mut tables, input, &part, several)?;
        }
    }
    if tables.is_empty() {
        let files = inputs.iter().map(|input| input.key.as_str()).collect::<Vec<_>>().join(", ");
        return Err(format!(
            "{files}: no table is there: no line of names or values with the same number of cells as others"
        ));
    }
    let names = dataset_names(name, &tables);
    let files = patterns(inputs, name);
    let looked = tables.into_iter().zip(names).map(|(table, name)| {
        let place = Place { name, files: files.clone(), ..table.place };
        let more: Vec<&Record> = table.more.iter().collect();
        look_at(place, &table.records, &table.found, &more, answers)
    });
    Ok(looked.collect())
}

/// A table of a file, with the rows of others like it.
struct Table {
    place: Place,
    /// What its dataset is called besides the name that was asked for.
    label: String,
    records: Vec<Record>,
    found: FoundTable,
    more: Vec<Record>,
}

fn add(tables: &mut Vec<Table>, input: &Input, opened: &Opened, several: bool) -> Result<(), String> {
    let found = find_tables(&opened.records, opened.sheet);
    let sections = found.len() > 1;
    for table in found {
        if table.rows.is_empty() && several {
            continue;
        }
        if let Some(why) = &table.between.refused {
            let part = if opened.part.is_empty() { String::new() } else { format!(", {}", opened.part) };
            return Err(format!("{}{part}: {why}", input.key));
        }
        let part = if sections { table.section.clone().unwrap_or_default() } else { opened.part.clone() };
        let label = if sections { part.clone() } else { opened.label.clone() };
        let header = |records: &[Record], table: &FoundTable| -> Vec<String> {
            table
                .header
                .clone()
                .flat_map(|at| records[at].cells.iter().map(|cell| cell.text.trim().to_owned()))
                .collect()
        };
        let own = header(&opened.records, &table);
        let same = |known: &&mut Table| {
            header(&known.records, &known.found) == own && known.label == label && known.found.width == table.width
        };
        if let Some(known) = tables.iter_mut().find(same) {
            known.more.extend(table.rows.iter().map(|at| opened.records[*at].clone()));
            known.found.between.extend(&table.between);
            continue;
        }
        if tables.iter().any(|known| known.label == label) && !several && !sections {
            return Err(format!(
                "{}: its header is not that of the first file; give files of the same kind alone",
                input.key
            ));
        }
        let place = Place {
            name: String::new(),
            key: input.key.clone(),
            part,
            files: Vec::new(),
            layout: opened.layout.clone(),
            sheet: opened.sheet,
            named: opened.named,
            places: opened.places.clone(),
            apart: opened.apart,
            percents: opened.percents.clone(),
            looked_at: opened.looked_at.clone(),
            encoding: opened.encoding.clone(),
        };
        tables.push(Table { place, label, records: opened.records.clone(), found: table, more: Vec::new() });
    }
    Ok(())
}

/// The names of the datasets: the one that was asked for, and what tells them apart if there are several.
fn dataset_names(name: &str, tables: &[Table]) -> Vec<String> {
    if let [_] = tables {
        return vec![name.to_owned()];
    }
    let mut known = BTreeSet::new();
    let named = |(at, table): (usize, &Table)| {
        let label = names::plain(&table.label).unwrap_or_else(|| format!("part_{}", at + 1));
        let label = label.strip_prefix(&format!("{name}_")).unwrap_or(&label).to_owned();
        let mut full: String = format!("{name}_{label}").chars().take(40).collect();
        while !known.insert(full.clone()) {
            full = format!("{}_{}", full.chars().take(36).collect::<String>(), at + 1);
        }
        full.trim_end_matches('_').to_owned()
    };
    tables.iter().enumerate().map(named).collect()
}

/// The patterns of the keys of files like these. A file on this machine is known by the end of its path.
fn patterns(inputs: &[Input], name: &str) -> Vec<String> {
    let mut all: Vec<String> = Vec::new();
    if inputs.iter().all(|input| input.folder.is_none()) {
        all.push(format!("incoming/{name}/**"));
    }
    for input in inputs {
        let file = input.key.rsplit(['/', '\\']).next().unwrap_or(&input.key);
        let general = archive::general(file);
        // What begins with a wildcard would have every key of a bucket listed.
        let anything = general.starts_with('*') && input.folder.is_none();
        let pattern = format!("{}{general}", input.folder.as_deref().unwrap_or_default());
        if !all.contains(&pattern) && !anything {
            all.push(pattern);
        }
    }
    all
}
