//! Reads the definition of a dataset. Errors name the file and the line.

use std::collections::BTreeSet;

use super::calendar::Calendar;
use super::column::{Column, Constraint};
use super::column_definition::{ColumnDefinition, read_column, read_options};
use super::dataset::{Agreement, Dataset, FOOTER, OWN_FIGURES, Reference, Statistic};
use super::definition_text::{DefinitionText, all};
use super::expression::{Expression, Scope, unknown};
use super::files::Files;
use super::identity_definition::{Given, Identity, check_key, read_identity, read_limits, read_mode};
use super::key_definition::{Names, bound_texts, check_columns, content_key};
use super::mode::Filled;
use super::replacement::{GivenReplacement, Replacement};
use super::row_history::read_history;
use super::rule::RowRule;
use super::schema::{Definition, ReferenceDefinition, RuleDefinition, StatisticDefinition};
use super::source::kind::TargetColumn;
use super::source::model::Source;
use super::source::read_sources;
use super::spanned::Spanned;
use super::tombstone::read_tombstone;
use super::types::{IGNORED, TYPES};
use super::violation;

/// Whether a rule with this name exists for every file, its key or its columns. No other rule may have the name.
pub(super) fn is_implied(rule: &str) -> bool {
    violation::OF_EVERY_FILE.contains(&rule)
        || Constraint::RULES.contains(&rule)
        || TYPES.iter().any(|registered| registered.name == rule)
}

/// Checks that no two rules and no two statistics have the same name in the ledger and in reports.
pub(super) fn check_names(file: &str, text: &str) -> Result<(), String> {
    let source = DefinitionText { file, text };
    let definition: Definition = source.read()?;
    let rules = definition.rule.iter().map(|rule| (rule.id.span().start, rule.id.get_ref()));
    let agreements = definition.reference.iter().flat_map(|reference| &reference.get_ref().warn_unless);
    let agreements = agreements.map(|agreement| (agreement.span().start, &agreement.get_ref().id));
    let has_sources = !definition.source.is_empty();
    let is_taken = |rule: &str| is_implied(rule) || has_sources && violation::OF_EVERY_SOURCE.contains(&rule);
    source.check_names("rule", is_taken, rules.chain(agreements))?;
    let statistics = definition.statistic.iter().map(|statistic| (statistic.id.span().start, statistic.id.get_ref()));
    let is_own = |name: &str| OWN_FIGURES.contains(&name) || has_sources && name == FOOTER;
    source.check_names("statistic", is_own, statistics)
}

