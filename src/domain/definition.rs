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
    let refers = match &definition.reference {
        None => &[][..],
        Some(reference) => referring(&source, reference)?.get_ref().all(),
    };
    let mode = read_mode(&source, definition.mode.as_ref())?;
    let at = definition.key.as_ref().map_or_else(|| definition.name.span().start, |key| key.span().start);
    let replaces = GivenReplacement {
        replace_by: definition.replace_by.as_ref(),
        deleted: definition.deleted.as_ref(),
        max_delete_rate: definition.max_delete_rate.as_ref(),
        empty: definition.empty.as_ref(),
    };
    let listed = |names: Option<&Spanned<Names>>| names.map_or_else(Vec::new, |names| names.get_ref().all().to_vec());
    for indexed in [&listed(definition.key.as_ref())[..], refers, &listed(replaces.replace_by)] {
        bound_texts(&source, at, indexed, &mut columns)?;
    }
    let given = Given {
        name: &definition.name,
        key: definition.key.as_ref(),
        content: definition.content.as_ref(),
        version: definition.version.as_ref(),
    };
    let Identity { key, content, version, mut filled } = read_identity(&source, &given, mode, (&columns, &ignored))?;
    check_key(&columns, (&key, version.as_deref()), refers).map_err(|message| source.error_at(at, message))?;
    let replacement = replaces.read(&source, mode, (&columns, &ignored))?;
    filled.extend(replacement.iter().filter_map(Replacement::filled));
    let used = used_columns(&definition, &[&key[..], refers], version.as_ref());
    let tombstone = definition.tombstone.as_ref();
    let tombstone = tombstone.map(|one| read_tombstone(&source, one, (mode, content.is_some()), &used, &mut columns));
    let tombstone = tombstone.transpose()?;
    let history =
        definition.history.as_ref().map(|history| read_history(&source, history, definition.table.get_ref(), &columns));
    let history = history.transpose()?;
    let names: Vec<&str> = columns.iter().map(|column| column.name.as_str()).collect();
    let rules = read_rules(&source, &definition.rule, &names);
    let secret = |name: &str| columns.iter().any(|column| column.name == name && column.encrypt);
    let statistics = read_statistics(&source, &definition.statistic, &names, secret);
    let faults = [rules.as_ref().err(), statistics.as_ref().err()];
    all(faults.into_iter().flatten().map(|message| Err::<(), _>(message.clone())))?;
    let (rules, statistics) = (rules?, statistics?);
    let reference = match &definition.reference {
        None => None,
        Some(reference) => {
            let here = referring(&source, reference)?;
            check_columns(&source, here, &columns)?;
            Some(read_reference(&source, reference.get_ref(), here, &names, secret)?)
        }
    };
    if definition.files.get_ref().is_empty() && definition.source.is_empty() {
        return Err(source.error(&definition.name, "files lists no pattern, and no source does"));
    }
    let targets: Vec<TargetColumn> =
        columns.iter().map(|column| TargetColumn { name: column.name.clone(), kind: column.kind.family() }).collect();
    let sources = read_sources(source, &definition.source, &targets, &definition.null_values)?;
    let secrets = sources.iter().try_for_each(|by| by.check_secrets(&columns));
    secrets.map_err(|message| source.error(&definition.name, message))?;
    replaces.check_empty(&source, replacement.as_ref(), (&sources, !definition.files.get_ref().is_empty()))?;
    let expected = definition.expected.as_ref().map(|text| {
        Calendar::parse(text.get_ref()).map_err(|message| source.error(text, format!("expected: {message}")))
    });
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
        expected: expected.transpose()?,
        statistics,
        sources,
        files: Files::read(definition.files.get_ref()).map_err(|message| source.error(&definition.files, message))?,
        columns,
    })
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
    names: &[&str],
    secret: impl Fn(&str) -> bool,
) -> Result<Vec<Statistic>, String> {
    let read = |statistic: &StatisticDefinition| {
        let StatisticDefinition { id, expression: text, group_by } = statistic;
        let expression = Expression::parse(text.get_ref(), Scope::Aggregate, names)
            .map_err(|message| source.error(text, format!("statistic {}: {message}", id.get_ref())))?;
        let group_by = group_by.as_ref().map(|column| known(source, column, names)).transpose()?;
        if let Some(column) = expression.reads().iter().chain(&group_by).find(|column| secret(column)) {
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
    names: &[&str],
    secret: impl Fn(&str) -> bool,
) -> Result<Reference, String> {
    let agreements: Vec<Agreement> = definition.warn_unless.iter().map(|found| found.get_ref().clone()).collect();
    let columns = here.get_ref().all().to_vec();
    let compared = agreements.iter().map(|agreement| &agreement.column).chain(&columns);
    if let Some(secret) = compared.into_iter().find(|name| secret(name)) {
        let message = format!("column {secret:?} is encrypted and cannot be compared with another table");
        return Err(source.error(here, message));
    }
    if let Some(agreement) = agreements.iter().find(|agreement| !names.contains(&agreement.column.as_str())) {
        return Err(source.error(here, unknown("column", &agreement.column, names)));
    }
    let dataset = definition.dataset.get_ref().clone();
    let (table, key, key_kinds) = (String::new(), Vec::new(), Vec::new());
    Ok(Reference { columns, dataset, table, key, key_kinds, agreements })
}

/// Completes the references. A reference names a dataset, whose table, key and columns are known only after all
/// definitions are read.
pub(super) fn resolve_references(datasets: &mut [Dataset], files: &[(&str, &str)]) -> Result<(), String> {
    let targets = datasets.to_vec();
    let names: Vec<&str> = targets.iter().map(|dataset| dataset.name.as_str()).collect();
    let resolve = |(dataset, (file, text)): (&mut Dataset, &(&str, &str))| {
        let own = &dataset.columns;
        let Some(reference) = &mut dataset.reference else { return Ok(()) };
        let source = DefinitionText { file, text };
        let at = text.find("[reference]").unwrap_or(0);
        let Some(target) = targets.iter().find(|target| target.name == reference.dataset) else {
            return Err(source.error_at(at, unknown("dataset", &reference.dataset, &names)));
        };
        for agreement in &reference.agreements {
            if target.column(&agreement.equals).is_some_and(|column| column.encrypt) {
                let message = format!("column {:?} of dataset {:?} is encrypted", agreement.equals, target.name);
                return Err(source.error_at(at, message));
            }
            let columns: Vec<&str> = target.table_columns().iter().map(|column| column.name.as_str()).collect();
            if !columns.contains(&agreement.equals.as_str()) {
                return Err(source.error_at(at, unknown("column", &agreement.equals, &columns)));
            }
        }
        if target.content.is_some() || target.is_known_by_place() {
            let made = if target.content.is_some() { "made of its content" } else { "the place of a row" };
            let message = format!("dataset {:?} has a key that is {made}; nothing can refer to it", target.name);
            return Err(source.error_at(at, message));
        }
        reference.table.clone_from(&target.table);
        reference.key.clone_from(&target.key);
        reference.key_kinds = target.key_columns().iter().map(|column| column.kind.clone()).collect();
        let (here, there) = (reference.columns.join(", "), reference.key.join(", "));
        if reference.columns.len() != reference.key.len() {
            let message = format!(
                "the key of dataset {:?} is {there}; name a column for each of its columns, not {here}",
                target.name
            );
            return Err(source.error_at(at, message));
        }
        let kinds = reference.columns.iter().filter_map(|name| own.iter().find(|column| column.name == *name));
        for ((column, kind), key) in kinds.zip(&reference.key_kinds).zip(&reference.key) {
            if column.kind != *kind {
                let message = format!(
                    "column {:?} refers to {key:?} of dataset {:?}, which has another type",
                    column.name, reference.dataset
                );
                return Err(source.error_at(at, message));
            }
        }
        Ok(())
    };
    all(datasets.iter_mut().zip(files).map(resolve)).map(|_| ())
}

#[cfg(test)]
mod tests {
    use crate::domain::Datasets;

    const TICK: &str = r#"
name = "tick"
table = "tick"
key = "tick_id"
version = "seen_at"
files = ["ticks/**"]

[[column]]
name = "tick_id"
type = "text"
required = true

[[column]]
name = "price"
type = "decimal"
precision = 10
scale = 2

[[column]]
name = "seen_at"
type = "timestamp"
required = true
"#;

    fn error_of(text: &str) -> String {
        Datasets::parse([("tick.toml", text)]).unwrap_err()
    }

    #[test]
    fn a_definition_with_an_open_question_is_not_read() {
        let message = error_of(&format!("open_questions = [\"zone:Time\"]\n{TICK}"));
        assert!(message.starts_with("tick.toml line 1: question \"zone:Time\" is open"), "{message}");
        assert!(Datasets::parse([("tick.toml", format!("open_questions = []\n{TICK}").as_str())]).is_ok());
    }

    #[test]
    fn a_definition_claims_keys_by_glob() {
        let datasets = Datasets::parse([("tick.toml", TICK)]).unwrap();
        assert_eq!(datasets.claiming("ticks/2025/1.csv").map(|dataset| dataset.name.as_str()), Some("tick"));
        assert!(datasets.claiming("other/1.csv").is_none());
    }

    #[test]
    fn a_bound_that_no_value_of_the_column_can_have_is_refused() {
        for bound in ["\"1.005\"", "\"100000000\"", "\"much\""] {
            let message = error_of(&TICK.replace("scale = 2\n", &format!("scale = 2\nmax = {bound}\n")));
            assert!(message.contains("is not a value of type decimal"), "{message}");
        }
        let fits = TICK.replace("scale = 2\n", "scale = 2\nmax = \"99999999.9900\"\n");
        assert!(Datasets::parse([("tick.toml", fits.as_str())]).is_ok());
    }

    #[test]
    fn a_bound_may_be_written_as_toml_writes_it() {
        for (kind, bound) in [
            ("integer", "min = -5"),
            ("boolean", "allowed = [true]"),
            ("date", "min = 2025-12-22"),
            ("time", "below = 18:00:00"),
            ("timestamp", "above = 2025-12-22T14:30:00Z"),
            ("local_timestamp", "above = 2025-12-22T14:30:00.5"),
        ] {
            let column = format!("[[column]]\nname = \"more\"\ntype = \"{kind}\"\n{bound}\n");
            assert_eq!(Datasets::parse([("tick.toml", format!("{TICK}{column}").as_str())]).err(), None);
        }
        let rounded = error_of(&TICK.replace("scale = 2\n", "scale = 2\nmax = 0.1\n"));
        assert!(rounded.contains("text in quotes such as \"0.01\""), "{rounded}");
        let shifted =
            format!("{TICK}[[column]]\nname = \"more\"\ntype = \"timestamp\"\nmin = 2025-12-22T14:30:00+08:00\n");
        assert!(error_of(&shifted).contains("is not a value of type timestamp"));
    }

    #[test]
    fn an_option_is_one_of_the_column_or_of_its_type() {
        let message = error_of(&TICK.replace("scale = 2", "scale = 2\nmax_lenght = 3"));
        assert_eq!(message, r#"tick.toml line 18: unknown option "max_lenght"; did you mean "max_length"?"#);
        let message = error_of(&TICK.replace("scale = 2\n", ""));
        assert_eq!(message, "tick.toml line 15: a decimal needs precision (1 to 38) and scale (less than precision)");
        // Earlier versions ignored an option of decimals in a column of another type.
        let text = TICK.replace("type = \"text\"", "type = \"text\"\nscale = 2");
        assert!(Datasets::parse([("tick.toml", text.as_str())]).is_ok());
    }

    #[test]
    fn a_key_is_of_a_type_that_has_one_text_for_each_value() {
        for (kind, why) in [("double", "the same double"), ("json", "an index")] {
            let message = error_of(&TICK.replacen("type = \"text\"", &format!("type = \"{kind}\""), 1));
            assert!(message.starts_with("tick.toml line 4: column \"tick_id\"") && message.contains(why), "{message}");
        }
        let message = error_of(&TICK.replace("version = \"seen_at\"", "version = \"tick_id\""));
        assert!(
            message.starts_with("tick.toml line 5: the version column must have a type that orders rows"),
            "{message}"
        );
    }

    #[test]
    fn a_key_fits_into_an_index() {
        let message = error_of(&TICK.replace("type = \"text\"\n", "type = \"text\"\nmax_length = 661\n"));
        assert!(message.starts_with("tick.toml line 4: max_length of a key is at most 660"), "{message}");
        let datasets = Datasets::parse([("tick.toml", TICK)]).unwrap();
        assert_eq!(datasets.get("tick").unwrap().column("tick_id").and_then(super::Column::max_length), Some(660));
    }

    #[test]
    fn an_unknown_type_is_refused_with_file_and_line() {
        let message = error_of(&TICK.replace("\"decimal\"", "\"decimel\""));
        assert_eq!(message, r#"tick.toml line 15: unknown type "decimel"; did you mean "decimal"?"#);
    }

    #[test]
    fn an_unknown_column_in_a_rule_is_refused_with_file_and_line() {
        let rule = "\n[[rule]]\nid = \"dear\"\ncolumn = \"price\"\ncheck = \"prise > 1\"\nmessage = \"too cheap\"\n";
        let message = error_of(&format!("{TICK}{rule}"));
        assert_eq!(message, r#"tick.toml line 27: rule dear: unknown column "prise"; did you mean "price"?"#);
    }

    #[test]
    fn a_name_that_stands_for_something_else_already_is_refused() {
        let rule = |id: &str| {
            format!("\n[[rule]]\nid = \"{id}\"\ncolumn = \"price\"\ncheck = \"price > 1\"\nmessage = \"cheap\"\n")
        };
        let statistic = |id: &str| format!("\n[[statistic]]\nid = \"{id}\"\nexpression = \"count(*)\"\n");
        let reference = |id: &str| {
            format!(
                "\n[reference]\ncolumn = \"tick_id\"\ndataset = \"tick\"\n\
                 warn_unless = [{{ id = \"{id}\", column = \"price\", equals = \"price\" }}]\n"
            )
        };
        for (more, message) in [
            (rule("dear") + &rule("dear"), r#"tick.toml line 31: rule "dear" is defined twice; rename one"#),
            (rule("dear") + &reference("dear"), r#"tick.toml line 33: rule "dear" is defined twice; rename one"#),
            (
                rule("required"),
                r#"tick.toml line 25: rule "required": the name is in use by the program; choose another"#,
            ),
            (reference("min"), r#"tick.toml line 27: rule "min": the name is in use by the program; choose another"#),
            (
                statistic("extra_columns"),
                r#"tick.toml line 25: statistic "extra_columns": the name is in use by the program; choose another"#,
            ),
            (
                statistic("manifest"),
                r#"tick.toml line 25: statistic "manifest": the name is in use by the program; choose another"#,
            ),
            (statistic("n") + &statistic("n"), r#"tick.toml line 29: statistic "n" is defined twice; rename one"#),
        ] {
            let text = format!("{TICK}{more}");
            assert_eq!(error_of(&text), message);
            // A set that was accepted before stays valid.
            assert!(Datasets::frozen([("tick.toml", text.as_str())]).is_ok(), "{more}");
        }
        assert!(Datasets::parse([("tick.toml", format!("{TICK}{}{}", rule("n"), statistic("n")).as_str())]).is_ok());
    }

    #[test]
    fn an_unknown_key_is_refused() {
        assert!(error_of(&TICK.replace("table =", "tabel =")).starts_with("tick.toml line 3: unknown field `tabel`"));
    }

    #[test]
    fn a_name_that_is_no_plain_word_never_reaches_sql() {
        let message = error_of(&TICK.replace("table = \"tick\"", "table = \"tick; drop table asset\""));
        assert!(message.contains("is no name"), "{message}");
    }

    #[test]
    fn a_reference_to_an_unknown_dataset_is_refused() {
        let text = format!("{TICK}\n[reference]\ncolumn = \"tick_id\"\ndataset = \"tock\"\n");
        assert_eq!(error_of(&text), r#"tick.toml line 24: unknown dataset "tock"; did you mean "tick"?"#);
    }

    #[test]
    fn what_must_be_read_in_the_database_cannot_be_encrypted() {
        let secret = |column: &str| {
            TICK.replace(&format!("name = \"{column}\"\n"), &format!("name = \"{column}\"\nencrypt = true\n"))
        };
        assert!(error_of(&secret("tick_id")).contains("cannot be encrypted"));
        assert!(error_of(&secret("seen_at")).contains("cannot be encrypted"));
        let statistic = "\n[[statistic]]\nid = \"sum\"\nexpression = \"sum(price)\"\n";
        assert!(error_of(&format!("{}{statistic}", secret("price"))).contains("is encrypted"));
        let datasets = Datasets::parse([("tick.toml", secret("price").as_str())]).unwrap();
        let tick = datasets.get("tick").unwrap();
        assert_eq!(tick.encrypted().map(|column| column.name.as_str()).collect::<Vec<_>>(), ["price"]);
        assert_eq!(tick.without_encrypted().columns.len(), 2);
    }

    #[test]
    fn a_prefix_ends_at_the_first_wildcard_and_covers_longer_ones() {
        let more = TICK.replace("[\"ticks/**\"]", "[\"ticks/**\", \"ticks/old/*.csv\", \"more/{a,b}.csv\"]");
        assert_eq!(Datasets::parse([("tick.toml", more.as_str())]).unwrap().prefixes(), ["more/", "ticks/"]);
    }

    #[test]
    fn two_datasets_that_can_claim_one_key_are_found() {
        let overlap = |files: &str| {
            let other = TICK.replace("name = \"tick\"", "name = \"tock\"").replace("[\"ticks/**\"]", files);
            let datasets = Datasets::parse([("tick.toml", TICK), ("tock.toml", other.as_str())]).unwrap();
            let found = datasets.overlaps();
            found.into_iter().map(|(one, other, key)| format!("{} {} {key}", one.name, other.name)).collect::<Vec<_>>()
        };
        assert_eq!(overlap("[\"tocks/**\", \"tick/**\", \"x\"]"), [""; 0]);
        assert_eq!(overlap("[\"**/*.csv\"]"), ["tick tock ticks/.csv"]);
        assert_eq!(overlap("[\"tocks/**\", \"ticks/2025/??.csv\"]"), ["tick tock ticks/2025/xx.csv"]);
    }

    #[test]
    fn a_calendar_is_checked_with_the_rest() {
        let due = |text: &str| TICK.replace("[\"ticks/**\"]", &format!("[\"ticks/**\"]\nexpected = \"{text}\""));
        assert!(Datasets::parse([("tick.toml", due("daily 07:00 UTC").as_str())]).is_ok());
        assert!(error_of(&due("dayly 07:00 UTC")).starts_with("tick.toml line 7: expected: unknown day"));
    }

    #[test]
    fn the_version_follows_the_definitions() {
        let version = |text: &str| Datasets::parse([("tick.toml", text)]).unwrap().version().to_owned();
        assert_eq!(version(TICK), version(TICK));
        assert_ne!(version(TICK), version(&TICK.replace("scale = 2", "scale = 3")));
    }
}
