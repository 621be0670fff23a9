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
    let shifted = format!("{TICK}[[column]]\nname = \"more\"\ntype = \"timestamp\"\nmin = 2025-12-22T14:30:00+08:00\n");
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
    assert!(message.starts_with("tick.toml line 5: the version column must have a type that orders rows"), "{message}");
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
        (rule("required"), r#"tick.toml line 25: rule "required": the name is in use by the program; choose another"#),
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

/// [`TICK`], and a dataset whose rows refer to its rows.
fn error_of_referring(key: &str, reference: &str) -> String {
    let referring = format!(
        "{}\n[reference]\n{reference}\n",
        TICK.replace("name = \"tick\"", "name = \"tock\"").replace("ticks/", "tocks/")
    );
    let referred = TICK.replace("key = \"tick_id\"", key);
    Datasets::parse([("tick.toml", referred.as_str()), ("tock.toml", &referring)]).err().unwrap_or_default()
}

#[test]
fn a_reference_fits_the_key_that_it_refers_to() {
    let plain = "key = \"tick_id\"";
    for (key, reference, message) in [
        (plain, "column = \"tick_id\"", ""),
        (plain, "columns = [\"tick_id\"]", ""),
        (plain, "", "a reference names its column, or its columns in a list"),
        (
            plain,
            "column = \"tick_id\"\ncolumns = [\"price\"]",
            "a reference names its column, or its columns in a list",
        ),
        (plain, "column = \"tick\"", r#"unknown column "tick"; did you mean "tick_id"?"#),
        (
            plain,
            "column = \"price\"",
            r#"column "price" refers to "tick_id" of dataset "tick", which has another type"#,
        ),
        (
            plain,
            "columns = [\"tick_id\", \"price\"]",
            r#"the key of dataset "tick" is tick_id; name a column for each of its columns, not tick_id, price"#,
        ),
        (
            "key = [\"tick_id\", \"seen_at\"]",
            "column = \"tick_id\"",
            r#"the key of dataset "tick" is tick_id, seen_at; name a column for each of its columns, not tick_id"#,
        ),
        (
            "key = \"content\"",
            "column = \"tick_id\"",
            r#"dataset "tick" has a key that is made of its content; nothing can refer to it"#,
        ),
        (
            plain,
            "column = \"tick_id\"\nwarn_unless = [{ id = \"same\", column = \"price\", equals = \"prize\" }]",
            r#"unknown column "prize"; did you mean "price"?"#,
        ),
        (
            plain,
            "column = \"tick_id\"\nwarn_unless = [{ id = \"same\", column = \"prize\", equals = \"price\" }]",
            r#"unknown column "prize"; did you mean "price"?"#,
        ),
    ] {
        let found = error_of_referring(key, &format!("dataset = \"tick\"\n{reference}"));
        let found = found.split_once(": ").map_or("", |(place, found)| {
            assert!(place.starts_with("tock.toml line "), "{place}");
            found
        });
        assert_eq!(found, message, "{key} {reference}");
    }
}

#[test]
fn faults_of_rules_and_of_statistics_are_reported_together() {
    let rule = "\n[[rule]]\nid = \"dear\"\ncolumn = \"price\"\ncheck = \"prise > 1\"\nmessage = \"cheap\"\n";
    let statistic = "\n[[statistic]]\nid = \"sum\"\nexpression = \"sum(prise)\"\n";
    let message = error_of(&format!("{TICK}{rule}{statistic}"));
    let lines: Vec<&str> = message.lines().collect();
    assert_eq!(
        lines,
        [
            r#"tick.toml line 27: rule dear: unknown column "prise"; did you mean "price"?"#,
            r#"tick.toml line 32: statistic sum: unknown column "prise"; did you mean "price"?"#,
        ]
    );
}

#[test]
fn a_dataset_without_files_is_refused() {
    let message = error_of(&TICK.replace("[\"ticks/**\"]", "[]"));
    assert_eq!(message, "tick.toml line 2: files lists no pattern, and no source does");
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
