//! A field of a contract becomes a column.

use serde_json::Value;

use crate::domain::guess::answers::{About, Answers};
use crate::domain::guess::question::{Asked, Question};
use crate::domain::guess::toml_text;
use crate::domain::guess::zones::understood as zone;
use crate::domain::source::time_form::TimeForm;

/// A column of the dataset, and how the sender writes it.
pub(super) struct Field {
    pub(super) header: String,
    pub(super) name: String,
    pub(super) required: bool,
    pub(super) is_unique: bool,
    kind: &'static str,
    about: Vec<String>,
    rules: Vec<String>,
    written: Vec<String>,
}

impl Field {
    /// Whether its cells have the plain form, under the name of its column.
    pub(super) fn is_plain(&self) -> bool {
        self.header == self.name && self.written.is_empty()
    }

    pub(super) fn kind_name(&self) -> String {
        self.kind.to_owned()
    }

    /// Whether its values can tell an older row from a newer one.
    pub(super) fn orders_rows(&self) -> bool {
        ["timestamp", "local_timestamp", "date", "smallint", "integer", "bigint"].contains(&self.kind)
    }

    /// Its lines in the definition.
    pub(super) fn column(&self) -> Vec<String> {
        let mut lines: Vec<String> =
            self.about.iter().map(|text| format!("# {}", toml_text::in_comment(text))).collect();
        lines.push(format!(
            "[[column]]\nname = {}\ntype = {}",
            toml_text::text(&self.name),
            toml_text::text(self.kind)
        ));
        lines.extend(self.required.then(|| "required = true".to_owned()));
        lines.extend(self.rules.clone());
        lines
    }

    /// Its lines in the source.
    pub(super) fn source(&self) -> Vec<String> {
        let mut lines = vec![format!("[[source.column]]\nname = {}", toml_text::text(&self.name))];
        lines.extend((self.header != self.name).then(|| format!("header = {}", toml_text::text(&self.header))));
        lines.extend(self.written.clone());
        lines
    }

    fn ask(&mut self, asked: &Asked) {
        if asked.is_open() {
            let Question { id, why, answers, .. } = &asked.question;
            self.about.push(format!("OPEN {id}: {why} (answers: {})", answers.join(", ")));
        }
    }
}

/// Reads a field and asks what it does not say.
pub(super) fn read_field(
    field: &Value,
    name: &str,
    is_odcs: bool,
    answers: &Answers,
    asked: &mut Vec<Asked>,
) -> Result<Field, String> {
    let Some(header) = field["name"].as_str() else { return Err("a field has no name".into()) };
    let rules = if is_odcs { &field["logicalTypeOptions"] } else { &field["constraints"] };
    let is_set = |name: &str| field[name] == true || rules[name] == true;
    let mut out = Field {
        header: header.to_owned(),
        name: name.to_owned(),
        required: is_set("required"),
        is_unique: is_set("unique"),
        kind: "text",
        about: field["description"].as_str().into_iter().map(str::to_owned).collect(),
        rules: Vec::new(),
        written: Vec::new(),
    };
    let reader = Reader { field, rules, header, is_odcs, answers };
    reader.kind(&mut out, asked)?;
    reader.constraints(&mut out);
    Ok(out)
}

struct Reader<'c> {
    field: &'c Value,
    rules: &'c Value,
    header: &'c str,
    is_odcs: bool,
    answers: &'c Answers,
}