/// Reads one definition. References to other datasets are resolved later.
pub(super) fn read_definition(file: &str, text: &str) -> Result<Dataset, String> {
    let source = DefinitionText { file, text };
    let definition: Definition = source.read()?;
    source.check_answered(&definition.open_questions)?;
    let (mut columns, ignored) = read_columns(&source, &definition.column)?;
    let referring = definition.reference.as_ref().map(|reference| referring(&source, reference)).transpose()?;
    let refers = referring.map_or(&[][..], |names| names.get_ref().all());
    let mode = read_mode(&source, definition.mode.as_ref())?;
    let at = definition.key.as_ref().map_or_else(|| definition.name.span().start, |key| key.span().start);
    let indexed =
        |names: &Option<Spanned<Names>>| names.as_ref().map_or_else(Vec::new, |names| names.get_ref().all().to_vec());
    for names in [&indexed(&definition.key)[..], refers, &indexed(&definition.replace_by)] {
        bound_texts(&source, at, names, &mut columns)?;
    }
    let identity = given_identity(&definition);
    let identity = read_identity(&source, &identity, mode, (&columns, &ignored))?;
    let Identity { key, content, version, mut filled } = identity;
    check_key(&columns, (&key, version.as_deref()), refers).map_err(|message| source.error_at(at, message))?;
    let replaces = given_replacement(&definition);
    let replacement = replaces.read(&source, mode, (&columns, &ignored))?;
    filled.extend(replacement.iter().filter_map(Replacement::filled));
    let used = used_columns(&definition, &[&key[..], refers], version.as_ref());
    let tombstone = definition.tombstone.as_ref();
    let tombstone = tombstone.map(|one| read_tombstone(&source, one, (mode, content.is_some()), &used, &mut columns));
    let tombstone = tombstone.transpose()?;
    let history = definition.history.as_ref();
    let history = history.map(|history| read_history(&source, history, definition.table.get_ref(), &columns));
    let history = history.transpose()?;
    let (rules, statistics) = read_expressions(&source, &definition, &columns)?;
    let reference = definition.reference.as_ref().zip(referring);
    let reference = reference.map(|(reference, here)| read_reference(&source, reference.get_ref(), here, &columns));
    let reference = reference.transpose()?;
    let sources = read_forms(source, &definition, &columns)?;
    replaces.check_empty(&source, replacement.as_ref(), (&sources, !definition.files.get_ref().is_empty()))?;
    let load = read_limits(&source, definition.load.as_ref(), reference.is_some())?;
    columns.extend(filled.iter().map(Filled::column));
    columns.extend(content.is_some().then(content_key));
    Ok(Dataset {
        name: source.name(&definition.name)?,
        table: source.table_name(&definition.table)?,
        mode,
        filled,
        replacement,
        key,
        content,
        version,
        tombstone,
        history,
        latest_version: None,
        ignored,
        null_values: definition.null_values,
        rules,
        reference,
        manifest: definition.manifest,
        load,
        expected: definition.expected.as_ref().map(|text| read_calendar(&source, text)).transpose()?,
        statistics,
        sources,
        unstaged: Vec::new(),
        files: Files::read(definition.files.get_ref()).map_err(|message| source.error(&definition.files, message))?,
        columns,
    })
}

fn given_identity(definition: &Definition) -> Given<'_> {
    Given {
        name: &definition.name,
        key: definition.key.as_ref(),
        content: definition.content.as_ref(),
        version: definition.version.as_ref(),
    }
}

fn given_replacement(definition: &Definition) -> GivenReplacement<'_> {
    GivenReplacement {
        replace_by: definition.replace_by.as_ref(),
        deleted: definition.deleted.as_ref(),
        max_delete_rate: definition.max_delete_rate.as_ref(),
        empty: definition.empty.as_ref(),
    }
}

fn read_calendar(source: &DefinitionText<'_>, text: &Spanned<String>) -> Result<Calendar, String> {
    Calendar::parse(text.get_ref()).map_err(|message| source.error(text, format!("expected: {message}")))
}

/// Reads the forms in which files come, besides the plain one.
fn read_forms(text: DefinitionText<'_>, definition: &Definition, columns: &[Column]) -> Result<Vec<Source>, String> {
    if definition.files.get_ref().is_empty() && definition.source.is_empty() {
        return Err(text.error(&definition.name, "files lists no pattern, and no source does"));
    }
    let target = |column: &Column| TargetColumn { name: column.name.clone(), kind: column.kind.family() };
    let targets: Vec<TargetColumn> = columns.iter().map(target).collect();
    let sources = read_sources(text, &definition.source, &targets, &definition.null_values)?;
    let secrets = sources.iter().try_for_each(|by| by.check_secrets(columns));
    secrets.map_err(|message| text.error(&definition.name, message))?;
    Ok(sources)
}

fn names(columns: &[Column]) -> Vec<&str> {
    columns.iter().map(|column| column.name.as_str()).collect()
}

fn is_secret(columns: &[Column], name: &str) -> bool {
    columns.iter().any(|column| column.name == name && column.encrypt)
}

/// The columns by which rows are told apart, ordered, or compared with those of another dataset.
fn used_columns(definition: &Definition, names: &[&[String]], version: Option<&String>) -> Vec<String> {
    let agreements = definition.reference.iter().flat_map(|reference| &reference.get_ref().warn_unless);
    let agreeing = agreements.map(|agreement| &agreement.get_ref().column);
    names.iter().copied().flatten().chain(version).chain(agreeing).cloned().collect()
}