impl Reader<'_> {
    fn ask(
        &self,
        kind: &str,
        why: &str,
        offered: &[&str],
        out: &mut Field,
        asked: &mut Vec<Asked>,
        understood: impl Fn(&str) -> Option<String>,
    ) -> Option<String> {
        let about = About { header: Some(self.header), ..About::default() };
        let offered = offered.iter().map(|answer| (*answer).to_owned()).collect();
        let question = Question { id: about.id(kind), why: why.to_owned(), values: Vec::new(), answers: offered };
        let found = self.answers.ask(kind, about, question, understood);
        out.ask(&found);
        let answer = found.answer.clone();
        asked.push(found);
        answer
    }

    /// The SQL type that the contract names, in lower case and without its options.
    fn physical(&self) -> (String, Vec<u8>) {
        let text = self.field["physicalType"].as_str().unwrap_or_default().to_lowercase();
        let (name, options) = text.split_once('(').unwrap_or((&text, ""));
        let digits = options.split([',', ')']).filter_map(|digit| digit.trim().parse::<u8>().ok()).collect();
        (name.trim().to_owned(), digits)
    }

    fn kind(&self, out: &mut Field, asked: &mut Vec<Asked>) -> Result<(), String> {
        let kind = if self.is_odcs { &self.field["logicalType"] } else { &self.field["type"] };
        let (physical, digits) = self.physical();
        match kind.as_str().unwrap_or("string") {
            "number" if matches!(physical.as_str(), "double precision" | "double" | "float8" | "float") => {
                out.kind = "double";
            }
            "number" => self.number(&digits, out, asked),
            "integer" => {
                out.kind = match (physical.as_str(), self.rules["format"].as_str()) {
                    ("smallint" | "int2", _) | (_, Some("i16")) => "smallint",
                    ("integer" | "int" | "int4", _) | (_, Some("i32")) => "integer",
                    _ => "bigint",
                };
                self.marks(out);
            }
            "boolean" => self.boolean(out),
            "date" => self.time("date", out, asked),
            "time" => self.time("time", out, asked),
            "datetime" | "timestamp" => self.moment(out, asked),
            "year" => out.kind = "smallint",
            "object" | "array" | "geojson" | "map" | "list" => out.kind = "json",
            "any" | "string" if matches!(physical.as_str(), "jsonb" | "json") => out.kind = "json",
            "string" if self.format() == Some("uuid") || physical == "uuid" => out.kind = "uuid",
            "any" | "string" | "yearmonth" | "duration" | "geopoint" => {}
            other => return Err(format!("field {:?} has the type {other:?}, which no column has", self.header)),
        }
        Ok(())
    }

    /// The format of the standard; `None` if it is the usual one.
    fn format(&self) -> Option<&str> {
        let format = if self.is_odcs { &self.rules["format"] } else { &self.field["format"] };
        format.as_str().filter(|format| *format != "default")
    }

    fn number(&self, digits: &[u8], out: &mut Field, asked: &mut Vec<Asked>) {
        out.kind = "decimal";
        let told = match digits {
            [precision, scale] => Some((*precision, *scale)),
            _ => None,
        };
        let (precision, scale) = if let Some(told) = told {
            told
        } else {
            let why =
                "the contract does not say how many digits a number has, nor how many of them are after the point";
            let pair = |answer: &str| {
                let (precision, scale) = answer.split_once('.')?;
                let (precision, scale): (u8, u8) = (precision.parse().ok()?, scale.parse().ok()?);
                (precision <= 38 && scale < precision).then_some((precision, scale))
            };
            let understood = |answer: &str| (answer == "double" || pair(answer).is_some()).then(|| answer.to_owned());
            let answer = self.ask("digits", why, &["20.2", "38.9", "double"], out, asked, understood);
            if answer.as_deref() == Some("double") {
                out.kind = "double";
                return;
            }
            answer.as_deref().and_then(pair).unwrap_or((38, 9))
        };
        out.rules.push(format!("precision = {precision}\nscale = {scale}"));
        self.marks(out);
    }

    /// How a number is written, where that is not the plain form.
    fn marks(&self, out: &mut Field) {
        let mark = |name: &str| self.field[name].as_str().filter(|mark| !mark.is_empty());
        out.written.extend(
            mark("decimalChar")
                .filter(|mark| *mark != ".")
                .map(|mark| format!("decimal_mark = {}", toml_text::text(mark))),
        );
        out.written.extend(mark("groupChar").map(|mark| format!("thousands = {}", toml_text::text(mark))));
        if self.field["bareNumber"] == false {
            out.about.push("Signs may stand beside the number; say which with currency, unit or percent.".to_owned());
        }
    }

    fn boolean(&self, out: &mut Field) {
        out.kind = "boolean";
        let words = |name: &str| {
            self.field[name].as_array().map(|all| all.iter().filter_map(Value::as_str).collect::<Vec<_>>())
        };
        if let (Some(yes), Some(no)) = (words("trueValues"), words("falseValues"))
            && (yes.as_slice(), no.as_slice()) != (&["true"][..], &["false"][..])
        {
            out.written.push(format!(
                "true_values = {}\nfalse_values = {}",
                toml_text::list(&yes),
                toml_text::list(&no)
            ));
        }
    }

    /// A date or a time of day.
    fn time(&self, kind: &'static str, out: &mut Field, asked: &mut Vec<Asked>) {
        out.kind = kind;
        if let Some(form) = self.form(out, asked) {
            out.written.push(format!("form = {}", toml_text::text(&form)));
        }
    }

    /// The form of a date or time; `None` if it is the plain one.
    fn form(&self, out: &mut Field, asked: &mut Vec<Asked>) -> Option<String> {
        let format = self.format()?;
        let is_form = |form: &str| form.contains('%') && TimeForm::parse(form).is_ok();
        if is_form(format) {
            return Some(format.to_owned());
        }
        let plain = [
            "yyyy-MM-dd",
            "HH:mm:ss",
            "yyyy-MM-dd'T'HH:mm:ss",
            "yyyy-MM-dd'T'HH:mm:ss'Z'",
            "yyyy-MM-ddTHH:mm:ssZ",
            "ISO8601",
        ];
        if plain.contains(&format) {
            return None;
        }
        let why =
            format!("the contract gives the format {format:?}, which does not say exactly how the values are written");
        let understood = |answer: &str| (answer == "plain" || is_form(answer)).then(|| answer.to_owned());
        let answer = self.ask("form", &why, &["plain", "%d/%m/%Y", "%Y%m%d"], out, asked, understood);
        answer.filter(|answer| answer != "plain")
    }

    fn moment(&self, out: &mut Field, asked: &mut Vec<Asked>) {
        let form = self.form(out, asked);
        let has_zone = form.as_ref().is_some_and(|form| TimeForm::parse(form).is_ok_and(|form| form.parts().zone));
        out.written.extend(form.as_ref().map(|form| format!("form = {}", toml_text::text(form))));
        out.kind = "timestamp";
        let default = self.rules["defaultTimezone"].as_str().or_else(|| self.field["timezone"].as_str()).and_then(zone);
        let told = match (&self.rules["timezone"], default) {
            _ if has_zone => return,
            (_, Some(zone)) => Some(zone),
            (Value::Bool(true), None) => {
                let forms = ["%Y-%m-%dT%H:%M:%S%.f%:z", "%Y-%m-%dT%H:%M:%S%.fZ"];
                out.written.extend(form.is_none().then(|| format!("form = {}", toml_text::list(&forms))));
                return;
            }
            (Value::Bool(false), None) => Some("none".to_owned()),
            _ => None,
        };
        let why = "the contract does not say in which zone the times are";
        let answer = told.or_else(|| self.ask("zone", why, &["UTC", "Europe/Paris", "none"], out, asked, zone));
        match answer.as_deref() {
            Some("none") => out.kind = "local_timestamp",
            // The plain form is in UTC.
            Some("UTC") | None if form.is_none() => {}
            answer => out.written.push(format!("zone = {}", toml_text::text(answer.unwrap_or("UTC")))),
        }
    }

    fn constraints(&self, out: &mut Field) {
        let is_text = out.kind == "text";
        let can_be_compared = out.kind != "json";
        for (name, key, of_texts) in [
            ("minLength", "min_length", true),
            ("maxLength", "max_length", true),
            ("minimum", "min", false),
            ("exclusiveMinimum", "above", false),
            ("maximum", "max", false),
            ("exclusiveMaximum", "below", false),
        ] {
            let Some(value) = self.rules.get(name) else { continue };
            if if of_texts { is_text } else { can_be_compared && !is_text } {
                out.rules.push(format!("{key} = {}", literal(value)));
            } else {
                out.about.push(format!("{name} {value} has no meaning for a column of this type."));
            }
        }
        if let Some(values) = self.allowed().filter(|values| can_be_compared && !values.is_empty()) {
            out.rules.push(format!("allowed = [{}]", values.iter().map(literal).collect::<Vec<_>>().join(", ")));
        }
        if let Some(pattern) = self.rules["pattern"].as_str().filter(|_| is_text) {
            let whole = self.whole(pattern);
            if regex::Regex::new(&whole).is_ok() {
                out.rules.push(format!("pattern = {}", toml_text::text(&whole)));
            } else {
                out.about.push(format!("The pattern {pattern} cannot be checked here."));
            }
        }
    }

    /// A regular expression that matches a whole text. That of an Open Data Contract may match a part of it.
    fn whole(&self, pattern: &str) -> String {
        let inner =
            pattern.strip_prefix('^').and_then(|rest| rest.strip_suffix('$')).filter(|inner| !inner.ends_with('\\'));
        match inner {
            Some(inner) => match inner.strip_prefix("(?:").and_then(|rest| rest.strip_suffix(')')) {
                Some(own) if regex::Regex::new(own).is_ok() => own.to_owned(),
                // An alternative may end at either sign.
                _ if inner.contains('|') => format!("(?s:.*)(?:{pattern})(?s:.*)"),
                _ => inner.to_owned(),
            },
            None if self.is_odcs => format!("(?s:.*)(?:{pattern})(?s:.*)"),
            None => pattern.to_owned(),
        }
    }

    fn allowed(&self) -> Option<Vec<Value>> {
        if !self.is_odcs {
            return self.rules["enum"].as_array().cloned();
        }
        let of_enum = self.field["enum"].as_array().map(|all| all.iter().map(|one| one["value"].clone()).collect());
        let checks = self.field["quality"].as_array().into_iter().flatten();
        let mut valid = checks.filter(|check| check["metric"] == "invalidValues" && check["mustBe"] == 0);
        of_enum.or_else(|| valid.find_map(|check| check["arguments"]["validValues"].as_array()).cloned())
    }
}

/// A bound or a value in TOML. A number with decimals is text, which is exact.
fn literal(value: &Value) -> String {
    match value {
        Value::Number(number) if number.is_i64() => number.to_string(),
        Value::Bool(value) => value.to_string(),
        Value::String(text) => toml_text::text(text),
        other => toml_text::text(&other.to_string()),
    }
}