/// Reads the columns: those that are loaded, and the names of the others.
fn read_columns(
    source: &DefinitionText<'_>,
    definitions: &[Spanned<ColumnDefinition>],
) -> Result<(Vec<Column>, Vec<String>), String> {
    let mut known = BTreeSet::new();
    let read = |column: &Spanned<ColumnDefinition>| {
        let name = source.name(&column.get_ref().name)?;
        if !known.insert(name.clone()) {
            return Err(source.error(&column.get_ref().name, format!("column {name:?} is defined twice")));
        }
        if column.get_ref().kind.get_ref() == IGNORED {
            return read_options(source, column, &[]).map(|()| (None, Some(name)));
        }
        read_column(source, name, column).map(|column| (Some(column), None))
    };
    let (columns, ignored): (Vec<_>, Vec<_>) = all(definitions.iter().map(read))?.into_iter().unzip();
    Ok((columns.into_iter().flatten().collect(), ignored.into_iter().flatten().collect()))
}

/// Returns the name of a column if the dataset has it.
fn known(source: &DefinitionText<'_>, name: &Spanned<String>, names: &[&str]) -> Result<String, String> {
    if names.contains(&name.get_ref().as_str()) {
        return Ok(name.get_ref().clone());
    }
    Err(source.error(name, unknown("column", name.get_ref(), names)))
}

/// Reads rules and statistics. Faults of both are reported together.
fn read_expressions(
    source: &DefinitionText<'_>,
    definition: &Definition,
    columns: &[Column],
) -> Result<(Vec<RowRule>, Vec<Statistic>), String> {
    let rules = read_rules(source, &definition.rule, &names(columns));
    let statistics = read_statistics(source, &definition.statistic, columns);
    match (rules, statistics) {
        (Err(rules), Err(statistics)) => Err(format!("{rules}\n{statistics}")),
        (rules, statistics) => Ok((rules?, statistics?)),
    }
}

fn read_rules(
    source: &DefinitionText<'_>,
    definitions: &[RuleDefinition],
    names: &[&str],
) -> Result<Vec<RowRule>, String> {
    let read = |rule: &RuleDefinition| {
        let id = rule.id.get_ref();
        let expression = |text: &Spanned<String>| {
            Expression::parse(text.get_ref(), Scope::Row, names)
                .map_err(|message| source.error(text, format!("rule {id}: {message}")))
        };
        let (when, check) = (rule.when.as_ref().map(expression).transpose()?, expression(&rule.check)?);
        let reads: BTreeSet<&String> = when.iter().chain([&check]).flat_map(Expression::reads).collect();
        Ok(RowRule {
            id: id.clone(),
            severity: rule.severity,
            column: known(source, &rule.column, names)?,
            reads: reads.into_iter().cloned().collect(),
            when,
            check: Some(check),
            message: rule.message.clone(),
        })
    };
    all(definitions.iter().map(read))
}

fn read_statistics(
    source: &DefinitionText<'_>,
    definitions: &[StatisticDefinition],
    columns: &[Column],
) -> Result<Vec<Statistic>, String> {
    let names = names(columns);
    let read = |statistic: &StatisticDefinition| {
        let StatisticDefinition { id, expression: text, group_by } = statistic;
        let expression = Expression::parse(text.get_ref(), Scope::Aggregate, &names)
            .map_err(|message| source.error(text, format!("statistic {}: {message}", id.get_ref())))?;
        let group_by = group_by.as_ref().map(|column| known(source, column, &names)).transpose()?;
        if let Some(column) = expression.reads().iter().chain(&group_by).find(|column| is_secret(columns, column)) {
            let message = format!("column {column:?} is encrypted; the ledger would tell its values");
            return Err(source.error(text, message));
        }
        Ok(Statistic { id: id.get_ref().clone(), expression, group_by })
    };
    all(definitions.iter().map(read))
}

/// What a reference says of its columns: `column = "…"` or `columns = ["…", "…"]`.
fn referring<'d>(
    source: &DefinitionText<'_>,
    definition: &'d Spanned<ReferenceDefinition>,
) -> Result<&'d Spanned<Names>, String> {
    match (&definition.get_ref().column, &definition.get_ref().columns) {
        (Some(names), None) | (None, Some(names)) => Ok(names),
        _ => Err(source.error(definition, "a reference names its column, or its columns in a list")),
    }
}

fn read_reference(
    source: &DefinitionText<'_>,
    definition: &ReferenceDefinition,
    here: &Spanned<Names>,
    columns: &[Column],
) -> Result<Reference, String> {
    check_columns(source, here, columns)?;
    let agreements: Vec<Agreement> = definition.warn_unless.iter().map(|found| found.get_ref().clone()).collect();
    let referring = here.get_ref().all().to_vec();
    let compared = agreements.iter().map(|agreement| &agreement.column).chain(&referring);
    if let Some(secret) = compared.into_iter().find(|name| is_secret(columns, name)) {
        let message = format!("column {secret:?} is encrypted and cannot be compared with another table");
        return Err(source.error(here, message));
    }
    let names = names(columns);
    if let Some(agreement) = agreements.iter().find(|agreement| !names.contains(&agreement.column.as_str())) {
        return Err(source.error(here, unknown("column", &agreement.column, &names)));
    }
    let dataset = definition.dataset.get_ref().clone();
    let (table, key, key_kinds) = (String::new(), Vec::new(), Vec::new());
    Ok(Reference { columns: referring, dataset, table, key, key_kinds, agreements })
}

/// Completes the references. A reference names a dataset, whose table, key and columns are known only after all
/// definitions are read.
pub(super) fn resolve_references(datasets: &mut [Dataset], files: &[(&str, &str)]) -> Result<(), String> {
    let targets = datasets.to_vec();
    let names: Vec<&str> = targets.iter().map(|dataset| dataset.name.as_str()).collect();
    let resolve = |(dataset, (file, text)): (&mut Dataset, &(&str, &str))| {
        let Some(reference) = &mut dataset.reference else { return Ok(()) };
        let resolved = match targets.iter().find(|target| target.name == reference.dataset) {
            Some(target) => resolve_reference(reference, &dataset.columns, target),
            None => Err(unknown("dataset", &reference.dataset, &names)),
        };
        let at = text.find("[reference]").unwrap_or(0);
        resolved.map_err(|message| DefinitionText { file, text }.error_at(at, message))
    };
    all(datasets.iter_mut().zip(files).map(resolve)).map(|_| ())
}

/// Completes a reference of a dataset that has the columns `own`.
fn resolve_reference(reference: &mut Reference, own: &[Column], target: &Dataset) -> Result<(), String> {
    for agreement in &reference.agreements {
        if target.column(&agreement.equals).is_some_and(|column| column.encrypt) {
            return Err(format!("column {:?} of dataset {:?} is encrypted", agreement.equals, target.name));
        }
        let columns = names(target.table_columns());
        if !columns.contains(&agreement.equals.as_str()) {
            return Err(unknown("column", &agreement.equals, &columns));
        }
    }
    if target.content.is_some() || target.is_known_by_place() {
        let made = if target.content.is_some() { "made of its content" } else { "the place of a row" };
        return Err(format!("dataset {:?} has a key that is {made}; nothing can refer to it", target.name));
    }
    reference.table.clone_from(&target.table);
    reference.key.clone_from(&target.key);
    reference.key_kinds = target.key_columns().iter().map(|column| column.kind.clone()).collect();
    let (here, there) = (reference.columns.join(", "), reference.key.join(", "));
    if reference.columns.len() != reference.key.len() {
        return Err(format!(
            "the key of dataset {:?} is {there}; name a column for each of its columns, not {here}",
            target.name
        ));
    }
    let referring = reference.columns.iter().filter_map(|name| own.iter().find(|column| column.name == *name));
    let mut pairs = referring.zip(reference.key_kinds.iter().zip(&reference.key));
    if let Some((column, (_, key))) = pairs.find(|(column, (kind, _))| column.kind != **kind) {
        return Err(format!(
            "column {:?} refers to {key:?} of dataset {:?}, which has another type",
            column.name, reference.dataset
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests;
